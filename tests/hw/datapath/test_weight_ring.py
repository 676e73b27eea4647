"""The write side of the weight ring: room, addresses and the running count, over several turns of the ring."""

import random

import pytest

from hw.datapath.weight_ring import WeightRing
from hw.params import HwParams
from tests.hw.helpers import simulate, source, watch

ENTRIES = 16
PARAMS = HwParams(in_par=2, rq_lanes=1, ring_entries=ENTRIES)
COUNT_SPACE = 1 << PARAMS.ring_ptr_bits


def test_fills_to_the_last_entry():
    dut = WeightRing(PARAMS)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        for n in range(ENTRIES):
            assert ctx.get(dut.i.ready), f"entry {n} has a place"
            ctx.set(dut.i.payload, n)
            await ctx.tick()
        for _ in range(5):
            assert not ctx.get(dut.i.ready), "the ring is full"
            assert ctx.get(dut.loaded) == ENTRIES
            await ctx.tick()
        # Three are given back, while nothing can be accepted; then all at once.
        for freed in (3, ENTRIES):
            ctx.set(dut.free_en, 1)
            ctx.set(dut.free_entries, freed)
            assert not ctx.get(dut.i.ready), "ready depends on registers alone"
            await ctx.tick()
            ctx.set(dut.free_en, 0)
            for _ in range(freed):
                assert ctx.get(dut.i.ready)
                await ctx.tick()
            assert not ctx.get(dut.i.ready)

    simulate(dut, bench)


def test_freed_before_they_come():
    # A slice that fires nowhere is through before its conditional weights are in: these are freed first, and come then.
    for ahead in (1, 5, ENTRIES - 1):
        dut = WeightRing(PARAMS)

        async def bench(ctx, dut=dut, ahead=ahead):
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.free_en, 1)
            ctx.set(dut.free_entries, 1 + ahead)
            await ctx.tick()
            ctx.set(dut.free_en, 0)
            ctx.set(dut.i.valid, 1)
            for n in range(ENTRIES + ahead):
                assert ctx.get(dut.i.ready), f"entry {n} of {ENTRIES + ahead} has a place"
                await ctx.tick()
            assert not ctx.get(dut.i.ready), "the ring is full"

        simulate(dut, bench)


def test_ready_without_valid():
    dut = WeightRing(PARAMS)

    async def bench(ctx):
        for _ in range(2 * ENTRIES):
            assert ctx.get(dut.i.ready), "nothing was accepted, so there is room"
            assert not ctx.get(dut.write_en)
            await ctx.tick()
        assert ctx.get(dut.loaded) == 0

    simulate(dut, bench)


@pytest.mark.parametrize("gap", [0.0, 0.5])
@pytest.mark.parametrize("largest", [1, 7, ENTRIES])
def test_turns(gap, largest, seed):
    # More entries than the running count can hold, so that it passes its end.
    total = COUNT_SPACE + 3 * ENTRIES
    dut, rng, log = WeightRing(PARAMS), random.Random(seed), []
    items = [rng.getrandbits(PARAMS.entry_bits) for _ in range(total)]

    async def consumer(ctx):
        freed = 0
        while freed < total:
            held = (ctx.get(dut.loaded) - freed) % COUNT_SPACE
            count = rng.randint(1, min(held, largest)) if held and rng.random() < 0.7 else 0
            ctx.set(dut.free_en, count > 0)
            ctx.set(dut.free_entries, count or rng.randint(0, ENTRIES))  # means nothing without `free_en`
            freed += count
            await ctx.tick()
        ctx.set(dut.free_en, 0)
        for _ in range(3):
            await ctx.tick()

    simulate(
        dut,
        source(dut.i, items, gap, seed),
        consumer,
        background=[
            watch(
                log,
                valid=dut.i.valid,
                ready=dut.i.ready,
                free=dut.free_en,
                entries=dut.free_entries,
                loaded=dut.loaded,
                en=dut.write_en,
                addr=dut.write_addr,
                data=dut.write_data,
            )
        ],
    )

    accepted, freed, written = 0, 0, []
    for cycle, row in enumerate(log):
        where = f"cycle {cycle} (seed {seed})"
        assert row["ready"] == (accepted - freed < ENTRIES), where
        assert row["loaded"] == accepted % COUNT_SPACE, where
        assert row["en"] == (row["valid"] and row["ready"]), where
        if row["en"]:
            assert row["addr"] == accepted % ENTRIES, where
            written.append(row["data"])
        accepted += row["valid"] and row["ready"]
        freed += row["entries"] if row["free"] else 0
        assert 0 <= accepted - freed <= ENTRIES, where
    assert written == items, f"seed {seed}"
