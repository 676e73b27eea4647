"""Stress layers and the stress network have what they are for: ties, clamps, ends, borders that fire alone."""

from functools import cache

import numpy as np
import pytest
import torch

from gen.layer.compiler import compile_layer
from gen.network.compiler import compile_network
from hw.configurations import CONFIGS
from sim.plan.cases import random_case
from sim.plan.stress import MOST, SHARE, stress_cases, stress_network
from sw_model.integer.checkpoint import load
from sw_model.integer.layer import pool_layer
from sw_model.integer.steps import count_layer
from sw_model.quantisation.random_network import random_network
from verification.independent.loops import loop_requantize

SHAPES = [
    {},
    {"stride": 2},
    {"groups": 2, "branch": 2},
    {"kernel": 1},
    {"residual": "signed", "relu": False},
    {"residual": "unsigned", "slice_size": 1},
    {"groups": 1, "in_ch": 3, "image": True},
    {"groups": 1, "kernel": 1, "stride": 2, "relu": False},
]


def layer_of(shape):
    return random_case(7, **{"in_ch": 64, "out_ch": 64, **shape}).layer


def kinds(layer, count):
    """Which of `count` kinds of thresholds each decider has: by turns, a step farther behind every eight."""
    number = torch.arange(layer.out_ch // layer.slice_size)
    return (number + number // 8) % count


def saliency(layer, tap):
    images, _, rows, cols = tap.psum_base.shape
    grouped = tap.psum_base.reshape(images, layer.out_ch // layer.slice_size, layer.slice_size, rows, cols)
    return grouped.sum(2).transpose(0, 1).flatten(1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_slice_has_a_tie(shape):
    layer = layer_of(shape)
    case, *rest = stress_cases(layer, (32, 32), 1, 4, layer.slice_size)
    assert max(case.ifmap.shape[2:]) == MOST and len(rest) == 1
    if not layer.gated:
        return
    ties = saliency(case.layer, case.golden("gated")) == case.layer.K[:, None]
    assert ties.any(1).all()
    fires = case.golden("gated").decision
    # By turns about half of the pixels fire, none, all but the tie, and the borders alone.
    share = fires.to(torch.float64).mean((0, 2, 3))
    kind = kinds(layer, 4)
    assert (share[kind == 1] == 0).all() and (share[kind == 2] > 0.9).all() and share[kind == 0].mean() < 0.6
    if layer.kernel > 1:
        inner = fires[0, kind == 3, 1:-1, 1:-1] if layer.stride == 1 else fires[0, kind == 3, 1:, 1:]
        assert not inner.any() and (share[kind == 3] > 0).all()


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.get("groups") != 1], ids=str)
def test_thresholds_at_the_ends(shape):
    layer = layer_of(shape)
    _, case = stress_cases(layer, (32, 32), 1, 4, layer.slice_size)
    assert set(case.layer.K.tolist()) == {-(2**31), 2**31 - 1}
    fires = case.golden("gated").decision
    kind = kinds(layer, 2)
    assert fires[:, kind == 0].all() and not fires[:, kind == 1].any() and fires.shape[2:] == (1, 1)


def test_every_lane_has_every_kind_of_threshold():
    layer = layer_of({"slice_size": 1})
    first, ends = (case.layer for case in stress_cases(layer, (32, 32), 1, 4, 1))
    for lane in range(8):
        assert set(ends.K[lane::8].tolist()) == {-(2**31), 2**31 - 1}
        assert set(kinds(first, 4)[lane::8].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_go_to_the_ends(shape):
    """Psums to 255 * 127 * taps * channels, of a slice eight times that; the requantiser's sums to 2^47."""
    layer = layer_of(shape)
    first, ends = stress_cases(layer, (32, 32), 1, 4, layer.slice_size)
    psum = first.golden("dense").psum
    most = 255 * 127 * layer.kernel**2 * layer.in_ch
    assert psum.max() == most and psum.min() == -most
    if layer.gated and layer.slice_size == 8:
        base = first.golden("gated").psum_base.reshape(1, layer.out_ch // 8, 8, *psum.shape[2:]).sum(2)
        assert base.abs().max() >= 8 * most // layer.groups * 0.99
    one, tap = ends.layer, ends.golden("dense")
    total = tap.psum * one.M.reshape(1, -1, 1, 1) + one.B.reshape(1, -1, 1, 1)
    assert one.S == 40 and set(one.M.tolist()) == {-(2**15), 2**15 - 1}
    assert total.max() > 0.7 * 2**47 and total.min() < -0.7 * 2**47
    assert layer.residual is None or (one.R0 >= 2**15 and one.Q == 21)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_codes_leave_both_ends(shape):
    case = stress_cases(layer_of(shape), (32, 32), 1, 4, layer_of(shape).slice_size)[0]
    layer, tap = case.layer, case.golden("gated")
    wide, channel = [], np.arange(layer.out_ch)
    residual = torch.zeros_like(tap.psum) if case.residual is None else case.residual
    for c in channel.tolist():
        scale = (int(layer.M[c]), int(layer.B[c]), layer.S)
        wide.append(
            [
                loop_requantize(acc, *scale, r, layer.R0, layer.Q, -(10**9), 10**9)
                for acc, r in zip(tap.psum[0, c].flatten().tolist(), residual[0, c].flatten().tolist(), strict=True)
            ]
        )
    wide = np.array(wide)
    assert np.array_equal(wide.clip(layer.lo, layer.hi), tap.ofmap[0].flatten(1).numpy())
    assert (wide > layer.hi).mean() > 0.1 and (wide < layer.lo).mean() > 0.1
    assert ((wide >= layer.lo) & (wide <= layer.hi)).mean() > 0.1
    assert (layer.M < 0).any() and {-(2**15), 2**15 - 1, 0} <= set(layer.M.tolist())


def test_shape_and_cost_are_the_layer_s():
    network = load()
    sizes = {"conv1": 32, **{f"conv{n}_1": 2 ** (7 - max(n, 3)) if n > 2 else 32 for n in (2, 3, 4, 5)}}
    sizes |= {"conv5_2": 4, "down4": 16, "conv2_2": 32}
    for name, size in sizes.items():
        layer = network.layer(name)
        size = 2 * size if layer.stride == 2 and name != "down4" else size
        own = count_layer(layer, (size, size), 1, 16).dense
        cases = stress_cases(layer, (size, size), 1, 16, layer.slice_size)
        for case in cases:
            assert case.layer.weight.shape == layer.weight.shape and case.layer.stride == layer.stride
            assert (case.layer.groups, case.layer.branch, case.layer.name) == (layer.groups, layer.branch, layer.name)
            assert max(case.ifmap.shape[2:]) <= MOST
        cost = sum(count_layer(case.layer, tuple(case.ifmap.shape[2:]), 1, 16).dense for case in cases)
        assert cost <= (SHARE + 0.05) * own, name


def test_the_same_layer_is_made_again():
    layer = layer_of({})
    first, second = (stress_cases(layer, (8, 8), 1, 4, 8)[0] for _ in range(2))
    assert torch.equal(first.layer.weight, second.layer.weight) and torch.equal(first.ifmap, second.ifmap)


def test_classifier():
    layer = random_case(3, in_ch=64, classes=10, groups=1).layer
    [case] = stress_cases(layer, (4, 4), 1, 4, 8)
    program = compile_layer(case.layer, case.ifmap, None, CONFIGS["small"], "gated")
    assert case.golden("gated").ofmap.shape == (1, 10) and program.ofmap is None


def test_max_pooling():
    layer = pool_layer("pool", 24, 3, 2, 1, "conv1", signed=True)
    [case] = stress_cases(layer, (32, 16), 4, 4, 8)
    assert case.ifmap.shape == (1, 24, 8, 8) and {-128, 127} <= set(case.ifmap.flatten().tolist())
    assert case.golden("gated").ofmap.shape == (1, 24, 4, 4)


@cache
def gated_network(slice_size):
    return random_network(width=0.25, groups=2, branch=2, slice_size=slice_size, blocks=1)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("slice_size", [8, 1])
def test_network_fits_every_configuration(config, slice_size):
    params = CONFIGS[config]
    network, images = stress_network(params, gated_network(slice_size))
    for mode in ("gated", "dense"):
        compile_network(network, params, len(images), images.shape[1:3], mode)
    taps = network.run(images).taps
    gated = [layer for layer in network.layers if layer.gated]
    assert [(layer.groups, layer.branch, layer.slice_size) for layer in gated] == [(2, 2, slice_size)] * 4
    for layer in gated[:-1]:
        assert (saliency(layer, taps[layer.name]) == layer.K[:, None]).any(1).all()
    assert set(gated[-1].K.tolist()) == {-(2**31), 2**31 - 1}
    for name in ("gated1", "gated2", "gated3"):
        codes = taps[name].ofmap
        assert (codes == 255).any() and (codes == 0).any()
