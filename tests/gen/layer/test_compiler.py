"""The compiler against the golden model: a program, executed as the interface defines it, computes the layer."""

import dataclasses

import numpy as np
import pytest
import torch

from cdgate.errors import CompileError
from gen.layer.compiler import compile_layer
from gen.layer.places import Placement
from gen.layer.shape_rules import measure
from hw.params import HwParams
from sim.plan.cases import random_case
from sw_model.integer.steps import count_layer
from verification.independent.layer_interpreter import Interpreter

SMALL = HwParams(in_par=4, rq_lanes=1)
FULL = HwParams()


def check(case, params, mode, **options):
    """Compile, execute and compare with the golden model; return the program and its outcome."""
    program = compile_layer(case.layer, case.ifmap, case.residual, params, mode, **options)
    engine = Interpreter(params)
    engine.load(program)
    outcome = engine.run(program)
    tap = case.golden(mode)
    expected = tap.ofmap.numpy()
    if case.layer.kind == "fc":
        logits = [[outcome.logits[image, c] for c in range(expected.shape[1])] for image in range(len(expected))]
        assert np.array_equal(logits, expected)
        return program, outcome
    words = outcome.banks[program.ofmap.bank, program.ofmap.addresses()]
    rows = options.get("rows") or (0, expected.shape[2])
    ofmap = program.ofmap.from_words(words, program.channels, program.signed)
    assert np.array_equal(ofmap, expected[:, :, slice(*rows)])
    if options.get("rows") is None:
        decision = tap.decision if mode == "gated" else None
        if case.layer.gated and mode == "base":
            decision = torch.zeros_like(tap.decision)
        count = count_layer(case.layer, case.ifmap.shape[2:], len(case.ifmap), params.in_par, decision)
        assert (outcome.base_steps, outcome.cond_steps) == (count.base, count.conditional)
    if mode == "gated" and case.layer.gated:
        decisions = tap.decision.repeat_interleave(case.layer.slice_size, 1)[:, :, slice(*rows)]
        images, channels, height, width = decisions.shape
        slices = decisions.reshape(images, channels // 8, 8, height, width)
        order = slices.permute(1, 0, 3, 4, 2).reshape(-1, 8).tolist()
        assert [record[-1].tolist() for record in outcome.decisions] == order
        assert outcome.decisions[0][:4] == (0, 0, 0, 0) and 0 < np.sum(order) < 8 * len(order)
    return program, outcome


@pytest.mark.parametrize("in_par, rq_lanes", [(2, 1), (4, 1), (4, 4), (8, 2), (16, 4), (16, 8)])
@pytest.mark.parametrize("mode", ["gated", "dense", "base"])
def test_parallelism_and_modes(in_par, rq_lanes, mode):
    case = random_case(1, in_ch=64, out_ch=32, size=(3, 4))
    check(case, HwParams(in_par=in_par, rq_lanes=rq_lanes), mode)


@pytest.mark.parametrize("branch", [1, 2])
@pytest.mark.parametrize("groups, in_ch, out_ch", [(2, 16, 48), (4, 16, 32), (8, 32, 64)])
def test_groups_and_branches(groups, in_ch, out_ch, branch):
    check(random_case(2, in_ch=in_ch, out_ch=out_ch, size=(3, 3), groups=groups, branch=branch), SMALL, "gated")


@pytest.mark.parametrize("chosen", [(0, 1, 3, 2), (0, 1, 2, 0), (0, 0, 0, 0), (3, 3, 1, 2)])
@pytest.mark.parametrize("mode", ["gated", "dense", "base"])
def test_base_paths_of_any_groups(chosen, mode):
    """Where the branches overlap, and where all output channels share the first input channels."""
    case = random_case(17, in_ch=32, out_ch=64, size=(3, 3), base_groups=chosen)
    program, _ = check(case, SMALL, mode)
    assert [program.registers[f"base_first_{n}"] for n in range(8)] == [*(2 * group for group in chosen), 0, 0, 0, 0]


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (5, 4)])
def test_shapes_of_ungated_layers(kernel, stride, size):
    case = random_case(3, in_ch=10, out_ch=12, size=size, kernel=kernel, stride=stride, groups=1, relu=False)
    check(case, SMALL, "dense")


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 3)])
def test_gated_stride_two(size):
    case = random_case(4, in_ch=16, out_ch=32, size=size, stride=2, images=3)
    check(case, SMALL, "gated" if size != (1, 1) else "dense")


@pytest.mark.parametrize("params", [SMALL, FULL], ids=["small", "full"])
def test_stem_is_laid_out_as_patches(params):
    case = random_case(5, in_ch=3, out_ch=16, size=(4, 5), groups=1, image=True)
    program, _ = check(case, params, "gated")
    assert program.geometry.chunks == -(-27 // params.in_par)


@pytest.mark.parametrize("residual", ["unsigned", "signed"])
@pytest.mark.parametrize("in_place", [False, True])
def test_residual(residual, in_place):
    case = random_case(6, in_ch=16, out_ch=32, size=(3, 3), residual=residual, images=2)
    at = Placement(bank=2, base=100, image_step=150)
    check(case, SMALL, "gated", ofmap_at=at, residual_at=at if in_place else Placement(bank=3, base=7, image_step=101))


def test_images_at_an_offset():
    case = random_case(7, in_ch=16, out_ch=32, size=(3, 3), images=3)
    check(
        case,
        SMALL,
        "gated",
        ifmap_at=Placement(bank=3, base=40, image_step=50),
        ofmap_at=Placement(bank=0, base=1000, image_step=500),
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("rows", [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)])
def test_row_tiles(rows, stride):
    case = random_case(8, in_ch=16, out_ch=32, size=(3 * stride, 4), stride=stride, residual="unsigned", images=2)
    program, _ = check(case, SMALL, "dense", rows=rows)
    assert program.registers["pad_top"] == (rows[0] == 0)
    assert program.registers["pad_bottom"] == (rows[1] == 3 and stride == 1)


def test_row_tile_of_patches():
    check(random_case(9, in_ch=3, out_ch=8, size=(6, 4), groups=1, image=True), SMALL, "dense", rows=(2, 5))


@pytest.mark.parametrize("params", [SMALL, FULL], ids=["small", "full"])
def test_classifier(params):
    check(random_case(10, in_ch=40, size=(4, 3), images=2, classes=10), params, "gated")


def test_thresholds_at_the_limits():
    case = random_case(11, in_ch=16, out_ch=32, size=(3, 3))
    for value, fires in ((-(2**31), True), (2**31 - 1, False)):
        layer = dataclasses.replace(case.layer, K=torch.full_like(case.layer.K, value))
        program = compile_layer(layer, case.ifmap, None, SMALL, "gated")
        engine = Interpreter(SMALL)
        engine.load(program)
        assert {bool(fire) for record in engine.run(program).decisions for fire in record[-1]} == {fires}


def refusal(case, params=SMALL, mode="gated", **options):
    with pytest.raises(CompileError) as error:
        compile_layer(case.layer, case.ifmap, case.residual, params, mode, **options)
    message = str(error.value)
    assert message.startswith(f"layer {case.layer.name}: ") and "\n" not in message
    return message.split(": ", 1)[1]


def test_shape_rule():
    case = random_case(12, in_ch=48, out_ch=32, size=(2, 2))
    assert refusal(case, FULL) == "input channels per group must be a multiple of 16, not 48 / 4"
    check(case, SMALL, "gated")


@pytest.mark.parametrize("slice_size", [1, 8])
@pytest.mark.parametrize("in_par, rq_lanes", [(2, 1), (4, 2), (16, 4)])
def test_channels_and_masks(in_par, rq_lanes, slice_size, seed):
    params = HwParams(in_par=in_par, rq_lanes=rq_lanes)
    case = random_case(16, in_ch=64, out_ch=32, size=(3, 2), images=2, branch=2, slice_size=slice_size)
    check(case, params, "gated")
    masks = torch.rand((2, 32 // slice_size, 3, 2), generator=torch.Generator().manual_seed(seed)) < 0.4
    program = compile_layer(case.layer, case.ifmap, case.residual, params, "forced", masks=masks)
    engine = Interpreter(params)
    engine.load(program)
    words = engine.run(program).banks[program.ofmap.bank, program.ofmap.addresses()]
    ofmap = program.ofmap.from_words(words, program.channels, program.signed)
    assert np.array_equal(ofmap, case.golden("forced", masks).ofmap.numpy()), f"seed {seed}"


def test_limits():
    case = random_case(13, in_ch=16, out_ch=32, size=(4, 4), images=2)
    assert refusal(case, HwParams(max_images=1)) == "images in a pass must be 1 to 1, not 2"
    assert refusal(case, HwParams(in_par=4, rq_lanes=1, ring_entries=32)) == (
        "weights of a slice must fit the ring of 32 entries, not take 36"
    )
    assert refusal(case, HwParams(in_par=4, rq_lanes=1, max_slices=2)) == "output channels must be at most 16, not 32"
    assert "ifmap must fit a bank of 64 words" in refusal(case, HwParams(in_par=4, rq_lanes=1, bank_words=64))
    assert "ofmap must fit a bank of 128 words" in refusal(case, HwParams(in_par=4, rq_lanes=1, bank_words=128))
    many = random_case(18, in_ch=64, out_ch=128, size=(2, 2), groups=16)
    assert refusal(many, HwParams(in_par=4, rq_lanes=1)) == "groups must be at most 8, not 16"
    many = random_case(18, in_ch=72, out_ch=16, size=(2, 2), groups=2)
    assert refusal(many, HwParams(in_par=4, rq_lanes=1, max_slices=8)) == (
        "input channels of a gated layer must be at most 64, not 72"
    )
    little = random_case(13, in_ch=16, out_ch=32, size=(4, 5), groups=1, kernel=4, pad=0).layer
    with pytest.raises(CompileError, match="ifmap of 3x5 with padding 0 must be at least as large as the kernel, 4x4"):
        measure(little, HwParams(in_par=4, rq_lanes=1), 1, 3, 5)
    wide = random_case(13, in_ch=16, out_ch=32, size=(2, 5))
    assert refusal(wide, HwParams(in_par=4, rq_lanes=1, max_map=4)) == ("ofmap must have at most 4 columns, not 5")


@pytest.mark.parametrize(
    "change, text",
    [
        ({"stride": 9}, "stride must be 1 to 8, not 9"),
        (
            {"pad": 2},
            (
                "padding must be 0, or 1 with a kernel of at least 2x2, where a layer does not read the image, "
                "not 2 with 3x3"
            ),
        ),
    ],
)
def test_kernel_wrong(change, text):
    case = random_case(14, in_ch=16, out_ch=32)
    assert refusal(dataclasses.replace(case, layer=dataclasses.replace(case.layer, **change))) == text


def test_options_wrong():
    case = random_case(15, in_ch=16, out_ch=32, residual="signed")
    assert refusal(case, mode="sparse") == "mode must be one of gated, dense, base, forced, not sparse"
    assert refusal(case, mode="forced") == "masks must be given exactly in mode forced"
    assert refusal(case, rows=(2, 5)) == "rows must be a range within 0 to 4, not 2 to 5"
    assert "ofmap must be in another bank" in refusal(case, ofmap_at=Placement(bank=0))
    assert "residual must be in another bank" in refusal(case, residual_at=Placement(bank=0))
    assert "residual must lie exactly on the ofmap" in refusal(case, residual_at=Placement(bank=2, base=1))
    assert "in bank 0 to 3" in refusal(case, ifmap_at=Placement(bank=4))
    assert "at least 64 words apart" in refusal(case, ifmap_at=Placement(bank=0, image_step=63))
    assert "residual must be given exactly" in refusal(dataclasses.replace(case, residual=None))
