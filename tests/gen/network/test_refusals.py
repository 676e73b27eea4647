"""What the network compiler refuses: one line that names the layer and the rule; and what is just allowed."""

import dataclasses

import pytest

from cdgate.errors import CompileError, UserError
from gen.cost.cycle_model import predict
from gen.cost.steps import slice_steps
from gen.network.compiler import compile_network
from hw.configurations import CONFIGS
from hw.params import HwParams
from sw_model.integer.network import IntNetwork
from tests.gen.network.networks import blank, blank_resnet, lively, photographs, vgg_plan
from verification.independent.execution import SIZE, check, checked


def refusal(*args):
    with pytest.raises(CompileError) as error:
        compile_network(*args)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_slice_and_the_rest_of_a_burst_must_fit_the_ring():
    """A ring of 512 entries, bursts of 32: what is allowed runs, what is not would wait for room for ever."""
    tiny = CONFIGS["tiny"]
    program = checked(blank(vgg_plan((106, 32), gated=False)), tiny, 1, (16, 16), "dense")
    assert predict(program, slice_steps(program, None)).cycles > 0
    assert refusal(blank(vgg_plan((108, 32), gated=False)), tiny, 1, (16, 16)) == (
        "layer conv2: weights of a slice must take at most 481 entries of the ring, beside the rest of a burst, not 486"
    )
    # One slice alone has no other behind it.
    compile_network(blank(vgg_plan((112, 8), gated=False)), tiny, 1, (16, 16))


def test_refusals():
    full = CONFIGS["full"]
    assert refusal(blank_resnet(1, (32, 64)), full, 1, (32, 32)) == (
        "layer conv2_1: input channels per group must be a multiple of 16, not 32 / 4"
    )
    assert refusal(blank_resnet(1, (64, 128)), full, 1, (32, 32)).startswith(
        "layer fc: pooling must be over at most 8x8 pixels, not 16x16"
    )
    assert refusal(blank_resnet(1, (64, 1024)), full, 1, (16, 16)).startswith("layer conv3_1: output channels must be")
    assert refusal(blank_resnet(1, (64, 128, 256)), full, 1, (32, 144)).startswith("layer conv1: ofmap must have")
    shallow = HwParams(bank_words=64)
    assert refusal(blank(vgg_plan((64, 64, 64, 64))), shallow, 1, (32, 32)) == (
        "layer fc: ifmap must fit a bank of 64 words, not take 256"
    )
    assert refusal(blank(vgg_plan((64, 64, 64, 64, 64, 64))), shallow, 1, (32, 32)).startswith(
        "layer conv1: a row of the ofmap and the rows of the ifmap that it needs must each fit a bank of 64 words"
    )
    assert refusal(blank_resnet(1), full, 0, (32, 32)) == "network: images must be at least 1, not 0"
    assert refusal(blank_resnet(1), full, 1, (32, 32), "forced").startswith("network: mode must be one of")
    assert refusal(blank_resnet(1), full, 1, (32, 32), "channel").startswith("layer conv2_1: ")
    assert refusal(blank_resnet(1), full, 3000, (32, 32)).startswith("network: ")


def changed(network, name, **changes):
    """Return the network with one layer that differs."""
    return IntNetwork(
        tuple(dataclasses.replace(layer, **changes) if layer.name == name else layer for layer in network.layers)
    )


def test_result_that_nobody_reads():
    plan = vgg_plan((16, 16, 32), gated=False)
    network = blank([*plan, {**plan[0], "name": "other", "out_ch": 32}])
    assert refusal(changed(network, "fc", input="conv3"), CONFIGS["small"], 1, SIZE) == (
        "layer other: its result must be read by a later layer, as it is not the last"
    )


def test_padding_behind_the_image():
    network = changed(blank(vgg_plan((16, 16, 32), gated=False)), "conv2", pad_code=(0,) * 15 + (1,))
    assert refusal(network, CONFIGS["small"], 1, SIZE) == (
        "layer conv2: padding must be of code 0 where a layer does not read the image"
    )


def image_read_twice(stride=1, **changes):
    """Return a network whose second layer reads the image, too; its result is added to the third one's."""
    plan = vgg_plan((16, 16), gated=False)
    side = {**plan[0], "name": "side", "stride": stride, **changes}
    return blank([plan[0], side, {**plan[1], "stride": stride, "residual": "side"}])


def test_image_that_is_read_twice():
    small, size = CONFIGS["small"], (8, 8)
    plan = vgg_plan((16, 16), gated=False)
    network = lively(size, [plan[0], {**plan[0], "name": "side"}, {**plan[1], "stride": 1, "residual": "side"}])
    check(compile_network(network, small, 2, size), photographs(2, size))
    for wrong in (
        image_read_twice(kernel=1),
        image_read_twice(stride=2),
        changed(image_read_twice(), "side", pad_code=(1, 0, 0)),
    ):
        assert refusal(wrong, small, 1, size) == (
            "layer side: kernel, stride and padding must be those of layer conv1, which reads the image, too"
        )


def test_residual_of_another_size():
    """A plan whose channels fit, but not its pixels."""
    plan = [*vgg_plan((16, 16, 16), gated=False)]
    plan[2] = {**plan[2], "residual": "conv1"}
    network = blank(plan)
    text = "layer conv3: residual must have the ofmap's 8x8 pixels, not 16x16"
    assert refusal(network, CONFIGS["small"], 1, SIZE) == text
    with pytest.raises(UserError, match=text):
        network.run(photographs(1, SIZE))
