"""Kernels of every size, with and without padding, on maps and on images: compiled, executed, compared; refusals."""

import dataclasses

import numpy as np
import pytest
import torch

from cdgate.errors import CompileError
from gen.layer.compiler import compile_layer
from gen.layer.patches import patch_map
from gen.layer.shape_rules import measure
from hw.configurations import CONFIGS
from hw.params import HwParams
from sim.plan.cases import random_case
from tests.gen.layer.test_compiler import FULL, SMALL, check
from verification.independent.loops import loop_conv

TINY = CONFIGS["tiny"]


@pytest.mark.parametrize("pad, stride", [(0, 1), (0, 2), (1, 1), (1, 2), (0, 3), (1, 4)])
@pytest.mark.parametrize("kernel", range(2, 9))
def test_kernel_padding_stride(kernel, pad, stride):
    case = random_case(
        kernel, in_ch=5, out_ch=9, size=(9, 10), kernel=kernel, pad=pad, stride=stride, groups=1, images=2
    )
    check(case, SMALL, "dense")


@pytest.mark.parametrize("kernel, pad", [(2, 0), (4, 1), (5, 0), (8, 0)])
@pytest.mark.parametrize("mode", ["gated", "dense", "base"])
def test_gated_kernels(kernel, pad, mode):
    case = random_case(3, in_ch=16, out_ch=32, size=(10, 9), kernel=kernel, pad=pad, residual="signed")
    check(case, SMALL, mode)


@pytest.mark.parametrize("rows", [(0, 1), (0, 4), (1, 3), (3, 4)])
@pytest.mark.parametrize("kernel, pad, stride", [(5, 0, 1), (4, 1, 1), (2, 1, 2), (3, 0, 2), (1, 0, 3)])
def test_tiles(kernel, pad, stride, rows):
    size = 3 * stride + kernel - 2 * pad
    case = random_case(7, in_ch=8, out_ch=8, size=(size, 6), kernel=kernel, pad=pad, stride=stride, groups=1)
    assert case.layer.out_size(size) == 4
    check(case, SMALL, "dense", rows=rows)


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("kernel, pad, stride", [(7, 3, 2), (5, 2, 1), (5, 0, 1), (11, 2, 4), (2, 0, 2)])
@pytest.mark.parametrize("params", [TINY, SMALL, FULL], ids=["tiny", "small", "full"])
def test_patches(params, kernel, pad, stride, colours):
    case = random_case(
        9, in_ch=colours, out_ch=8, size=(12, 15), kernel=kernel, pad=pad, stride=stride, groups=1, image=True
    )
    program, _ = check(case, params, "gated")
    assert program.geometry.patches and program.geometry.chunks == -(-colours * kernel**2 // params.in_par)
    rows = case.layer.out_size(12)
    check(case, params, "gated", rows=(rows - 1, rows))


def test_the_large_stem_takes_160_channels():
    case = random_case(10, in_ch=3, out_ch=64, size=(224, 9), kernel=7, pad=3, stride=2, groups=1, image=True)
    geometry = measure(case.layer, FULL, 1, 224, 224 // 4, (0, 1))
    assert geometry.in_words * FULL.in_par == 160 and geometry.base_entries == 10 and geometry.out_cols == 28


@pytest.mark.parametrize("colours, kernel, pad, stride", [(3, 7, 3, 2), (1, 5, 2, 1), (1, 5, 0, 1)])
def test_patches_hold_the_taps_of_loops(colours, kernel, pad, stride):
    """A convolution that picks one tap of one colour is the patches' channel, by loops over Python integers."""
    case = random_case(
        11, in_ch=colours, out_ch=8, size=(8, 9), kernel=kernel, pad=pad, stride=stride, groups=1, image=True
    )
    patches = patch_map(case.layer, case.ifmap.numpy())
    for tap in (0, kernel, kernel**2 // 2, kernel**2 - 1):
        for colour in range(colours):
            pick = torch.zeros(1, colours, kernel, kernel, dtype=torch.int64)
            pick[0, colour, tap // kernel, tap % kernel] = 1
            expected = loop_conv(case.ifmap.tolist(), pick.tolist(), stride, pad, case.layer.pad_code)
            assert np.array_equal(patches[:, tap * colours + colour], np.array(expected)[:, 0])


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("params", [TINY, FULL], ids=["tiny", "full"])
def test_linear_layers(params, size):
    """A convolution as large as its map gives one pixel."""
    case = random_case(12, in_ch=10, out_ch=20, size=(size, size), kernel=size, pad=0, groups=1, images=3)
    _, outcome = check(case, params, "dense")
    assert outcome.base_steps == 3 * 3 * size**2 * -(-10 // params.in_par)


def test_classifier_of_as_many_classes_as_slices_allow():
    check(random_case(13, in_ch=16, size=(2, 2), classes=512), FULL, "gated")


def refusal(params=FULL, **options):
    case = random_case(14, **{"in_ch": 16, "out_ch": 16, "size": (12, 12), "groups": 1, **options})
    with pytest.raises(CompileError) as error:
        compile_layer(case.layer, case.ifmap, None, params)
    message = str(error.value)
    assert message.startswith("layer case14: ") and "\n" not in message
    return message.removeprefix("layer case14: ")


def test_refusals():
    padding = "padding must be 0, or 1 with a kernel of at least 2x2, where a layer does not read the image, not "
    assert refusal(kernel=9, pad=0) == "kernel must be at most 8x8, not 9x9"
    assert refusal(kernel=5, pad=2) == f"{padding}2 with 5x5"
    assert refusal(kernel=1, pad=1) == f"{padding}1 with 1x1"
    assert refusal(kernel=3, stride=9) == "stride must be 1 to 8, not 9"
    assert refusal(size=(2, 2), classes=513) == "classes must be at most 512, not 513"
    assert refusal(HwParams(max_slices=16), size=(2, 2), classes=129) == "classes must be at most 128, not 129"
    case = random_case(15, in_ch=1, out_ch=8, size=(40, 40), kernel=40, pad=0, groups=1, image=True)
    with pytest.raises(CompileError, match="weights of a slice must fit the ring of 512 entries, not take 800"):
        compile_layer(case.layer, case.ifmap, None, TINY)
    gated = random_case(16, in_ch=16, out_ch=32, size=(4, 4))
    image = dataclasses.replace(gated.layer, input="image")
    with pytest.raises(CompileError, match="must not read the image"):
        compile_layer(image, gated.ifmap, None, SMALL)
