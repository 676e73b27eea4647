# amaranth: UnusedElaboratable=no
"""Beats into words: order, one cycle each, with gaps anywhere; a word stands until the next one's first part."""

import random

import pytest

from hw.bus.part_join import PartJoin
from tests.hw.helpers import simulate

#: Cycles from a word's last beat to the word.
LATENCY = 3


@pytest.mark.parametrize("gap", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("in_bits, out_bits", [(128, 128), (32, 128), (64, 256), (64, 512), (64, 1024), (32, 1024)])
def test_words(in_bits, out_bits, gap, seed):
    rng = random.Random(seed)
    dut = PartJoin(in_bits, out_bits)
    parts = out_bits // in_bits
    words = [(rng.getrandbits(out_bits), rng.randrange(2)) for _ in range(20)]
    beats = [
        (word >> n * in_bits & (1 << in_bits) - 1, last if n == parts - 1 else rng.randrange(2))
        for word, last in words
        for n in range(parts)
    ]
    begins, ends, seen = [], [], []

    async def feed(ctx):
        cycle = 0
        for number, (beat, last) in enumerate(beats):
            while rng.random() < gap:
                await ctx.tick()
                cycle += 1
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.p, {"data": beat, "last": last})
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.i.p, {"data": rng.getrandbits(in_bits), "last": rng.randrange(2)})
            if number % parts == 0:
                begins.append(cycle)
            if number % parts == parts - 1:
                ends.append(cycle)
            cycle += 1
        for _ in range(20):
            await ctx.tick()

    async def take(ctx):
        async for _, _, valid, payload in ctx.tick().sample(dut.o.valid, dut.o.payload):
            seen.append((valid, int(payload.data), int(payload.last)))

    simulate(dut, feed, background=[take])
    told = [(cycle, data, last) for cycle, (valid, data, last) in enumerate(seen) if valid]
    assert told == [(end + LATENCY, *word) for end, word in zip(ends, words, strict=True)], f"seed {seed}"
    for end, begin, (word, _) in zip(ends, [*begins[1:], len(seen) - LATENCY], words, strict=True):
        assert {data for _, data, _ in seen[end + LATENCY : begin + LATENCY]} == {word}, f"seed {seed}"


@pytest.mark.parametrize("in_bits, out_bits", [(0, 8), (16, 8), (16, 24)])
def test_widths_wrong(in_bits, out_bits):
    with pytest.raises(ValueError, match=rf"^out_bits must be a multiple of in_bits \({in_bits}\), not {out_bits}$"):
        PartJoin(in_bits, out_bits)
