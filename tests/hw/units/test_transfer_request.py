"""The life of a transfer's instruction: tokens, bursts, end; cycle by cycle and with gaps."""

import random

import pytest

from hw.interface.instructions import Opcode, Tokens
from hw.units.transfer_request import TransferRequest
from tests.hw.bus_model import check_burst, transfer
from tests.hw.helpers import GAPS, SMALL, monitor, simulate, ticks, until


def instruction(index, beats, address):
    return transfer(
        SMALL,
        Opcode.LOAD_MAP,
        item_bytes=SMALL.axi_bytes,
        address=address,
        count=beats,
        take=["store"],
        give=["compute"],
        index=index,
    )


@pytest.mark.parametrize("gap_in, gap_out", GAPS)
def test_instructions_one_after_the_other(gap_in, gap_out, seed):
    rng = random.Random(seed)
    dut = TransferRequest(SMALL)
    given = [(SMALL.axi_bytes * rng.randrange(2000), beats) for beats in (1, 2, 63, 64, 65, rng.randint(100, 400))]
    asked = []

    async def queue(ctx):
        for number, (address, beats) in enumerate(given):
            where = f"instruction {number} (seed {seed})"
            first = len(asked)
            ctx.set(dut.i.payload, instruction(number, beats, address))
            ctx.set(dut.i.valid, 1)
            while rng.random() < gap_in:
                assert ctx.get(dut.idle) and ctx.get(dut.progress.busy) and not ctx.get(dut.tokens.take), where
                assert ctx.get(dut.progress.index) == number and not ctx.get(dut.i.ready), where
                await ctx.tick()
            assert ctx.get(dut.tokens.want) == Tokens.const({"store": 1}), where
            ctx.set(dut.tokens.ready, 1)
            assert not ctx.get(dut.tokens.take) and not ctx.get(dut.i.ready), where
            await ctx.tick()
            assert ctx.get(dut.tokens.take) and ctx.get(dut.i.ready), where
            await ctx.tick()
            ctx.set(dut.i.payload, instruction(99, 1, 0))  # the next one waits behind it
            ctx.set(dut.tokens.ready, 0)
            assert not ctx.get(dut.idle) and ctx.get(dut.progress.index) == number, where
            await until(ctx, dut.asked)
            while sum(length for _, length in asked[first:]) < beats:
                assert ctx.get(dut.running) and not ctx.get(dut.progress.complete), where
                assert ctx.get(dut.progress.index) == number and ctx.get(dut.instruction.index) == number, where
                await ctx.tick()
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.end, 1)
            assert ctx.get(dut.progress.complete), where
            assert ctx.get(dut.tokens.give) == Tokens.const({"compute": 1}), where
            await ctx.tick()
            ctx.set(dut.end, 0)
            assert ctx.get(dut.idle) and not ctx.get(dut.progress.busy), where
            await ticks(ctx, rng.randrange(3))

    async def bus(ctx):
        gaps = random.Random(seed + 1)
        while True:
            ctx.set(dut.burst.ready, gaps.random() >= gap_out)
            _, _, valid, ready, burst = await ctx.tick().sample(dut.burst.valid, dut.burst.ready, dut.burst.payload)
            if valid and ready:
                check_burst(burst, SMALL, seed)
                asked.append((int(burst.address), int(burst.length)))

    simulate(dut, queue, background=[bus, monitor(dut.burst, seed)], what=f"(seed {seed})")
    expected = [address + SMALL.axi_bytes * n for address, beats in given for n in range(beats)]
    assert [address + SMALL.axi_bytes * n for address, beats in asked for n in range(beats)] == expected


def test_cycles():
    """Taken in the cycle after its tokens came, asked for in the next, the first burst two cycles later; and so on."""
    dut = TransferRequest(SMALL)

    async def bench(ctx):
        ctx.set(dut.i.payload, instruction(5, 2, 0x100))
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.tokens.ready, 1)
        ctx.set(dut.burst.ready, 1)
        for _ in range(2):
            assert ctx.get(dut.idle) and not ctx.get(dut.i.ready) and not ctx.get(dut.tokens.take)
            await ctx.tick()
            assert ctx.get(dut.idle) and ctx.get(dut.i.ready) and ctx.get(dut.tokens.take)
            await ctx.tick()
            assert ctx.get(dut.asked) and not ctx.get(dut.burst.valid)
            await ctx.tick()
            assert ctx.get(dut.running) and not ctx.get(dut.burst.valid)
            await ctx.tick()
            assert ctx.get(dut.burst.valid)
            ctx.set(dut.end, 1)
            await ctx.tick()
            ctx.set(dut.end, 0)

    simulate(dut, bench)
