# amaranth: UnusedElaboratable=no
"""Queues: order, every payload once, depth, latency, a payload a cycle, and the rules of streams."""

import pytest

from hw.streams.queue import Queue
from tests.hw.helpers import GAPS, ORDER_LAYOUT, check_order, simulate, ticks

KINDS = [(depth, buffered) for depth in (2, 3, 4, 8, 16) for buffered in (False, True)]


@pytest.mark.parametrize("gap_in, gap_out", GAPS)
@pytest.mark.parametrize("depth, buffered", KINDS)
def test_order(depth, buffered, gap_in, gap_out, seed):
    check_order(Queue(ORDER_LAYOUT, depth, buffered=buffered), 100, gap_in, gap_out, seed)


@pytest.mark.parametrize("depth, buffered", KINDS)
def test_depth(depth, buffered):
    """As many as the depth go in while none leaves."""
    dut = Queue(8, depth, buffered=buffered)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        taken = 0
        for _ in range(3 * depth + 5):
            taken += ctx.get(dut.i.ready)
            await ctx.tick()
        assert taken == depth and not ctx.get(dut.i.ready)
        ctx.set(dut.o.ready, 1)
        assert ctx.get(dut.o.valid) and not ctx.get(dut.i.ready), "one that leaves makes room in the next cycle"
        await ctx.tick()
        assert ctx.get(dut.i.ready)

    simulate(dut, bench)


@pytest.mark.parametrize("depth, buffered", KINDS)
def test_latency_and_rate(depth, buffered):
    dut = Queue(8, depth, buffered=buffered)
    latency = 2 if buffered else 1
    interval = 2 if buffered and depth == 2 else 1

    async def bench(ctx):
        await ticks(ctx, 3)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for cycle in range(50):
            sent, number = cycle - latency, cycle // interval
            ctx.set(dut.i.payload, number)
            assert ctx.get(dut.i.ready) == (cycle % interval == 0), cycle
            assert ctx.get(dut.o.valid) == (sent >= 0 and sent % interval == 0), cycle
            if ctx.get(dut.o.valid):
                assert ctx.get(dut.o.payload) == sent // interval, cycle
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("depth", [-1, 0, 1])
def test_too_shallow(depth):
    with pytest.raises(ValueError, match=f"^depth must be at least 2, not {depth}$"):
        Queue(8, depth)
