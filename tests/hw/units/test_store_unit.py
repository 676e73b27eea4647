"""Stores of maps and logits: every byte in its place and no other written, odd counts, gaps everywhere."""

import random

import pytest

from hw.interface.instructions import Opcode, Tokens
from hw.interface.layouts import LogitRecord
from hw.params import HwParams
from hw.units.store_unit import StoreUnit
from tests.hw.bus_model import transfer, writer
from tests.hw.helpers import GAPS, monitor, simulate, ticks, until

PARAMS = [
    HwParams(in_par=in_par, rq_lanes=rq_lanes, axi_bits=axi_bits, bank_words=256)
    for in_par, rq_lanes, axi_bits in ((2, 1, 64), (2, 1, 128), (4, 1, 32), (8, 2, 64), (16, 4, 64))
]

#: Every combination of gaps on one of them, gaps on both sides of the others.
CASES = [
    pytest.param(params, *gaps, id=f"{params.in_par}-{params.rq_lanes}-{params.axi_bits}-{gaps[0]}-{gaps[1]}")
    for params in PARAMS
    for gaps in (GAPS if params is PARAMS[-1] else GAPS[-1:])
]


def banks(dut, words, params, gap, seed):
    """Background process in place of the activation banks: up to 8 words asked for come a few cycles later."""
    asked = []

    async def reads(ctx):
        rng = random.Random(seed + 11)
        while True:
            ctx.set(dut.read.ready, rng.random() >= gap and len(asked) < 8)
            _, _, valid, ready, place = await ctx.tick().sample(dut.read.valid, dut.read.ready, dut.read.payload)
            if valid and ready:
                asked.append(words[int(place.bank)][int(place.addr)])

    async def answers(ctx):
        rng = random.Random(seed + 12)
        while True:
            while not asked or rng.random() < gap:
                await ctx.tick()
            ctx.set(dut.word.payload, asked[0])
            ctx.set(dut.word.valid, 1)
            await until(ctx, dut.word.ready)
            ctx.set(dut.word.valid, 0)
            asked.pop(0)

    return reads, answers


@pytest.mark.parametrize("params, gap_in, gap_out", CASES)
def test_maps_and_logits(params, gap_in, gap_out, seed):
    rng = random.Random(seed)
    words = [[rng.getrandbits(params.chunk_bits) for _ in range(params.bank_words)] for _ in range(4)]
    memory = bytearray(rng.randbytes(1 << 15))
    expected = bytearray(memory)
    instructions, logits, gives = [], [], []
    place = 0
    for number, count in enumerate((1, 2, 3, 7, 64, rng.randint(1, 100))):
        place += params.axi_bytes * rng.randrange(1, 40)
        first, bank = rng.randrange(params.bank_words - count + 1), rng.randrange(4)
        instructions.append(
            transfer(
                params,
                Opcode.STORE_MAP,
                item_bytes=params.in_par,
                address=place,
                count=count,
                bank_addr=first,
                bank=bank,
                take=["compute"],
                give=["load"],
                index=number,
            )
        )
        gives.append(Tokens.const({"load": 1}))
        for n in range(count):
            expected[place : place + params.in_par] = words[bank][first + n].to_bytes(params.in_par, "little")
            place += params.in_par
        place += -place % params.axi_bytes + params.axi_bytes * rng.randrange(1, 40)
        if number % 2:
            continue
        size = 4 * params.rq_lanes
        instructions.append(
            transfer(params, Opcode.STORE_LOGITS, item_bytes=size, address=place, count=count, index=100 + number)
        )
        gives.append(Tokens.const({}))
        for _ in range(count):
            record = [rng.randrange(-(2**31), 2**31) for _ in range(params.rq_lanes)]
            logits.append(record)
            expected[place : place + size] = b"".join(value.to_bytes(4, "little", signed=True) for value in record)
            place += size
        place += -place % params.axi_bytes
    assert place < len(memory)
    dut = StoreUnit(params)
    given = []

    async def queue(ctx):
        for instruction in instructions:
            ctx.set(dut.i.payload, instruction)
            ctx.set(dut.i.valid, 1)
            await ticks(ctx, rng.randrange(4))
            assert not ctx.get(dut.tokens.take) and ctx.get(dut.tokens.want) == instruction.take
            ctx.set(dut.tokens.ready, 1)
            await until(ctx, dut.i.ready)
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.tokens.ready, 0)
            await until(ctx, dut.progress.complete)
        await ticks(ctx, 30)
        assert not ctx.get(dut.progress.busy)

    async def ends(ctx):
        async for _, _, complete, give in ctx.tick().sample(dut.progress.complete, dut.tokens.give):
            if complete:
                given.append(give)

    async def classifier(ctx):
        rng = random.Random(seed + 2)
        for record in logits:
            while rng.random() < gap_in:
                await ctx.tick()
            ctx.set(dut.logit.payload, LogitRecord(params).const({"logits": record}))
            ctx.set(dut.logit.valid, 1)
            await until(ctx, dut.logit.ready)
            ctx.set(dut.logit.valid, 0)

    simulate(
        dut,
        queue,
        background=[
            ends,
            classifier,
            *banks(dut, words, params, gap_in, seed),
            monitor(dut.burst, seed),
            monitor(dut.data, seed),
            monitor(dut.read, seed),
            *writer(dut.burst, dut.data, dut.response, memory, params, gap=gap_out, seed=seed),
        ],
        max_cycles=60_000,
        what=f"(seed {seed})",
    )
    assert given == gives, f"seed {seed}"
    assert memory == expected, f"seed {seed}"
