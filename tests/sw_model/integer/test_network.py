"""Integer network: connections, modes, taps and validation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sw_model.data.photographs import default_images
from sw_model.integer import ops as int_ops
from sw_model.integer import steps as accounting
from sw_model.integer.convolution import conv2d
from sw_model.integer.network import IntNetwork
from sw_model.quantisation.random_network import random_network

PHOTOS = np.stack([image for _, image in default_images(4)])


@pytest.fixture(scope="module")
def net():
    return random_network(width=0.5, seed=3)


@pytest.fixture(scope="module")
def gated(net):
    return net.run(PHOTOS[:2])


def test_taps_follow_from_the_operators(net, gated):
    """Every tap again, from split weights and the operators one by one."""
    assert net.names[0] == "conv1" and net.names[-1] == "fc" and len(net.names) == 21
    for layer in net.layers:
        tap = gated.taps[layer.name]
        if layer.input != "image":
            assert torch.equal(tap.ifmap, gated.taps[layer.input].ofmap), layer.name
        if layer.kind == "fc":
            assert torch.equal(tap.ofmap, int_ops.classifier(tap.ifmap, layer.weight, layer.B))
            assert torch.equal(tap.psum + layer.B, gated.logits)
            continue
        base_weight, conditional_weight = int_ops.split_weight(layer.weight, layer.base_inputs)
        base = conv2d(tap.ifmap, base_weight, layer.stride, layer.pad, layer.pad_code)
        assert torch.equal(tap.psum_base, base), layer.name
        acc = base
        if layer.gated:
            fire = int_ops.decide_slices(base, layer.K)
            assert torch.equal(tap.decision, fire), layer.name
            conditional = conv2d(tap.ifmap, conditional_weight, layer.stride, layer.pad)
            acc = base + fire.repeat_interleave(8, 1) * conditional
        else:
            assert tap.decision is None
        assert torch.equal(tap.psum, acc), layer.name
        if layer.residual is not None:
            assert torch.equal(tap.residual, gated.taps[layer.residual].ofmap), layer.name
        ofmap = int_ops.requantize(
            acc, layer.M, layer.B, layer.S, tap.residual, layer.R0, layer.Q, layer.lo, layer.hi
        )  # fmt: skip
        assert torch.equal(tap.ofmap, ofmap), layer.name


def test_random_network_is_lively(net, gated):
    for layer in net.layers[:-1]:
        ofmap = gated.taps[layer.name].ofmap
        assert float((ofmap == 0).double().mean()) < 0.8, layer.name
        assert float((ofmap == layer.hi).double().mean()) < 0.05, layer.name
        assert not layer.gated or bool((layer.M < 0).any()), layer.name
    sparsity = accounting.total(accounting.count_network(net, 2, 8, gated)).sparsity_output
    assert 0.6 < sparsity < 0.8
    assert net.layer("conv3_2").residual_signed and not net.layer("conv3_4").residual_signed
    assert gated.taps["down3"].ofmap.min() < 0


def test_modes_agree_where_they_must(net, gated):
    masks = {name: tap.decision for name, tap in gated.taps.items() if tap.decision is not None}
    forced = net.run(PHOTOS[:2], "forced", masks)
    assert torch.equal(forced.logits, gated.logits)
    for mode, value in (("dense", True), ("base", False)):
        result = net.run(PHOTOS[:2], mode)
        constant = {name: torch.full_like(mask, value) for name, mask in masks.items()}
        assert torch.equal(net.run(PHOTOS[:2], "forced", constant).logits, result.logits), mode
        for name in masks:
            assert torch.equal(result.taps[name].decision, constant[name])
    k = int_ops.INT32_MIN
    open_gates = [replace(a, K=torch.full_like(a.K, k)) if a.gated else a for a in net.layers]
    assert torch.equal(IntNetwork(tuple(open_gates)).run(PHOTOS[:2]).logits, net.run(PHOTOS[:2], "dense").logits)


def test_run_layer_repeats_a_tap(net, gated):
    layer, tap = net.layer("conv4_2"), gated.taps["conv4_2"]
    again = net.run_layer(layer, tap.ifmap, tap.residual)
    assert torch.equal(again.ofmap, tap.ofmap)
    dense = net.run_layer(layer, tap.ifmap, tap.residual, "dense")
    assert torch.equal(dense.psum_base, tap.psum_base)
    fired = tap.decision.repeat_interleave(8, 1)
    assert torch.equal(torch.where(fired, dense.psum, dense.psum_base), tap.psum)


def test_batches_do_not_mix(net, gated):
    assert torch.equal(net.run(PHOTOS[1:2]).logits, gated.logits[1:])


def test_only_keeps_the_named_taps(net, gated):
    result = net.run(PHOTOS[:2], only=["conv3_2"])
    assert list(result.taps) == ["conv3_2"]
    assert torch.equal(result.logits, gated.logits)
    assert net.run(PHOTOS[:1], only=[]).taps == {}


def test_classes_takes_the_lowest_of_a_tie(gated):
    result = replace(gated, logits=torch.tensor([[1, 5, 5], [7, 7, 7]]))
    assert result.classes().tolist() == [1, 0]


@pytest.mark.parametrize("options", [{"branch": 2}, {"slice_size": 1}, {"groups": 2, "blocks": 1}])
def test_variants_run(options):
    net = random_network(width=0.5, seed=5, **options)
    result = net.run(PHOTOS[:1])
    assert bool((net.run(PHOTOS[:1], "base").logits != result.logits).any())
    size = 8 if options.get("slice_size", 8) == 8 else 1
    assert all(t.decision.shape[1] == t.ofmap.shape[1] // size for t in result.taps.values() if t.decision is not None)


def test_random_network_is_a_function_of_its_seed(net):
    again, other = random_network(width=0.5, seed=3), random_network(width=0.5, seed=4)
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(net.layers, again.layers, strict=True))
    assert not torch.equal(net.layers[1].weight, other.layers[1].weight)


def test_run_arguments_wrong(net):
    with pytest.raises(ValueError, match=r"images must be uint8 of shape \(N, H, W, 3\)"):
        net.run(PHOTOS.astype(np.float32))
    with pytest.raises(ValueError, match="mode must be one of gated, dense, base, forced, not sparse"):
        net.run(PHOTOS[:1], "sparse")
    with pytest.raises(ValueError, match="layer must be one of conv1, conv2_1, .* not conv9_9"):
        net.run(PHOTOS[:1], only=["conv9_9"])
    with pytest.raises(ValueError, match="layer conv2_1: mask must be bool"):
        net.run(PHOTOS[:1], "forced", {})
    layer, zeros = net.layer("conv2_2"), torch.zeros(1, 32, 4, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="layer conv2_2: residual must be given"):
        net.run_layer(layer, zeros)
    with pytest.raises(ValueError, match=r"layer conv2_2: residual must hold codes of \[0, 255\]"):
        net.run_layer(layer, zeros, zeros - 1)


LARGE = torch.full((32,), 2**47 - 1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(32, 32, 3, 3)}, "weight must be int8, not torch.float32"),
        ({"weight": torch.full((32, 32, 3, 3), -128, dtype=torch.int8)}, "weight codes must be in"),
        ({"weight": torch.zeros(32, 32, dtype=torch.int8)}, "weight must have 4 dimensions"),
        ({"kind": "pool"}, "kind must be conv, maxpool or fc, not pool"),
        ({"stride": 0}, "stride must be 1 to 4096, not 0"),
        ({"pad": -1}, "pad must be 0 to 4096, not -1"),
        ({"pad_code": (0,) * 31}, "pad_code must hold one code"),
        ({"pad_code": (1,) * 32}, "pad_code must be 0 in a gated layer"),
        ({"groups": 3}, "groups must divide the channels 32 and 32, not be 3"),
        ({"groups": 8}, "output channels per group must be a multiple of 8, not 4"),
        ({"branch": 3}, "branch must be 1 or 2, not 3"),
        ({"slice_size": 4}, "slice_size must be 8 or 1, not 4"),
        ({"K": None}, "K must be given in a gated layer"),
        ({"K": torch.zeros(5, dtype=torch.int32)}, r"K must be torch.int32 of shape \(4,\)"),
        ({"gated": False}, "K and groups must be absent in an ungated layer"),
        ({"M": torch.zeros(32, dtype=torch.int32)}, "M must be torch.int16"),
        ({"B": torch.zeros(31, dtype=torch.int64)}, "B must be torch.int64 of shape"),
        ({"B": LARGE + 1}, "B must fit int48"),
        ({"B": LARGE}, r"requantiser sum must stay below 2\^47"),
        ({"S": 0}, "S must be 1 to 40, not 0"),
        ({"Q": 32}, "Q must be 0 to 31, not 32"),
        ({"R0": 2**16}, "R0 must be uint16"),
        ({"R0": 1}, "R0 must be 0 without a residual"),
        ({"lo": 1}, r"\(lo, hi\) must be"),
    ],
)
def test_layer_wrong(net, change, message):
    with pytest.raises(ValueError, match=f"layer conv2_1: {message}"):
        replace(net.layer("conv2_1"), **change)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("conv2_1", {"name": "conv1"}, "layer conv1: name must be unique"),
        ("conv2_1", {"input": "nowhere"}, "layer conv2_1: input must be an earlier layer or image, not nowhere"),
        ("conv2_1", {"input": "image"}, "layer conv2_1: input channels must be 3, not 32"),
        ("conv3_2", {"input": "down3"}, "layer conv3_2: input must have unsigned codes, unlike down3"),
        ("conv3_2", {"residual_signed": False}, "layer conv3_2: residual must be an earlier layer with 64 channels"),
        ("fc", {"name": "conv9_1", "kind": "fc", "residual": "conv5_4"}, "layer conv9_1: residual must be"),
    ],
)
def test_network_wrong(net, name, change, message):
    layers = tuple(replace(layer, **change) if layer.name == name else layer for layer in net.layers)
    with pytest.raises(ValueError, match=message):
        IntNetwork(layers)
    with pytest.raises(ValueError, match="last layer must be the classifier"):
        IntNetwork(net.layers[:-1])
