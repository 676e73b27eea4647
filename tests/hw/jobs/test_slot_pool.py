"""The pool of free slots: each slot has at most one owner, and none gets lost."""

import random

import pytest

from hw.jobs.slot_pool import SlotPool
from hw.params import HwParams
from tests.hw.helpers import monitor, simulate

SLOTS = [2, 3, 4, 5, 8, 16]


def pool_of(slots):
    return SlotPool(HwParams(in_par=2, rq_lanes=1, psum_slots=slots))


@pytest.mark.parametrize("slots", SLOTS)
def test_all_given_once(slots):
    dut = pool_of(slots)

    async def bench(ctx):
        given = []
        ctx.set(dut.o.ready, 1)
        for _ in range(2 * slots + 20):
            _, _, valid, slot = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                given.append(slot)
            if len(given) == slots:
                break
        assert sorted(given) == list(range(slots))
        for _ in range(10):
            await ctx.tick()
            assert not ctx.get(dut.o.valid), "there are no more slots"

    simulate(dut, bench)


@pytest.mark.parametrize("slots", SLOTS)
def test_rate(slots):
    # At most every other cycle, and not less while slots are free; a slot given back is offered again.
    dut = pool_of(slots)

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        for cycle in range(20):
            assert ctx.get(dut.o.valid) == (cycle % 2 == 0), f"cycle {cycle}"
            taken, slot = ctx.get(dut.o.valid), ctx.get(dut.o.payload)
            ctx.set(dut.release, taken)
            ctx.set(dut.slot, slot)
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("take, give", [(1.0, 0.5), (0.5, 0.2), (0.3, 1.0)])
def test_owners(slots, take, give, seed):
    dut, rng = pool_of(slots), random.Random(seed)

    async def bench(ctx):
        owned, empty_for, taken = set(), 0, 0
        for cycle in range(400):
            ready = rng.random() < take
            back = rng.choice(sorted(owned)) if owned and rng.random() < give else None
            ctx.set(dut.o.ready, ready)
            ctx.set(dut.release, back is not None)
            ctx.set(dut.slot, rng.randrange(slots) if back is None else back)
            valid, slot = ctx.get(dut.o.valid), ctx.get(dut.o.payload)
            if valid:
                assert slot < slots and slot not in owned, f"cycle {cycle}: slot {slot} has an owner (seed {seed})"
            empty_for = 0 if valid or len(owned) == slots else empty_for + 1
            assert empty_for < 3, f"cycle {cycle}: no slot is offered, but {slots - len(owned)} are free (seed {seed})"
            if valid and ready:
                owned.add(slot)
                taken += 1
            if back is not None:
                owned.discard(back)
            await ctx.tick()
        assert taken > 20, "the test exercised nothing"

    simulate(dut, bench, background=[monitor(dut.o, seed)])
