"""The network compiler on networks too large to be executed in Python: order, places, and bytes that are moved."""

import pytest

from gen.network.compiler import compile_network
from hw.configurations import CONFIGS
from hw.interface.instructions import Opcode
from hw.params import LANES, HwParams
from sw_model.integer.checkpoint import DEFAULT_CHECKPOINT, load
from tests.gen.network.networks import blank, blank_resnet, vgg_plan
from verification.independent.execution import checked


def moved(program):
    """Return the bytes that a program moves, by opcode."""
    params = program.params
    item = {
        Opcode.LOAD_MAP: params.in_par,
        Opcode.STORE_MAP: params.in_par,
        Opcode.COMPUTE: 0,
        Opcode.LOAD_PARAMETERS: params.param_record_bytes,
        Opcode.LOAD_WEIGHTS: LANES * params.in_par,
        Opcode.STORE_LOGITS: 4 * params.rq_lanes,
    }
    sums = dict.fromkeys(Opcode, 0)
    for one in program.instructions:
        sums[one.opcode] += one.fields.get("count", 0) * item[one.opcode]
    return sums


@pytest.fixture(scope="module")
def shipped():
    return load(DEFAULT_CHECKPOINT)


def test_shipped_network(shipped):
    """Eight images share weights as the banks allow, and maps go to memory only between the stages."""
    program = checked(shipped, CONFIGS["full"], 8, (32, 32))
    assert [segment.batch for segment in program.segments] == [1, 2, 4, 8]
    sums = moved(program)
    assert (sums[Opcode.LOAD_WEIGHTS] + sums[Opcode.LOAD_PARAMETERS]) / 8 <= 2.4e6
    assert sums[Opcode.LOAD_MAP] == 8 * (32 + 112) * 1024
    assert sums[Opcode.STORE_MAP] == 8 * 112 * 1024
    by_layer = {layer.name: 0 for layer in shipped.layers}
    for info in program.passes:
        by_layer[info.layer] += 1
    assert by_layer["conv2_1"] == 8 and by_layer["conv3_1"] == 8 and by_layer["conv3_2"] == 4
    assert by_layer["conv5_1"] == 2 and by_layer["conv5_2"] == 1 and by_layer["fc"] == 1
    same = compile_network(shipped, CONFIGS["full"], 8, (32, 32), "dense")
    weights = [region for region in program.image if region.name.startswith("weights")]
    assert all(same.image[region.name] == region for region in weights)
    base = compile_network(shipped, CONFIGS["full"], 8, (32, 32), "base")
    ratio = base.image["weights conv4_2"].size / program.image["weights conv4_2"].size
    assert ratio == 0.25


def test_shipped_network_one_image(shipped):
    program = checked(shipped, CONFIGS["full"], 1, (32, 32))
    sums = moved(program)
    assert 11e6 < sums[Opcode.LOAD_WEIGHTS] + sums[Opcode.LOAD_PARAMETERS] < 11.3e6
    assert sums[Opcode.STORE_MAP] == 0 and sums[Opcode.LOAD_MAP] == 32 * 1024


@pytest.mark.parametrize("images", [3, 7, 13])
def test_numbers_of_images_that_do_not_divide(images):
    checked(blank_resnet(1), CONFIGS["full"], images, (32, 32))


HALF, WIDE = CONFIGS["half"], HwParams(in_par=8, rq_lanes=8, ring_entries=1024, axi_bits=128)


@pytest.mark.parametrize(
    "network, params, size",
    [
        (blank_resnet(channels=(32, 64, 128, 256)), HALF, (32, 32)),  # half width
        (blank_resnet((3, 4, 6, 3)), CONFIGS["full"], (32, 32)),  # ResNet-34
        (blank_resnet(3, (32, 64, 128)), HALF, (32, 32)),  # ResNet-20, twice as wide
        (blank_resnet(1, (64, 128, 256, 512), groups=2), CONFIGS["full"], (32, 32)),
        (blank_resnet(1, (64, 128, 256, 512), groups=8), HALF, (32, 32)),
        (blank_resnet(1, (64, 128, 256, 512)), CONFIGS["full"], (56, 56)),  # tiles, then resident stages
        (blank_resnet(2, (64, 128, 256, 512), groups=8), WIDE, (48, 40)),
        (blank(vgg_plan((64, 64, 128, 128, 256, 256, 512, 512))), CONFIGS["full"], (32, 32)),
        (blank(vgg_plan((32, 64, 64, 128, 128, 128)), groups=2), HALF, (56, 56)),
        (blank_resnet(1, (32, 64, 128)), CONFIGS["small"], (32, 32)),  # a bus of 32 bits
        (blank_resnet(1, (16, 32, 64), groups=2), CONFIGS["small"], (24, 24)),
        (blank_resnet(1, (16, 32, 64), groups=2), CONFIGS["tiny"], (28, 28)),
    ],
    ids=lambda value: "" if not isinstance(value, tuple) else "x".join(map(str, value)),
)
def test_many_networks(network, params, size):
    for images in (1, 6):
        checked(network, params, images, size)
    program = checked(network, params, 3, size, "base")
    assert len(program.passes) >= len(network.layers)
