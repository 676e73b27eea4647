"""Loads of maps and parameters: every word in its place, odd counts, tokens, gaps everywhere."""

import random

import pytest
from amaranth.lib import data

from hw.interface.instructions import Opcode, ParameterRecord, Tokens
from hw.interface.layouts import ParameterWord
from hw.params import HwParams
from hw.units.load_unit import LoadUnit
from tests.hw.bus_model import reader, transfer
from tests.hw.helpers import GAPS, as_dict, monitor, simulate, ticks, until

#: Bank words narrower than a beat, equal, wider; the same of parameter words.
PARAMS = [
    HwParams(in_par=in_par, rq_lanes=rq_lanes, axi_bits=axi_bits, bank_words=256, max_slices=16)
    for in_par, rq_lanes, axi_bits in ((2, 1, 64), (2, 1, 128), (4, 1, 32), (8, 2, 64), (16, 4, 64))
]

#: Every combination of gaps on one of them, gaps on both sides of the others.
CASES = [
    pytest.param(params, *gaps, id=f"{params.in_par}-{params.rq_lanes}-{params.axi_bits}-{gaps[0]}-{gaps[1]}")
    for params in PARAMS
    for gaps in (GAPS if params is PARAMS[-1] else GAPS[-1:])
]


def run(params, memory, instructions, *, gap_in, gap_out, seed):
    """Execute instructions; return the words of the banks, of the parameters, and the tokens given."""
    dut = LoadUnit(params)
    words, records, given = [], [], []

    async def queue(ctx):
        rng = random.Random(seed)
        for instruction in instructions:
            ctx.set(dut.i.payload, instruction)
            ctx.set(dut.i.valid, 1)
            await ticks(ctx, rng.randrange(5))
            assert not ctx.get(dut.tokens.take), f"no token is there yet (seed {seed})"
            assert ctx.get(dut.progress.busy) and ctx.get(dut.tokens.want) == instruction.take, f"seed {seed}"
            ctx.set(dut.tokens.ready, 1)
            await until(ctx, dut.i.ready)
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.tokens.ready, 0)
            await until(ctx, dut.progress.complete)
        await ticks(ctx, 30)
        assert not ctx.get(dut.progress.busy)

    async def ends(ctx):
        async for _, _, complete, give in ctx.tick().sample(dut.progress.complete, dut.tokens.give):
            assert complete or not give.as_value().value, f"seed {seed}"
            if complete:
                given.append((give, len(words), len(records)))

    def collect(port, into, gap):
        async def process(ctx):
            rng = random.Random(seed + 3)
            while True:
                ctx.set(port.ready, rng.random() >= gap)
                _, _, valid, ready, payload = await ctx.tick().sample(port.valid, port.ready, port.payload)
                if valid and ready:
                    into.append(as_dict(payload))

        return process

    simulate(
        dut,
        queue,
        background=[
            ends,
            collect(dut.load, words, gap_out),
            collect(dut.param, records, 0.0),
            monitor(dut.load, seed),
            monitor(dut.param, seed),
            *reader(dut.burst, dut.data, memory, params, gap=gap_in, seed=seed),
        ],
        max_cycles=60_000,
        what=f"(seed {seed})",
    )
    return words, records, given


@pytest.mark.parametrize("params, gap_in, gap_out", CASES)
def test_words_and_parameters_come_where_they_belong(params, gap_in, gap_out, seed):
    rng = random.Random(seed)
    memory = rng.randbytes(1 << 16)
    instructions, words, records, given = [], [], [], []
    for number, count in enumerate((1, 2, 3, 7, 64, rng.randint(1, 100))):
        address = params.axi_bytes * rng.randrange(2000)
        first, bank = rng.randrange(params.bank_words - count + 1), rng.randrange(4)
        give = ["compute"] if number % 2 else []
        instructions.append(
            transfer(
                params,
                Opcode.LOAD_MAP,
                item_bytes=params.in_par,
                address=address,
                count=count,
                bank_addr=first,
                bank=bank,
                take=["store"],
                give=give,
                index=number,
            )
        )
        for n in range(count):
            start = address + n * params.in_par
            words.append(
                {
                    "data": int.from_bytes(memory[start : start + params.in_par], "little"),
                    "addr": first + n,
                    "bank": bank,
                }
            )
        given.append((Tokens.const(dict.fromkeys(give, 1)), len(words), len(records)))
        if number % 2:
            continue
        size = params.param_record_bytes
        count = min(count, 20)
        instructions.append(
            transfer(
                params,
                Opcode.LOAD_PARAMETERS,
                item_bytes=size,
                address=address,
                count=count,
                bank_addr=first,
                give=["compute"],
                index=100 + number,
            )
        )
        for n in range(count):
            record = data.Const(
                ParameterRecord(params), int.from_bytes(memory[address + n * size : address + (n + 1) * size], "little")
            )
            channels = [record[k] for k in range(params.rq_lanes)]
            records.append(
                as_dict(
                    ParameterWord(params).const(
                        {
                            "scales": [{"multiplier": c.multiplier, "offset": c.offset} for c in channels],
                            "thresholds": [c.threshold for c in channels],
                            "address": first + n,
                        }
                    )
                )
            )
        given.append((Tokens.const({"compute": 1}), len(words), len(records)))
    found = run(params, memory, instructions, gap_in=gap_in, gap_out=gap_out, seed=seed)
    assert found == (words, records, given), f"seed {seed}"


def test_a_beat_a_cycle(seed):
    params = HwParams(bank_words=256)
    memory = random.Random(seed).randbytes(1 << 14)
    dut = LoadUnit(params)
    cycles = [0]

    async def bench(ctx):
        ctx.set(dut.i.payload, transfer(params, Opcode.LOAD_MAP, item_bytes=16, count=256))
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.tokens.ready, 1)
        ctx.set(dut.load.ready, 1)
        await until(ctx, dut.i.ready)
        ctx.set(dut.i.valid, 0)
        while not ctx.get(dut.progress.complete):
            cycles[0] += 1
            await ctx.tick()

    simulate(dut, bench, background=reader(dut.burst, dut.data, memory, params, latency=5, seed=seed))
    assert cycles[0] <= 512 + 40, "512 beats of 8 bytes"
