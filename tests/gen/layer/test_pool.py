"""Max-pooling compiled: what the registers say gives the golden codes; what the engine cannot pool is refused."""

import dataclasses

import numpy as np
import pytest

from cdgate.errors import CompileError
from gen.layer.compiler import compile_layer
from gen.layer.places import Placement
from gen.layer.shape_rules import measure
from hw.params import HwParams
from sim.plan.cases import pool_case
from sw_model.integer.layer import pool_layer
from verification.independent.layer_interpreter import Interpreter

SMALL = HwParams(in_par=4, rq_lanes=1, bank_words=2048, ring_entries=512)

#: Window and padding.
WINDOWS = [(2, 0), (2, 1), (3, 0), (3, 1)]


def check(case, params, **options):
    """Compile, execute and compare with the golden model; return the program."""
    program = compile_layer(case.layer, case.ifmap, None, params, "gated", **options)
    assert not len(program.weights) and not program.parameter_count
    engine = Interpreter(params)
    engine.load(program)
    outcome = engine.run(program)
    words = outcome.banks[program.ofmap.bank, program.ofmap.addresses()]
    expected = case.golden("gated").ofmap.numpy()
    rows = options.get("rows") or (0, expected.shape[2])
    ofmap = program.ofmap.from_words(words, program.channels, program.signed)
    assert np.array_equal(ofmap, expected[:, :, slice(*rows)])
    return program


@pytest.mark.parametrize("window, pad", WINDOWS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(3, 3), (4, 5), (7, 4)])
@pytest.mark.parametrize("signed", [False, True])
def test_windows(window, pad, stride, size, signed, seed):
    check(pool_case(seed, size=size, images=2, window=window, stride=stride, pad=pad, signed=signed), SMALL)


@pytest.mark.parametrize("in_par, rq_lanes", [(2, 1), (4, 4), (8, 2), (16, 4)])
@pytest.mark.parametrize("channels", [3, 8, 24, 64])
def test_channels(in_par, rq_lanes, channels, seed):
    check(pool_case(seed, channels=channels, window=3, pad=1), HwParams(in_par=in_par, rq_lanes=rq_lanes))


def test_images_at_an_offset(seed):
    source, target = Placement(bank=3, base=40, image_step=300), Placement(bank=0, base=900, image_step=500)
    check(pool_case(seed, images=3, window=3, pad=1), SMALL, ifmap_at=source, ofmap_at=target)


@pytest.mark.parametrize("window, pad", WINDOWS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("rows", [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)])
def test_row_tiles(window, pad, stride, rows, seed):
    case = pool_case(seed, size=(3 * stride + 2 * (window - stride) * (pad == 0), 4), images=2, window=window,
                     stride=stride, pad=pad)  # fmt: skip
    program = check(case, SMALL, rows=rows)
    assert program.registers["pad_top"] == (rows[0] == 0 and pad == 1)
    assert program.geometry.in_rows <= stride * (rows[1] - rows[0] - 1) + window


def test_registers_that_mean_nothing_are_0(seed):
    registers = check(pool_case(seed), SMALL).registers
    assert registers["pool"] == 1 and registers["mode"] == 2
    for name in ("residual_enable", "base_entries", "cond_entries", "shift", "logits", "weight_hold", "param_half"):
        assert registers[name] == 0, name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 4}, "window of a max-pooling must be 2x2 or 3x3 with padding 0 or 1, not 4x4 with padding 0"),
        ({"window": 1}, "window of a max-pooling must be 2x2 or 3x3 with padding 0 or 1, not 1x1 with padding 0"),
        ({"window": 3, "pad": 2}, "window of a max-pooling must be 2x2 or 3x3 .*, not 3x3 with padding 2"),
        ({"stride": 3}, "stride must be 1 or 2, not 3"),
        ({"channels": 520}, "channels must be at most 512, not 520"),
    ],
)
def test_refusals(change, message):
    layer = pool_layer("pool1", **{"channels": 8, "window": 2, "stride": 2, "pad": 0, "source": "a", **change})
    with pytest.raises(CompileError, match=f"layer pool1: {message}"):
        measure(layer, SMALL, 1, 8, 8)


def test_maps_that_do_not_fit():
    layer = pool_layer("pool1", 8, 3, 1, 1, "a")
    with pytest.raises(CompileError, match="layer pool1: ofmap must have at most 64 columns, not 65"):
        measure(layer, SMALL, 1, 8, 65)
    with pytest.raises(CompileError, match="ifmap of 2x8 with padding 0 must be at least as large as the kernel, 3x3"):
        measure(dataclasses.replace(layer, pad=0), SMALL, 1, 2, 8)
    case = pool_case(1, size=(32, 32))
    with pytest.raises(CompileError, match="ifmap must fit a bank of 2048 words"):
        compile_layer(case.layer, case.ifmap, None, SMALL)
