"""Max-pooling as a layer: what it computes in a network, what is refused, the checkpoint."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cdgate.errors import CheckpointError
from sw_model.data.photographs import default_images
from sw_model.integer import ops as int_ops
from sw_model.integer.checkpoint import float_state, load, save
from sw_model.integer.layer import pool_layer
from sw_model.integer.network import IntNetwork
from sw_model.integer.steps import count_network
from sw_model.quantisation.random_network import random_network

PHOTOS = np.stack([image for _, image in default_images(2)])


def conv(name, source, in_ch, relu=True, residual=None, gated=False, stride=1):
    return {
        "name": name, "in_ch": in_ch, "out_ch": 32, "kernel": 3, "stride": stride, "relu": relu, "gated": gated,
        "input": source, "residual": residual,
    }  # fmt: skip


PLAN = [
    conv("conv1", "image", 3, stride=2),
    {"name": "pool1", "window": 3, "stride": 2, "pad": 1, "input": "conv1"},
    conv("conv2", "pool1", 32, gated=True),
    conv("skip", "conv1", 32, relu=False),
    {"name": "pool2", "window": 2, "stride": 2, "pad": 0, "input": "skip"},
    conv("conv3", "conv2", 32, gated=True, residual="pool2"),
    {"name": "pool3", "window": 2, "stride": 2, "input": "conv3"},
]


@pytest.fixture(scope="module")
def net():
    return random_network(plan=PLAN, images=PHOTOS, seed=5)


def test_taps_are_the_greatest_codes(net):
    taps = net.run(PHOTOS).taps
    for name, window, pad, lo in (("pool1", 3, 1, 0), ("pool2", 2, 0, -128), ("pool3", 2, 0, 0)):
        tap, layer = taps[name], net.layer(name)
        expected = int_ops.max_pool(taps[layer.input].ofmap, window, 2, pad, lo, lo + 255)
        assert torch.equal(tap.ofmap, expected) and torch.equal(tap.psum, expected), name
        assert tap.decision is None and (layer.in_ch, layer.out_ch, layer.kernel) == (32, 32, window)
    assert taps["pool2"].ofmap.min() < 0 and net.layer("conv3").residual_signed
    assert taps["pool1"].ofmap.shape == (2, 32, 8, 8)


def test_a_pooling_multiplies_nothing(net):
    counts = {count.name: count for count in count_network(net, 2, 8, net.run(PHOTOS))}
    for name in ("pool1", "pool2", "pool3"):
        count = counts[name]
        assert (count.dense, count.nominal_macs, count.decisions, count.speedup) == (0, 0, 0, 1.0)
    assert counts["conv2"].dense == 2 * 4 * (3 * 8 - 2) ** 2 * 32 // 8  # on the pooled map


def test_scales_are_those_of_the_map_that_is_read(net):
    scales = net.meta["scales"]
    assert scales["pool1"] == scales["conv1"] and scales["pool2"] == scales["skip"]
    assert not any("pool" in name for name in net.training)


def test_round_trip(net, tmp_path):
    save(tmp_path / "net.safetensors", net)
    again = load(tmp_path / "net.safetensors")
    assert torch.equal(again.run(PHOTOS).logits, net.run(PHOTOS).logits)
    assert again.layer("pool2").weight.shape == (32, 0, 2, 2) and again.layer("pool2").signed


def test_a_pooling_has_no_weights_to_train(net):
    std = [0.2, 0.2, 0.2]
    names = {layer.name: f"{layer.name}.weight" for layer in net.layers if layer.kind != "maxpool"}
    assert set(float_state(replace(net, meta=dict(net.meta, weight_names=names, std=std)))) == set(names.values())
    with pytest.raises(CheckpointError, match="must hold a training state"):
        float_state(net)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(8, 1, 2, 2, dtype=torch.int8)}, r"weight must be of shape \(C, 0, window, window\)"),
        ({"weight": torch.zeros(8, 0, 2, 3, dtype=torch.int8)}, r"weight must be of shape \(C, 0, window, window\)"),
        ({"weight": torch.zeros(0, 0, 2, 2, dtype=torch.int8)}, r"weight must be of shape \(C, 0, window, window\)"),
        ({"weight": torch.zeros(8, 0, 2, 2)}, "weight must be int8"),
        ({"stride": 0}, "stride must be 1 to 4096, not 0"),
        ({"pad": 2}, "pad must be 0 to 1, less than the window, not 2"),
        ({"pad": -1}, "pad must be 0 to 1, less than the window, not -1"),
        ({"pad_code": (1,) * 8}, "pad_code must be 0 in a max-pooling"),
        ({"M": torch.ones(8, dtype=torch.int16)}, r"M must be torch.int16 of shape \(0,\)"),
        ({"B": torch.ones(8, dtype=torch.int64)}, r"B must be torch.int64 of shape \(0,\)"),
        ({"S": 1}, "S, R0 and Q must be 0"),
        ({"residual": "b"}, "S, R0 and Q must be 0 in a max-pooling, which adds no residual"),
        ({"lo": -1}, r"\(lo, hi\) must be \(0, 255\) or \(-128, 127\), not \(-1, 255\)"),
        ({"gated": True}, "a max-pooling must not be gated"),
        ({"groups": 2}, "a max-pooling must not be gated"),
        ({"kind": "avgpool"}, "kind must be conv, maxpool or fc, not avgpool"),
    ],
)
def test_layer_wrong(change, message):
    with pytest.raises(ValueError, match=f"layer pool: {message}"):
        replace(pool_layer("pool", 8, 2, 2, 0, "a"), **change)


def test_network_wrong(net):
    layers = {layer.name: layer for layer in net.layers}
    for name, change, message in (
        ("pool1", pool_layer("pool1", 32, 3, 2, 1, "conv1", signed=True), r"\(lo, hi\) must be those of its input"),
        ("pool2", pool_layer("pool2", 32, 2, 2, 0, "skip"), r"\(lo, hi\) must be those of its input, skip"),
        ("pool1", pool_layer("pool1", 16, 3, 2, 1, "conv1"), "input channels must be 32, not 16"),
        ("conv2", replace(layers["conv2"], input="pool2"), "input must be an earlier layer"),
        ("pool3", pool_layer("pool3", 32, 2, 2, 0, "pool2", signed=True), "input must have unsigned codes, unlike"),
    ):
        with pytest.raises(ValueError, match=message):
            IntNetwork(tuple((layers | {name: change}).values()))
