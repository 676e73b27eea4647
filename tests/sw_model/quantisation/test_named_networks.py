"""Networks by name: their layers and sizes, that they are the same each time, and what is refused."""

import numpy as np
import pytest
import torch

from cdgate.errors import UserError
from sw_model.data.photographs import photographs, size_of
from sw_model.integer.checkpoint import DEFAULT_CHECKPOINT, load, save
from sw_model.integer.network import IntNetwork
from sw_model.quantisation.named_networks import NAMED, build_named, chosen_network
from sw_model.quantisation.plan import resnet_plan
from sw_model.quantisation.random_network import random_network


@pytest.fixture(scope="module")
def lenet5():
    return build_named("lenet5")


def test_lenet5(lenet5, tmp_path):
    sizes = lenet5.map_sizes(28, 28)
    assert sizes == {
        "image": (28, 28), "conv1": (24, 24), "pool1": (12, 12), "conv2": (8, 8), "pool2": (4, 4), "fc1": (1, 1),
        "fc2": (1, 1),
    }  # fmt: skip
    assert [layer.out_ch for layer in lenet5.layers] == [6, 6, 16, 16, 120, 84, 10]
    assert [layer.weight.numel() for layer in lenet5.layers] == [25 * 6, 0, 2400, 0, 256 * 120, 120 * 84, 840]
    images = photographs(2, 28, 1)
    result = lenet5.run(images)
    again = build_named("lenet5")
    for one, other in zip(lenet5.layers, again.layers, strict=True):
        assert torch.equal(one.weight, other.weight) and torch.equal(one.B, other.B)
    save(tmp_path / "lenet5.safetensors", lenet5)
    loaded = load(tmp_path / "lenet5.safetensors")
    assert (loaded.image_size, loaded.image_channels) == ((28, 28), 1)
    assert torch.equal(loaded.run(images).logits, result.logits)
    with pytest.raises(ValueError, match=r"images must be uint8 of shape \(N, H, W, 1\), not .* \(2, 28, 28, 3\)"):
        lenet5.run(photographs(2, 28))


def test_plans():
    """Every named network's maps fit each other, and end where the classifier pools."""
    last = {"lenet5": 84, "vgg11": 512, "resnet20x4": 256, "resnet34": 512, "resnet18-imagenet100": 512}
    convs = {"lenet5": 4, "vgg11": 8, "resnet20x4": 21, "resnet34": 36, "resnet18-imagenet100": 20}
    assert set(NAMED) == set(last)
    for name, named in NAMED.items():
        plan = named.plan()
        assert sum("kernel" in layer for layer in plan) == convs[name]
        channels, sizes = {"image": named.channels}, {"image": named.size}
        for layer in plan:
            kernel = layer.get("window", layer.get("kernel"))
            pad = layer.get("pad", kernel // 2)
            source = layer["input"]
            sizes[layer["name"]] = tuple((n + 2 * pad - kernel) // layer["stride"] + 1 for n in sizes[source])
            assert layer.get("in_ch", channels[source]) == channels[source], (name, layer)
            channels[layer["name"]] = layer.get("out_ch", channels[source])
            if layer.get("residual"):
                assert sizes[layer["residual"]] == sizes[layer["name"]]
        assert channels[plan[-1]["name"]] == last[name] and max(sizes[plan[-1]["name"]]) <= 8


def test_the_large_stem_halves_twice():
    first, pool, second = resnet_plan(stem="large")[:3]
    assert (first["kernel"], first["stride"], pool["window"], pool["stride"], pool["pad"]) == (7, 2, 3, 2, 1)
    assert second["input"] == "pool1" and not first["gated"] and second["gated"]


def test_choices():
    assert chosen_network(None, None).digest == load().digest == chosen_network(DEFAULT_CHECKPOINT, None).digest
    with pytest.raises(UserError, match="network must be one of lenet5, vgg11, .*, not 'alexnet'"):
        chosen_network(None, "alexnet")
    with pytest.raises(UserError, match="not both: x and lenet5"):
        chosen_network("x", "lenet5")


def test_image_size_wrong(lenet5):
    for size in ([28], [28, 0], "28", [28, 28.0], -1, True):
        with pytest.raises(ValueError, match="meta: image_size must be rows and columns"):
            IntNetwork(lenet5.layers, {"image_size": size})
    assert IntNetwork(lenet5.layers, {"image_size": 7}).image_size == (7, 7)
    assert IntNetwork(lenet5.layers).image_size == (32, 32)


def test_photographs_of_any_shape():
    wide, tall, grey = photographs(2, (16, 48)), photographs(2, (48, 16)), photographs(2, 32, 1)
    assert (wide.shape, tall.shape, grey.shape) == ((2, 16, 48, 3), (2, 48, 16, 3), (2, 32, 32, 1))
    # The middle of the wide one, resized less, shows the same as the square's; grey is between the colours.
    colour = photographs(2, 32)
    assert (grey[..., 0] <= colour.max(-1) + 1).all() and (grey[..., 0] >= colour.min(-1).astype(int) - 1).all()
    assert np.abs(wide.mean((1, 2)) - colour.mean((1, 2))).max() < 40


@pytest.mark.parametrize("text, size", [("32", (32, 32)), ("224x192", (224, 192)), ("1x256", (1, 256))])
def test_size(text, size):
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "0", "257", "8x", "x8", "8x8x8", "-3", "1.5", "²", "3 x 4"])
def test_size_wrong(text):
    with pytest.raises(UserError, match="size must be 1 to 256, rows and columns as 32 or 224x192, not "):
        size_of(text)


@torch.no_grad()
def test_average_pooling_is_a_mean():
    """A code's half is all that the integer convolution is off: one more where its scale is not the ifmap's."""
    conv = dict(name="a", in_ch=3, out_ch=16, kernel=3, stride=1, relu=True, gated=False, input="image", residual=None)
    plan = [conv, {"name": "mean", "average": 4, "input": "a"}]
    images = photographs(4, 32)
    network = random_network(plan=plan, images=images)
    taps, scales = network.run(images).taps, network.meta["scales"]
    expected = torch.nn.functional.avg_pool2d(taps["a"].ofmap.double() * scales["a"], 4) / scales["mean"]
    assert float((taps["mean"].ofmap - expected).abs().max()) <= 0.51
    assert network.map_sizes(32, 32)["mean"] == (8, 8) and int(taps["mean"].ofmap.max()) == 255
