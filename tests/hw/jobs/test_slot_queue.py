"""The slot queue: order, latency, and that it is never taken for empty when it holds every slot."""

import random

import pytest

from hw.jobs.slot_queue import SlotQueue
from hw.params import HwParams
from tests.hw.helpers import monitor, simulate, watch


def queue_of(slots):
    return SlotQueue(HwParams(in_par=2, rq_lanes=1, psum_slots=slots))


@pytest.mark.parametrize("slots", [2, 3, 4, 5, 8, 16])
def test_holds_every_slot(slots, seed):
    # A queue of 16 with pointers of four bits would look empty when it holds all sixteen: a hang of the whole engine.
    dut, rng = queue_of(slots), random.Random(seed)

    async def bench(ctx):
        for _ in range(5):  # the counts pass their ends at another place each time
            order = rng.sample(range(slots), slots)
            for slot in order:
                ctx.set(dut.put, 1)
                ctx.set(dut.slot, slot)
                await ctx.tick()
            ctx.set(dut.put, 0)
            await ctx.tick()
            assert ctx.get(dut.o.valid), f"full is not empty (seed {seed})"
            ctx.set(dut.o.ready, 1)
            for slot in order:
                assert ctx.get(dut.o.valid) and ctx.get(dut.o.payload) == slot, f"seed {seed}"
                await ctx.tick()
            assert not ctx.get(dut.o.valid)
            ctx.set(dut.o.ready, 0)
            for _ in range(rng.randrange(3)):
                await ctx.tick()

    simulate(dut, bench, background=[monitor(dut.o, seed)])


def test_latency_and_rate():
    # Put in one cycle, out in the next, a slot a cycle.
    dut = queue_of(4)
    log = []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        for n in range(8):
            ctx.set(dut.put, 1)
            ctx.set(dut.slot, n % 4)
            await ctx.tick()
        ctx.set(dut.put, 0)
        for _ in range(3):
            await ctx.tick()

    simulate(dut, bench, background=[watch(log, valid=dut.o.valid, payload=dut.o.payload)])
    assert [row["valid"] for row in log] == [0] + [1] * 8 + [0] * 2
    assert [row["payload"] for row in log[1:9]] == [0, 1, 2, 3] * 2


@pytest.mark.parametrize("slots", [3, 4, 16])
@pytest.mark.parametrize("put, take", [(0.9, 0.9), (0.9, 0.3), (0.3, 0.9)])
def test_order(slots, put, take, seed):
    dut, rng = queue_of(slots), random.Random(seed)

    async def bench(ctx):
        held = []  # what is in the queue at the cycle's begin
        for cycle in range(400):
            slot = rng.choice([slot for slot in range(slots) if slot not in held] or [None])
            put_now, ready = slot is not None and rng.random() < put, rng.random() < take
            ctx.set(dut.put, put_now)
            ctx.set(dut.slot, slot if put_now else rng.randrange(slots))
            ctx.set(dut.o.ready, ready)
            assert ctx.get(dut.o.valid) == bool(held), f"cycle {cycle} (seed {seed})"
            if held:
                assert ctx.get(dut.o.payload) == held[0], f"cycle {cycle} (seed {seed})"
                if ready:
                    held.pop(0)
            if put_now:
                held.append(slot)
            await ctx.tick()

    simulate(dut, bench, background=[monitor(dut.o, seed)])
