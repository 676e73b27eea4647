"""Beats into entries: order, one cycle each, with gaps anywhere."""

import random

import pytest

from hw.bus.entry_join import EntryJoin
from hw.params import HwParams
from tests.hw.helpers import simulate


@pytest.mark.parametrize("gap", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("in_par, axi_bits", [(2, 128), (2, 32), (4, 64), (16, 64), (16, 32)])
def test_entries(in_par, axi_bits, gap, seed):
    params = HwParams(in_par=in_par, rq_lanes=1, axi_bits=axi_bits)
    rng = random.Random(seed)
    dut = EntryJoin(params)
    parts = params.entry_bits // axi_bits
    entries = [rng.getrandbits(params.entry_bits) for _ in range(20)]
    beats = [entry >> n * axi_bits & (1 << axi_bits) - 1 for entry in entries for n in range(parts)]
    got, ends = [], []

    async def feed(ctx):
        cycle = 0
        for number, beat in enumerate(beats):
            while rng.random() < gap:
                await ctx.tick()
                cycle += 1
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.p, {"data": beat, "last": rng.randrange(2)})
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.i.p, {"data": rng.getrandbits(axi_bits), "last": 0})
            if number % parts == parts - 1:
                ends.append(cycle)
            cycle += 1
        for _ in range(20):
            await ctx.tick()

    async def take(ctx):
        cycle = 0
        async for _, _, valid, payload in ctx.tick().sample(dut.o.valid, dut.o.payload):
            if valid:
                got.append((cycle, payload))
            cycle += 1

    simulate(dut, feed, background=[take])
    assert got == [(end + 2, entry) for end, entry in zip(ends, entries, strict=True)], f"seed {seed}"
