"""Step counts against loops over every tap, chunk, pixel and slice."""

from dataclasses import replace

import pytest
import torch

from sw_model.integer import steps as accounting
from sw_model.integer.layer import IMAGE, IntLayer
from verification.independent.loops import loop_steps


def make_layer(out_ch=16, in_ch=16, kernel=3, stride=1, groups=2, branch=1, slice_size=8, source="x", **options):
    gated = groups > 1
    return IntLayer(
        name="layer", kind="conv", weight=torch.ones(out_ch, in_ch, kernel, kernel, dtype=torch.int8), stride=stride,
        pad=kernel // 2, groups=groups, branch=branch, gated=gated, slice_size=slice_size,
        K=torch.zeros(out_ch // slice_size, dtype=torch.int32) if gated else None,
        M=torch.ones(out_ch, dtype=torch.int16), B=torch.zeros(out_ch, dtype=torch.int64), S=8, input=source, **options,
    )  # fmt: skip


@pytest.mark.parametrize("slice_size", [8, 1])
@pytest.mark.parametrize(("groups", "branch", "in_par"), [(2, 1, 8), (2, 2, 4), (4, 1, 4), (4, 2, 2)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 2)])
def test_gated_layer_equals_the_loop(slice_size, groups, branch, in_par, kernel, stride, seed):
    layer = make_layer(8 * groups, 16, kernel, stride, groups, branch, slice_size)
    rng = torch.Generator().manual_seed(seed)
    out = layer.out_size(4)
    decision = torch.rand(2, layer.out_ch // slice_size, out, out, generator=rng) < 0.3
    count = accounting.count_layer(layer, (4, 4), 2, in_par, decision)
    base, conditional, lanes = loop_steps(layer, 4, in_par, decision)
    dense_base, dense_conditional, _ = loop_steps(layer, 4, in_par, torch.ones_like(decision))
    assert (count.base, count.conditional, count.lane_steps) == (base, conditional, lanes), f"{seed=}"
    assert count.dense == dense_base + dense_conditional
    assert count.skipped == dense_conditional - conditional
    assert (count.fired, count.decisions) == (int(decision.sum()), decision.numel())
    assert count.sparsity_output == 1 - count.fired / count.decisions
    assert count.sparsity_mac == 1 - lanes / (8 * dense_conditional)
    assert count.speedup == 8 * count.dense / (8 * base + lanes)
    assert accounting.count_layer(layer, (4, 4), 2, in_par).speedup == 1


def test_ungated_layers():
    shortcut = make_layer(12, 20, 1, 2, groups=1)
    count = accounting.count_layer(shortcut, (4, 4), 3, 8)
    assert count.dense == count.base == 3 * 2 * 4 * 3  # images, slices of 12 padded to 16, pixels, chunks of 20 to 24
    assert count.nominal_macs == 3 * 12 * 4 * 20
    assert (count.speedup, count.sparsity_output, count.sparsity_mac) == (1, 0, 0)

    stem = make_layer(16, 3, 3, 1, groups=1, source=IMAGE, pad_code=(1, 2, 3))
    count = accounting.count_layer(stem, (4, 4), 1, 16)
    assert count.dense == 2 * 16 * 2  # slices, pixels, chunks of 27: the padded taps are in the patch
    assert count.nominal_macs == 16 * 16 * 27

    classifier = IntLayer(
        name="fc", kind="fc", weight=torch.ones(10, 32, dtype=torch.int8), M=torch.ones(10, dtype=torch.int16),
        B=torch.zeros(10, dtype=torch.int64), S=0, input="x",
    )  # fmt: skip
    assert accounting.count_layer(classifier, (4, 4), 2, 16).dense == 2 * 2 * 16 * 2


def test_valid_taps():
    assert accounting.valid_taps(4, 3, 1, 1).tolist() == [2, 3, 3, 2]
    assert accounting.valid_taps(4, 3, 2, 1).tolist() == [2, 3]
    assert accounting.valid_taps(4, 1, 2, 0).tolist() == [1, 1]


def test_total_and_flop_reduction():
    count = accounting.count_layer(make_layer(), (4, 4), 1, 8)
    both = accounting.total([count, replace(count, name="other")], "both")
    assert (both.name, both.dense, both.decisions) == ("both", 2 * count.dense, 2 * count.decisions)
    assert round(accounting.flop_reduction(0.7164, 4), 2) == 2.16


def test_count_layer_arguments_wrong():
    with pytest.raises(ValueError, match="input channels per group must be a multiple of 16, not 8"):
        accounting.count_layer(make_layer(), (4, 4), 1, 16)
    with pytest.raises(ValueError, match=r"decisions must have the shape \(1, 2, 4, 4\), not \(1, 1, 1, 1\)"):
        accounting.count_layer(make_layer(), (4, 4), 1, 8, torch.ones(1, 1, 1, 1, dtype=torch.bool))
