# amaranth: UnusedElaboratable=no
"""The register of two places: order, every payload once, a payload a cycle, and a ready that depends on no input."""

import pytest

from hw.streams.stream_register import StreamRegister
from tests.hw.helpers import GAPS, ORDER_LAYOUT, check_order, simulate


@pytest.mark.parametrize("gap_in, gap_out", [*GAPS, (0.1, 0.9), (0.9, 0.1)])
def test_order(gap_in, gap_out, seed):
    check_order(StreamRegister(ORDER_LAYOUT), 200, gap_in, gap_out, seed)


def test_against_a_list(seed, rng):
    """In every cycle: ready as long as one place is free, valid as long as one is taken, the oldest on offer."""
    dut = StreamRegister(8)
    held = []

    async def bench(ctx):
        for cycle in range(500):
            value, valid, ready = rng.getrandbits(8), rng.randrange(2), rng.randrange(2)
            before = ctx.get(dut.i.ready)
            ctx.set(dut.i.payload, value)
            ctx.set(dut.i.valid, valid)
            ctx.set(dut.o.ready, ready)
            assert ctx.get(dut.i.ready) == before == (len(held) < 2), f"cycle {cycle} (seed {seed})"
            assert ctx.get(dut.o.valid) == bool(held), f"cycle {cycle} (seed {seed})"
            if held:
                assert ctx.get(dut.o.payload) == held[0], f"cycle {cycle} (seed {seed})"
                held[:] = held[1:] if ready else held
            if before and valid:
                held.append(value)
            await ctx.tick()

    simulate(dut, bench)


def test_latency_and_rate():
    dut = StreamRegister(8)

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for cycle in range(30):
            ctx.set(dut.i.payload, cycle)
            assert ctx.get(dut.i.ready)
            assert ctx.get(dut.o.valid) == (cycle > 0)
            if cycle:
                assert ctx.get(dut.o.payload) == cycle - 1
            await ctx.tick()

    simulate(dut, bench)
