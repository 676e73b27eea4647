"""The network compiler: programs, executed in every order that their tokens allow, compute the network."""

import dataclasses
import random

import numpy as np
import pytest

from cdgate.errors import CompileError
from gen.config import config
from gen.cost.cycle_model import predict
from gen.cost.steps import slice_steps
from gen.network.compiler import compile_network
from hw.interface.instructions import Opcode, Unit
from hw.params import LANES, HwParams
from sw_model.integer.checkpoint import DEFAULT_CHECKPOINT, load
from sw_model.integer.network import IntNetwork
from sw_model.integer.steps import count_network
from sw_model.quantisation.plan import resnet_plan
from tests.gen.network.networks import GRAPHS, blank, blank_resnet, graph, lively, photographs, skip, vgg_plan
from tests.gen.network.program_interpreter import Engine, ProgramError, decode, most_tokens, unordered

#: Banks small enough for everything to happen: tiles of rows, and stages of 1, 2, 4 and 5 images.
TINY = HwParams(in_par=4, rq_lanes=1, bank_words=1024, ring_entries=512, axi_bits=32)
SIZE = (16, 16)
IMAGES = 5


def executed(program, engine, images, choose):
    """Execute a program as a host does; return its logits."""
    engine.write(program.image["input"].address, program.pack_images(images))
    engine.run(decode(program.packed(), program.params), choose)
    return program.unpack_logits(engine.read(program.image["logits"]))


def engine_for(program):
    engine = Engine(program.params, program.image.size)
    for region in program.image:
        if region.content is not None:
            engine.write(region.address, region.content)
    return engine


def check(program, images, choose=None, engine=None):
    """Execute a program and compare everything that it leaves with the golden network; return the engine."""
    engine = engine or engine_for(program)
    logits = executed(program, engine, images, choose or random.Random(0).choice)
    golden = program.network.run(images, "gated" if program.mode == "channel" else program.mode)
    assert np.array_equal(logits, golden.logits.numpy())
    for name, region in program.stored_maps.items():
        assert np.array_equal(program.unpack_map(name, engine.read(region)), golden.taps[name].ofmap.numpy()), name
    _check_passes(program, engine, golden)
    return engine


def _check_passes(program, engine, golden):
    """Compare every pass's ofmap and decisions, and the steps of all."""
    params, network = program.params, program.network
    assert [number for number, _ in engine.passes] == [program.pass_index(n) for n in range(len(program.passes))]
    steps = {layer.name: [0, 0] for layer in network.layers}
    for info, (_, done) in zip(program.passes, engine.passes, strict=True):
        layer, tap = network.layer(info.layer), golden.taps[info.layer]
        steps[info.layer] = [a + b for a, b in zip(steps[info.layer], done.steps, strict=True)]
        part = slice(info.first_image, info.first_image + info.images)
        if info.ofmap is not None:
            bank = np.zeros(params.bank_words * params.in_par, dtype=np.uint8)
            assert info.ofmap.bank == done.written[0]
            bank[done.written[1]] = done.written[2]
            words = bank.reshape(-1, params.in_par)[info.ofmap.addresses()]
            found = info.ofmap.from_words(words, layer.out_ch, layer.signed)
            assert np.array_equal(found, tap.ofmap.numpy()[part, :, slice(*info.rows)]), info
        if done.decisions:
            expected = tap.decision.repeat_interleave(layer.slice_size, 1).numpy()[part, :, slice(*info.rows)]
            found = np.stack(done.decisions).transpose(1, 0, 4, 2, 3).reshape(expected.shape)
            assert np.array_equal(found, expected), info
    decisions = None if program.mode == "dense" else golden
    for count in count_network(network, program.images, params.in_par, decisions, program.in_size):
        assert steps[count.name] == [count.base, count.conditional], count.name


@pytest.fixture(scope="module")
def network():
    return lively(SIZE, width=0.25, blocks=1)


@pytest.fixture(scope="module")
def images():
    return photographs(IMAGES, SIZE)


@pytest.fixture(scope="module")
def gated(network):
    return compile_network(network, TINY, IMAGES, SIZE, "gated")


@pytest.mark.parametrize("mode", ["gated", "dense", "base"])
def test_modes(network, images, mode):
    program = compile_network(network, TINY, IMAGES, SIZE, mode)
    assert [segment.batch for segment in program.segments] == [0, 1, 2, 4, 5]
    engine = check(program, images)
    # A host gives the next images to the same engine, without a reset.
    check(program, photographs(IMAGES + 3, SIZE)[3:], random.Random(1).choice, engine)


def reluctant(name):
    """Let one unit, or the dispatch, only go on when nothing else can."""
    return lambda can: next((one for one in can if one != name), name)


def eager(name):
    """Let one unit, or the dispatch, go on whenever it can, the others the last one first."""
    return lambda can: name if name in can else can[-1]


def test_every_interleaving(gated, images, seed):
    """No interleaving of the units locks up, uses what another one changes, or changes the result."""
    rng = random.Random(seed)
    actors = ["dispatch", *(unit.name for unit in Unit)]
    ways = [way(name) for way in (reluctant, eager) for name in actors]
    favourites = {name: rng.random() for name in actors}
    ways += [rng.choice, lambda can: rng.choices(can, [favourites[name] for name in can])[0]]
    logits, done = [], {}
    for way in ways:
        engine = engine_for(gated)
        engine.done = done
        logits.append(executed(gated, engine, images, way))
        assert engine.most_tokens <= most_tokens(decode(gated.packed(), TINY))
    assert all(np.array_equal(logits[0], one) for one in logits)
    assert len(done) == len(gated.passes)  # whatever the order, passes read the same


def test_tokens_are_needed(gated, images):
    """Without the tokens between two units there is a hazard, so the test above would find it."""
    program = decode(gated.packed(), TINY)
    assert unordered(program) == []
    pairs = {(giver, taker) for one in gated.instructions for giver in one.take for taker in [one.unit.name.lower()]}
    assert len(pairs) == 5  # a store waits for no load but through a pass
    for giver, taker in pairs:
        broken = decode(gated.packed(), TINY)
        for one in broken:
            if one.unit.name.lower() == taker and giver in one.take:
                one.take.remove(giver)
            if one.unit.name.lower() == giver and taker in one.give:
                one.give.remove(taker)
        assert unordered(broken), (giver, taker)
    for one in (one for one in program if one.opcode is Opcode.COMPUTE and "load" in one.take):
        one.take.remove("load")
        break
    with pytest.raises(ProgramError):
        unordered(program)
    engine = engine_for(gated)
    engine.write(gated.image["input"].address, gated.pack_images(images))
    with pytest.raises(ProgramError):
        engine.run(program, reluctant("LOAD"))


def test_channels_decide(images):
    network = lively(SIZE, width=0.25, blocks=1, slice_size=1)
    check(compile_network(network, TINY, 2, SIZE, "channel"), images[:2])


def test_tiles_of_rows():
    """A bank holds but a few rows: the first layers are computed in tiles, residuals too."""
    params = HwParams(in_par=4, rq_lanes=2, bank_words=512, ring_entries=512, axi_bits=64)
    size = (12, 16)
    network = lively(size, resnet_plan(1.0, (2, 1), (16, 32)))
    program = compile_network(network, params, 2, size, "gated")
    assert [segment.batch for segment in program.segments[:5]] == [0] * 5
    assert any(rows != (0, 12) for rows in (info.rows for info in program.passes))
    assert any(info.rows[0] and network.layer(info.layer).residual for info in program.passes)
    check(program, photographs(2, size))


def test_without_residuals():
    params = HwParams(in_par=8, rq_lanes=2, bank_words=512, ring_entries=256, axi_bits=128)
    size = (16, 12)
    network = lively(size, vgg_plan((16, 16, 32, 64)))
    for count in (1, 3):
        check(compile_network(network, params, count, size, "gated"), photographs(count, size))


def test_shortcut_that_is_read_twice():
    """Residuals that are read again later keep a bank of their own."""
    plan = resnet_plan(1.0, (1,), (16,))
    plan.append({**plan[2], "name": "conv2_3", "input": "conv2_2", "residual": "conv1"})
    plan.append({**plan[2], "name": "conv2_4", "input": "conv2_3", "residual": "conv2_2"})
    network = lively((8, 8), plan)
    check(compile_network(network, TINY, 3, (8, 8), "gated"), photographs(3, (8, 8)))


@pytest.mark.parametrize("kernel, gated", [(1, False), (3, False), (3, True)])
@pytest.mark.parametrize("count", [1, 4])
def test_residual_that_is_the_ifmap(kernel, gated, count):
    """A skip over one convolution: the engine reads ifmap and residual from two banks, and writes to no ifmap."""
    network = lively((16, 16), graph(skip("b", "a", "a", kernel=kernel, gated=gated)))
    program = compile_network(network, config("small"), count, (16, 16), "gated")
    check(program, photographs(count, (16, 16)))
    for info in program.passes:
        fields = info.instruction.fields
        if info.layer == "b":
            assert fields["ifmap_bank"] not in (fields["ofmap_bank"], fields["residual_bank"])


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("params", [TINY, config("small")], ids=["tiny banks", "small"])
def test_graphs_with_maps_read_more_than_once(name, params):
    network = lively((16, 16), GRAPHS[name])
    for count in (1, 4):
        check(compile_network(network, params, count, (16, 16), "gated"), photographs(count, (16, 16)))


def checked(network, params, images, size, mode="gated"):
    """Compile, and check what can be checked without executing anything."""
    program = compile_network(network, params, images, size, mode)
    decoded = decode(program.packed(), params)
    assert unordered(decoded) == []
    assert most_tokens(decoded) <= 255
    base, end = program.store_window
    regions = sorted(program.image, key=lambda region: region.address)
    assert all(a.stop <= b.address for a, b in zip(regions, regions[1:], strict=False))
    assert all(region.address % 64 == 0 for region in regions)
    writable = [*program.stored_maps.values(), program.image["logits"]]
    for one in decoded:
        if one.unit is Unit.STORE:
            [(_, first, stop)] = one.writes
            assert base <= first and stop <= end
            assert any(region.address <= first and stop <= region.stop for region in writable)
    covered = {layer.name: 0 for layer in network.layers}
    for info in program.passes:
        covered[info.layer] += info.images * (info.rows[1] - info.rows[0])
    assert covered == {
        shape.name: images * (1 if shape.classifier else shape.layer.out_size(shape.in_size[0]))
        for segment in program.segments
        for shape in segment.layers
    }
    return program


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
    program = checked(shipped, config("full"), 8, (32, 32))
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
    same = compile_network(shipped, config("full"), 8, (32, 32), "dense")
    weights = [region for region in program.image if region.name.startswith("weights")]
    assert all(same.image[region.name] == region for region in weights)
    base = compile_network(shipped, config("full"), 8, (32, 32), "base")
    ratio = base.image["weights conv4_2"].size / program.image["weights conv4_2"].size
    assert ratio == 0.25


def test_shipped_network_one_image(shipped):
    program = checked(shipped, config("full"), 1, (32, 32))
    sums = moved(program)
    assert 11e6 < sums[Opcode.LOAD_WEIGHTS] + sums[Opcode.LOAD_PARAMETERS] < 11.3e6
    assert sums[Opcode.STORE_MAP] == 0 and sums[Opcode.LOAD_MAP] == 32 * 1024


@pytest.mark.parametrize("images", [3, 7, 13])
def test_numbers_of_images_that_do_not_divide(images):
    checked(blank_resnet(1), config("full"), images, (32, 32))


HALF, WIDE = config("half"), HwParams(in_par=8, rq_lanes=8, ring_entries=1024, axi_bits=128)


@pytest.mark.parametrize(
    "network, params, size",
    [
        (blank_resnet(channels=(32, 64, 128, 256)), HALF, (32, 32)),  # half width
        (blank_resnet((3, 4, 6, 3)), config("full"), (32, 32)),  # ResNet-34
        (blank_resnet(3, (32, 64, 128)), HALF, (32, 32)),  # ResNet-20, twice as wide
        (blank_resnet(1, (64, 128, 256, 512), groups=2), config("full"), (32, 32)),
        (blank_resnet(1, (64, 128, 256, 512), groups=8), HALF, (32, 32)),
        (blank_resnet(1, (64, 128, 256, 512)), config("full"), (56, 56)),  # tiles, then resident stages
        (blank_resnet(2, (64, 128, 256, 512), groups=8), WIDE, (48, 40)),
        (blank(vgg_plan((64, 64, 128, 128, 256, 256, 512, 512))), config("full"), (32, 32)),
        (blank(vgg_plan((32, 64, 64, 128, 128, 128)), groups=2), HALF, (56, 56)),
        (blank_resnet(1, (32, 64, 128)), config("small"), (32, 32)),  # a bus of 32 bits
        (blank_resnet(1, (16, 32, 64), groups=2), config("small"), (24, 24)),
        (blank_resnet(1, (16, 32, 64), groups=2), config("tiny"), (28, 28)),
    ],
    ids=lambda value: "" if not isinstance(value, tuple) else "x".join(map(str, value)),
)
def test_many_networks(network, params, size):
    for images in (1, 6):
        checked(network, params, images, size)
    program = checked(network, params, 3, size, "base")
    assert len(program.passes) >= len(network.layers)


def refusal(*args):
    with pytest.raises(CompileError) as error:
        compile_network(*args)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_slice_and_the_rest_of_a_burst_must_fit_the_ring():
    """A ring of 512 entries, bursts of 32: what is allowed runs, what is not would wait for room for ever."""
    tiny = config("tiny")
    program = checked(blank(vgg_plan((106, 32), gated=False)), tiny, 1, (16, 16), "dense")
    assert predict(program, slice_steps(program, None)).cycles > 0
    assert refusal(blank(vgg_plan((108, 32), gated=False)), tiny, 1, (16, 16)) == (
        "layer conv2: weights of a slice must take at most 481 entries of the ring, beside the rest of a burst, not 486"
    )
    # One slice alone has no other behind it.
    compile_network(blank(vgg_plan((112, 8), gated=False)), tiny, 1, (16, 16))


def test_refusals():
    full = config("full")
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
    narrow = HwParams(in_par=4, rq_lanes=1, bank_words=2048)
    checked(blank_resnet(1, (16, 32), groups=2), narrow, 1, (15, 15))
    assert refusal(blank_resnet(1, (16, 32), groups=2), narrow, 4, (15, 15)) == (
        "layer conv1: what is loaded of image must start at a multiple of 8 bytes, not at 6300"
    )
    assert refusal(blank_resnet(1), full, 0, (32, 32)) == "network: images must be at least 1, not 0"
    assert refusal(blank_resnet(1), full, 1, (32, 32), "forced").startswith("network: mode must be one of")
    assert refusal(blank_resnet(1), full, 1, (32, 32), "channel").startswith("layer conv2_1: ")
    assert refusal(blank_resnet(1), full, 3000, (32, 32)).startswith("network: ")


def pointwise_plan(stride):
    """A stack whose first layer is a 1x1 convolution of the image itself."""
    first = {
        "name": "conv0",
        "in_ch": 3,
        "out_ch": 16,
        "kernel": 1,
        "stride": stride,
        "relu": True,
        "gated": False,
        "input": "image",
        "residual": None,
    }
    return [first, {**vgg_plan((16, 16), gated=False)[1], "input": "conv0"}]


@pytest.mark.parametrize("in_par, stride", [(2, 1), (4, 1), (4, 2), (8, 2), (16, 1)])
def test_first_layer_without_patches(in_par, stride):
    """The image has whole slices of 8 channels then, as any other map."""
    params = HwParams(in_par=in_par, rq_lanes=1, bank_words=1024, ring_entries=512, axi_bits=32)
    network = lively(SIZE, pointwise_plan(stride), groups=1)
    program = compile_network(network, params, 2, SIZE)
    assert len(program.pack_images(photographs(2, SIZE))) == program.image["input"].size
    check(program, photographs(2, SIZE))


def changed(network, name, **changes):
    """Return the network with one layer that differs."""
    return IntNetwork(
        tuple(dataclasses.replace(layer, **changes) if layer.name == name else layer for layer in network.layers)
    )


def test_result_that_nobody_reads():
    plan = vgg_plan((16, 16, 32), gated=False)
    network = blank([*plan, {**plan[0], "name": "other", "out_ch": 32}])
    assert refusal(changed(network, "fc", input="conv3"), config("small"), 1, SIZE) == (
        "layer other: its result must be read by a later layer, as it is not the last"
    )


def test_padding_behind_the_image():
    network = changed(blank(vgg_plan((16, 16, 32), gated=False)), "conv2", pad_code=(0,) * 15 + (1,))
    assert refusal(network, config("small"), 1, SIZE) == (
        "layer conv2: padding must be of code 0 where a layer does not read the image"
    )


def image_read_twice(stride=1, **changes):
    """Return a network whose second layer reads the image, too; its result is added to the third one's."""
    plan = vgg_plan((16, 16), gated=False)
    side = {**plan[0], "name": "side", "stride": stride, **changes}
    return blank([plan[0], side, {**plan[1], "stride": stride, "residual": "side"}])


def test_image_that_is_read_twice():
    small, size = config("small"), (8, 8)
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


def test_images_must_fit(gated):
    with pytest.raises(ValueError, match=r"images must be uint8 of shape \(5, 16, 16, 3\)"):
        gated.pack_images(np.zeros((4, 16, 16, 3), dtype=np.uint8))
