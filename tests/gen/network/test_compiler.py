"""The network compiler: programs, executed in every order that their tokens allow, compute the network."""

import random

import numpy as np
import pytest

from gen.network.compiler import compile_network
from hw.configurations import CONFIGS
from hw.interface.instructions import Opcode, Unit
from hw.params import HwParams
from sw_model.quantisation.plan import resnet_plan
from tests.gen.network.networks import GRAPHS, graph, lively, photographs, skip, vgg_plan
from verification.independent.decoded_program import ProgramError, decode, most_tokens, unordered
from verification.independent.execution import SIZE, TINY, check, engine_for, executed

IMAGES = 5


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


@pytest.mark.parametrize(
    "params, size, count",
    [
        (CONFIGS["tiny"], (9, 9), 8),
        (HwParams(in_par=4, rq_lanes=1, bank_words=1024), (15, 15), 5),
        (HwParams(in_par=2, rq_lanes=1, bank_words=1024, max_slices=16, axi_bits=128), (11, 7), 3),
    ],
)
def test_images_that_are_no_whole_beats_of_the_bus(params, size, count):
    """An image of an odd number of words: the next one starts at the next beat, in memory and in the banks."""
    network = lively(size, resnet_plan(1.0, (1, 1), (16, 32)))
    program = compile_network(network, params, count, size, "gated")
    check(program, photographs(count, size))


@pytest.mark.parametrize("kernel, gated", [(1, False), (3, False), (3, True)])
@pytest.mark.parametrize("count", [1, 4])
def test_residual_that_is_the_ifmap(kernel, gated, count):
    """A skip over one convolution: the engine reads ifmap and residual from two banks, and writes to no ifmap."""
    network = lively((16, 16), graph(skip("b", "a", "a", kernel=kernel, gated=gated)))
    program = compile_network(network, CONFIGS["small"], count, (16, 16), "gated")
    check(program, photographs(count, (16, 16)))
    for info in program.passes:
        fields = info.instruction.fields
        if info.layer == "b":
            assert fields["ifmap_bank"] not in (fields["ofmap_bank"], fields["residual_bank"])


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("params", [TINY, CONFIGS["small"]], ids=["tiny banks", "small"])
def test_graphs_with_maps_read_more_than_once(name, params):
    network = lively((16, 16), GRAPHS[name])
    for count in (1, 4):
        check(compile_network(network, params, count, (16, 16), "gated"), photographs(count, (16, 16)))


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


def test_images_must_fit(gated):
    with pytest.raises(ValueError, match=r"images must be uint8 of shape \(5, 16, 16, 3\)"):
        gated.pack_images(np.zeros((4, 16, 16, 3), dtype=np.uint8))


def test_a_tile_waits_for_the_rows_that_it_reads():
    """The next layer's first tile is loaded while the last layer's last tiles are computed and stored."""
    params = HwParams(in_par=4, rq_lanes=2, bank_words=512, ring_entries=512, axi_bits=64)
    size = (32, 16)
    network = lively(size, resnet_plan(1.0, 1, (16, 32, 32)))
    program = compile_network(network, params, 1, size, "gated")
    stores = [one for one in program.instructions if one.opcode is Opcode.STORE_MAP and one.layer == "conv2_1"]
    tiles = [info for info in program.passes if info.layer == "conv2_2"]
    loads = [one for one in program.instructions if one.opcode is Opcode.LOAD_MAP and one.layer == "conv2_2"]
    region = program.image["map conv2_1"]
    loads = [one for one in loads if region.address <= one.fields["address"] < region.stop]  # not the residual's
    assert len(stores) > 3 and len(tiles) == len(loads) > 3
    for load in loads:
        first = load.fields["address"]
        stop = first + params.in_par * load.fields["count"]
        needed = [one for one in load.needs if one.opcode is Opcode.STORE_MAP]
        for store in stores:
            begin = store.fields["address"]
            overlaps = begin < stop and first < begin + params.in_par * store.fields["count"]
            assert (store in needed) == overlaps
    assert program.index[id(loads[0])] < program.index[id(stores[-1])]
    check(program, photographs(1, size))
