"""Weights into the ring: order and contents, and never more asked for than there is room."""

import random

import pytest

from hw.interface.instructions import Opcode
from hw.params import LANES, HwParams
from hw.units.weight_unit import WeightUnit
from tests.hw.bus_model import reader, transfer
from tests.hw.helpers import GAPS, monitor, simulate, ticks, until

PARAMS = [
    HwParams(in_par=in_par, rq_lanes=1, axi_bits=axi_bits, ring_entries=64)
    for in_par, axi_bits in ((2, 128), (4, 32), (16, 64))
]


@pytest.mark.parametrize("gap_in, gap_free", GAPS)
@pytest.mark.parametrize("params", PARAMS, ids=lambda p: f"{p.in_par}-{p.axi_bits}")
def test_entries_in_order_within_the_room(params, gap_in, gap_free, seed):
    rng = random.Random(seed)
    memory = rng.randbytes(1 << 16)
    size = LANES * params.in_par
    dut = WeightUnit(params)
    counts = [1, 2, 64, 33, 130, rng.randint(1, 100)]
    addresses = [params.axi_bytes * rng.randrange(1000) for _ in counts]
    expected = [
        int.from_bytes(memory[start + n * size : start + (n + 1) * size], "little")
        for start, count in zip(addresses, counts, strict=True)
        for n in range(count)
    ]
    got, bursts, freed = [], [], [0]

    async def queue(ctx):
        for number, (address, count) in enumerate(zip(addresses, counts, strict=True)):
            ctx.set(
                dut.i.payload,
                transfer(params, Opcode.LOAD_WEIGHTS, item_bytes=size, address=address, count=count, index=number),
            )
            ctx.set(dut.i.valid, 1)
            # Busy with it from the cycle on in which it is offered: the watchdog may name it.
            assert ctx.get(dut.progress.busy) and ctx.get(dut.progress.index) == number, f"seed {seed}"
            await until(ctx, dut.i.ready)
            ctx.set(dut.i.valid, 0)
            assert ctx.get(dut.progress.busy) and ctx.get(dut.progress.index) == number, f"seed {seed}"
            await until(ctx, dut.progress.complete)
        await ticks(ctx, 30)
        assert not ctx.get(dut.progress.busy)

    async def ring(ctx):
        """Take what comes; free some of it now and then, and once some that has not come yet."""
        rng = random.Random(seed + 1)
        ctx.set(dut.entry.ready, 1)
        while True:
            # Entries of a conditional path that nobody wants are freed early: less than a ring of them.
            limit = len(got) + (40 if gap_free else 0)
            amount = 0
            if rng.random() >= gap_free * 0.99 and freed[0] < limit:
                amount = min(rng.randint(1, 64), limit - freed[0])
            ctx.set(dut.free, amount)
            _, _, valid, payload = await ctx.tick().sample(dut.entry.valid, dut.entry.payload)
            freed[0] += amount
            if valid:
                got.append(payload)

    async def room(ctx):
        while True:
            await ctx.tick()
            asked = sum(length for _, length in bursts) * params.axi_bytes
            assert asked <= (params.ring_entries + freed[0]) * size, f"seed {seed}"

    simulate(
        dut,
        queue,
        background=[
            ring,
            room,
            monitor(dut.burst, seed),
            *reader(dut.burst, dut.data, memory, params, gap=gap_in, seed=seed, log=bursts),
        ],
        max_cycles=100_000,
        what=f"(seed {seed})",
    )
    assert got == expected, f"seed {seed}"


def test_a_beat_a_cycle(seed):
    params = HwParams()
    dut = WeightUnit(params)
    memory = random.Random(seed).randbytes(1 << 16)
    cycles = [0]

    async def bench(ctx):
        ctx.set(dut.i.payload, transfer(params, Opcode.LOAD_WEIGHTS, item_bytes=128, count=100))
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.entry.ready, 1)
        await until(ctx, dut.i.ready)
        ctx.set(dut.i.valid, 0)
        while not ctx.get(dut.progress.complete):
            cycles[0] += 1
            await ctx.tick()

    simulate(dut, bench, background=reader(dut.burst, dut.data, memory, params, latency=5, seed=seed))
    assert cycles[0] <= 1600 + 40, "1,600 beats of 8 bytes"
