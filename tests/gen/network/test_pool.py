"""Networks with max-pooling: programs, executed in every order that their tokens allow, compute them."""

import random

import numpy as np
import pytest

from cdgate.errors import CompileError
from gen.network.compiler import compile_network
from hw.interface.instructions import Opcode, Unit
from hw.params import HwParams
from sw_model.integer.layer import pool_layer
from tests.gen.network.networks import graph, lively, photographs, pool, skip
from verification.independent.decoded_program import ProgramError, decode, unordered
from verification.independent.execution import SIZE, TINY, check, checked, engine_for, executed

#: A pooled map that two layers read, a residual that is pooled, a classifier behind a pooling.
PLAN = graph(
    pool("p", "a", 3, pad=1),
    skip("b", "p", None, gated=True),
    skip("c", "p", "b"),
    skip("d", "a", None),
    pool("q", "d"),
    skip("e", "c", "q", gated=True),
    pool("r", "e", 2, 1, 1),
)


@pytest.fixture(scope="module")
def network():
    return lively(SIZE, PLAN)


@pytest.mark.parametrize("mode", ["gated", "dense", "base"])
def test_modes(network, mode):
    program = checked(network, TINY, 5, SIZE, mode)
    pools = [one for one in program.instructions if one.opcode is Opcode.POOL]
    assert {one.layer for one in pools} == {"p", "q", "r"} and all(one.unit is Unit.COMPUTE for one in pools)
    for one in program.instructions:
        assert one.layer not in "pqr" or one.opcode not in (Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS)
    engine = check(program, photographs(5, SIZE))
    check(program, photographs(8, SIZE)[3:], random.Random(1).choice, engine)


def test_every_interleaving(network, seed):
    program, images, rng = compile_network(network, TINY, 3, SIZE), photographs(3, SIZE), random.Random(seed)
    ways = [rng.choice, lambda can: can[0], lambda can: can[-1]]
    ways += [lambda can, name=unit.name: name if name in can else rng.choice(can) for unit in Unit]
    logits = [executed(program, engine_for(program), images, way) for way in ways]
    assert all(np.array_equal(logits[0], one) for one in logits), f"seed {seed}"


def test_tokens_are_needed(network):
    """A pooling waits for loads as any pass does."""
    program = decode(compile_network(network, TINY, 3, SIZE).packed(), TINY)
    pools = {one.number for one in program if one.opcode is Opcode.POOL}
    assert unordered(program) == []
    for one in program:
        if one.unit is Unit.COMPUTE and "load" in one.take:
            one.take.remove("load")
        if one.unit is Unit.LOAD and "compute" in one.give:
            one.give.remove("compute")
    assert any(pools & {first, second} for first, second, _ in unordered(program))


def test_opcode_and_register_agree(network):
    words = compile_network(network, TINY, 1, SIZE).packed()
    number = next(n for n, one in enumerate(decode(words, TINY)) if one.opcode is Opcode.POOL)
    words[number, 0] = words[number, 0] & 0xF0 | Opcode.COMPUTE.value
    with pytest.raises(ProgramError, match="COMPUTE with pool = 1"):
        decode(words, TINY)


@pytest.mark.parametrize("window, pad", [(2, 0), (2, 1), (3, 0), (3, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_tiles_of_rows(window, pad, stride):
    """A bank holds but a few rows: poolings are computed in tiles with the rows that these share."""
    params = HwParams(in_par=4, rq_lanes=2, bank_words=256, ring_entries=512)
    size = (24, 16)
    network = lively(size, graph(pool("p", "a", window, stride, pad), {**skip("b", "p", None), "stride": 2}))
    program = checked(network, params, 2, size)
    tiles = [info.rows for info in program.passes if info.layer == "p"]
    assert len(tiles) > 2 and tiles[0][0] == 0
    check(program, photographs(2, size))


def test_pooling_of_the_image():
    network = lively(SIZE, [pool("p", "image", 3, pad=1), {**skip("b", "p", None), "in_ch": 3}])
    check(compile_network(network, TINY, 2, SIZE), photographs(2, SIZE))


def test_other_sizes_of_words():
    for params in (HwParams(), HwParams(in_par=2, rq_lanes=2, axi_bits=64), HwParams(in_par=8, rq_lanes=1)):
        network = lively(SIZE, graph(pool("p", "a", 3, pad=1), skip("b", "p", None), pool("q", "b")))
        check(compile_network(network, params, 3, SIZE), photographs(3, SIZE))


def test_refusals(network):
    with pytest.raises(CompileError, match="layer q: window of a max-pooling must be 2x2 or 3x3 with padding 0 or 1"):
        compile_network(lively(SIZE, graph(pool("q", "a", 4))), TINY, 1, SIZE)
    layers = (*network.layers[:-1], pool_layer("unread", 16, 2, 2, 0, "e"), network.layers[-1])
    with pytest.raises(CompileError, match="layer unread: its result must be read by a later layer"):
        compile_network(type(network)(layers), TINY, 1, SIZE)
