"""Fetch of programs: order, units, every field, errors, a unit that is busy, and the cycles of an instruction."""

import random
from dataclasses import dataclass

import pytest

from hw.interface.instructions import (
    BODY_OFFSET,
    INSTRUCTION_BYTES,
    PASSES,
    ErrorCode,
    Header,
    LayerInstruction,
    Opcode,
    Transfer,
)
from hw.interface.layouts import GateMode, LayerRegisters
from hw.params import LANES, HwParams
from hw.units.instruction_check import InstructionCheck
from hw.units.instruction_fetch import InstructionFetch
from tests.hw.bus_model import reader
from tests.hw.helpers import GAPS, SMALL, as_dict, monitor, simulate, ticks, until, watch

PARAMS = {
    32: HwParams(in_par=4, rq_lanes=1, axi_bits=32, bank_words=256, max_slices=16),
    64: SMALL,
    128: HwParams(in_par=8, rq_lanes=2, axi_bits=128, bank_words=256, max_slices=16),
}
PORTS = {
    Opcode.LOAD_MAP: "load",
    Opcode.LOAD_PARAMETERS: "load",
    Opcode.LOAD_WEIGHTS: "weights",
    Opcode.COMPUTE: "compute",
    Opcode.STORE_MAP: "store",
    Opcode.STORE_LOGITS: "store",
    Opcode.POOL: "compute",
}
NAMES = ("load", "store", "weights", "compute")
#: Units whose tokens an instruction of a port may take and give.
OTHERS = {"load": ("compute", "store"), "store": ("load", "compute"), "compute": ("load", "store"), "weights": ()}
WINDOW = (0x10_0000, 0x20_0000)


@dataclass
class Case:
    """An instruction: its bits in memory, its port, and what that port must say."""

    word: int
    port: str
    expected: dict


def make(params, opcode, index, rng, *, layer=(), tokens=None, **fields):
    """Return an instruction that is allowed but for what `fields`, `tokens` or `layer` say; all else is random."""
    port = PORTS[opcode]
    take, give = (
        {name: int(name in OTHERS[port] and rng.random() < 0.5) for name in ("load", "compute", "store")}
        for _ in range(2)
    )
    take |= tokens or {}
    word = Header.const({"opcode": opcode.value, "take": take, "give": give}).as_value().value
    if opcode in PASSES:
        pools = opcode is Opcode.POOL
        layout = LayerRegisters(params)
        bits = rng.getrandbits(layout.size)
        bank = rng.randrange(4)
        allowed = {
            "mode": (GateMode.BASE if pools else GateMode.GATED).value,
            "ifmap_bank": bank,
            "ofmap_bank": bank ^ 1,
            "residual_bank": bank ^ 2,
            "cond_entries": rng.randint(1, 20),
            "pool": int(pools),
            **({"residual_enable": 0, "logits": 0} if pools else {}),
        }
        for name, value in (allowed | dict(layer)).items():
            field = layout[name]
            bits = bits & ~((1 << field.width) - 1 << field.offset) | value << field.offset
        return Case(word | bits << BODY_OFFSET, port, {"take": take, "give": give, "layer": bits, "index": index})
    banked = opcode in (Opcode.LOAD_MAP, Opcode.STORE_MAP, Opcode.LOAD_PARAMETERS)
    size = {
        Opcode.LOAD_PARAMETERS: 16 * params.rq_lanes,
        Opcode.LOAD_WEIGHTS: LANES * params.in_par,
        Opcode.STORE_LOGITS: 4 * params.rq_lanes,
    }.get(opcode, params.in_par)
    body = {
        "address": WINDOW[0] + params.axi_bytes * rng.randrange(1000),
        "count": rng.randint(1, 20),
        "bank_addr": rng.randrange(10) if banked else 0,
        "bank": rng.randrange(4) if banked else 0,
        **fields,
    }
    expected = {
        "opcode": opcode.value,
        "take": take,
        "give": give,
        "transfer": body,
        "beats": -(-body["count"] * size // params.axi_bytes),
        "index": index,
    }
    return Case(word | Transfer.const(body).as_value().value << BODY_OFFSET, port, expected)


def programs(params, count, rng):
    """Return a random program."""
    return [make(params, rng.choice(list(Opcode)), index, rng) for index in range(count)]


def image(cases, address, rng):
    """Return a memory with a program, and random bytes around it."""
    memory = bytearray(rng.randbytes(1 << 14))
    for n, case in enumerate(cases):
        start = address + n * INSTRUCTION_BYTES
        memory[start : start + INSTRUCTION_BYTES] = case.word.to_bytes(INSTRUCTION_BYTES, "little")
    return memory


def said(params, port, payload):
    """Return what a port says, in the form of `Case.expected`."""
    if port != "compute":
        return as_dict(payload)
    assert payload.shape() == LayerInstruction(params)
    return {
        "take": as_dict(payload.take),
        "give": as_dict(payload.give),
        "layer": payload.layer.as_value().value,
        "index": int(payload.index),
    }


class Bench:
    """A fetch with its memory and four units that take what they get."""

    def __init__(self, params, memory, *, latency=5, gap_in=0.0, gap_out=0.0, blocked=(), seed=0):
        self.params, self.seed, self.gap = params, seed, gap_out
        self.dut = dut = InstructionFetch(params)
        self.taken = []  # (port, what it said)
        self.bursts = []
        self.errors = []  # (code, index)
        self.log = []  # of every cycle
        self.blocked = set(blocked)  # ports that take nothing
        ports = {name: getattr(dut, name) for name in NAMES}
        signals = {f"{name}_valid": port.valid for name, port in ports.items()}
        signals |= {f"{name}_ready": port.ready for name, port in ports.items()}
        self.background = [
            *(self._unit(name, port) for name, port in ports.items()),
            *(monitor(port, seed) for port in (*ports.values(), dut.burst)),
            self._errors,
            *reader(dut.burst, dut.data, memory, params, latency=latency, gap=gap_in, seed=seed, log=self.bursts),
            watch(
                self.log,
                start=dut.start,
                index=dut.index,
                dispatched=dut.dispatched,
                burst_valid=dut.burst.valid,
                burst_ready=dut.burst.ready,
                data_valid=dut.data.valid,
                data_ready=dut.data.ready,
                **signals,
            ),
        ]

    def _unit(self, name, port):
        async def process(ctx):
            rng = random.Random(self.seed * 4 + NAMES.index(name))
            while True:
                ctx.set(port.ready, name not in self.blocked and rng.random() >= self.gap)
                _, _, valid, ready, payload, index = await ctx.tick().sample(
                    port.valid, port.ready, port.payload, self.dut.index
                )
                if valid and ready:
                    assert payload.index == index, f"seed {self.seed}"
                    self.taken.append((name, said(self.params, name, payload)))

        return process

    async def _errors(self, ctx):
        dut = self.dut
        async for _, _, error, code, index in ctx.tick().sample(dut.failure.valid, dut.failure.code, dut.failure.index):
            if error:
                self.errors.append((code, index))

    async def start(self, ctx, address, length):
        dut = self.dut
        ctx.set(dut.store_base, WINDOW[0])
        ctx.set(dut.store_end, WINDOW[1])
        ctx.set(dut.address, address)
        ctx.set(dut.length, length)
        ctx.set(dut.start, 1)
        assert not ctx.get(dut.dispatched), "a program that starts is not dispatched"
        await ctx.tick()
        ctx.set(dut.start, 0)
        # Both are sampled with the start.
        ctx.set(dut.address, ~address & 0xFFFF_FFC0)
        ctx.set(dut.length, 0)

    def run(self, process):
        simulate(self.dut, process, background=self.background, what=f"(seed {self.seed})")

    def passed(self, name):
        """Return the cycles in which something passed at `name`, or at any of the units."""
        names = NAMES if name == "unit" else (name,)
        return [
            cycle
            for cycle, entry in enumerate(self.log)
            if any(entry[f"{n}_valid"] and entry[f"{n}_ready"] for n in names)
        ]

    def check_cycles(self):
        """Assert that no two units are offered something at a time, and that no more is read ahead than one."""
        asked = taken = 0
        for cycle, entry in enumerate(self.log):
            text = f"cycle {cycle} (seed {self.seed})"
            assert sum(entry[f"{name}_valid"] for name in NAMES) <= 1, text
            assert not entry["data_valid"] or entry["data_ready"], f"the bus is held up in {text}"
            asked += entry["burst_valid"] and entry["burst_ready"]
            assert asked <= taken + 2, text
            taken += any(entry[f"{name}_valid"] and entry[f"{name}_ready"] for name in NAMES)


def order(cases):
    return [(case.port, case.expected) for case in cases]


def places(params, address, count):
    return [(address + n * INSTRUCTION_BYTES, INSTRUCTION_BYTES // params.axi_bytes) for n in range(count)]


@pytest.mark.parametrize("opcode", Opcode)
def test_every_opcode_goes_to_its_unit(opcode, seed):
    rng = random.Random(seed)
    cases = [make(SMALL, opcode, index, rng) for index in range(3)]
    bench = Bench(SMALL, image(cases, 0, rng), seed=seed)

    async def process(ctx):
        assert ctx.get(bench.dut.dispatched), "nothing is left before the first program"
        await ticks(ctx, 10)
        assert not ctx.get(bench.dut.burst.valid), "nothing is asked for before the start"
        await bench.start(ctx, 0, len(cases))
        await until(ctx, bench.dut.dispatched)
        await ticks(ctx, 40)

    bench.run(process)
    bench.check_cycles()
    assert bench.taken == order(cases), f"seed {seed}"
    assert bench.bursts == places(SMALL, 0, 3) and not bench.errors


@pytest.mark.parametrize("bits, gap_in, gap_out", [*((64, *gaps) for gaps in GAPS), (32, 0.5, 0.5), (128, 0.5, 0.5)])
def test_random_programs(bits, gap_in, gap_out, seed):
    """Two programs one after the other, over the end of a page: nothing but they is read, and all in order."""
    params, rng = PARAMS[bits], random.Random(seed)
    first, second = programs(params, 10, rng), programs(params, 1 + rng.randrange(4), rng)
    memory = image(first, 0x1000 - 3 * INSTRUCTION_BYTES, rng)
    place = 0x2000
    for n, case in enumerate(second):
        memory[place + 64 * n : place + 64 * (n + 1)] = case.word.to_bytes(64, "little")
    bench = Bench(params, memory, gap_in=gap_in, gap_out=gap_out, seed=seed)

    async def process(ctx):
        for cases, address in ((first, 0x1000 - 3 * INSTRUCTION_BYTES), (second, place)):
            before = len(bench.taken)
            await bench.start(ctx, address, len(cases))
            assert ctx.get(bench.dut.index) == 0 and not ctx.get(bench.dut.dispatched), f"seed {seed}"
            while not ctx.get(bench.dut.dispatched):
                assert len(bench.taken) - before < len(cases), f"seed {seed}"
                await ctx.tick()
            await ticks(ctx, rng.randrange(30))
            assert ctx.get(bench.dut.dispatched), f"seed {seed}"
            assert len(bench.taken) - before == len(cases), f"seed {seed}"

    bench.run(process)
    bench.check_cycles()
    assert bench.taken == order(first) + order(second), f"seed {seed}"
    assert bench.bursts == (
        places(params, 0x1000 - 3 * INSTRUCTION_BYTES, len(first)) + places(params, place, len(second))
    ), f"seed {seed}"
    assert not bench.errors, f"seed {seed}"


WRONG = {
    ErrorCode.OPCODE: {"opcode": Opcode.LOAD_MAP},
    ErrorCode.TOKENS: {"opcode": Opcode.STORE_MAP, "tokens": {"store": 1}},
    ErrorCode.LAYER: {"opcode": Opcode.COMPUTE, "layer": {"mode": GateMode.FORCED.value}},
    ErrorCode.ADDRESS: {"opcode": Opcode.LOAD_WEIGHTS, "address": WINDOW[0] + 1},
    ErrorCode.RANGE: {"opcode": Opcode.STORE_LOGITS, "address": WINDOW[1]},
}


@pytest.mark.parametrize("place", [0, 4, 7])
@pytest.mark.parametrize("code", WRONG)
def test_an_error_stops_and_is_told_once_with_its_index(code, place, seed):
    rng = random.Random(seed)
    cases = programs(SMALL, 8, rng)
    cases[place] = make(SMALL, index=place, rng=rng, **WRONG[code])
    if code is ErrorCode.OPCODE:
        cases[place].word &= ~0xF
    bench = Bench(SMALL, image(cases, 0x400, rng), gap_out=0.3, seed=seed)

    async def process(ctx):
        await bench.start(ctx, 0x400, len(cases))
        await until(ctx, bench.dut.failure.valid)
        await ticks(ctx, 50)
        assert not ctx.get(bench.dut.dispatched), f"seed {seed}"
        assert ctx.get(bench.dut.index) == place and ctx.get(bench.dut.reading) == place + 1, f"seed {seed}"

    bench.run(process)
    bench.check_cycles()
    assert bench.errors == [(code, place)], f"seed {seed}"
    assert bench.taken == order(cases[:place]), f"seed {seed}"
    assert bench.bursts == places(SMALL, 0x400, min(place + 2, len(cases))), f"seed {seed}"


@pytest.mark.parametrize("name", NAMES)
def test_a_busy_unit_holds_up_all_that_follow_and_not_the_bus(name, seed):
    rng = random.Random(seed)
    mine = rng.choice([opcode for opcode in Opcode if PORTS[opcode] == name])
    other = [opcode for opcode in Opcode if PORTS[opcode] != name]
    kinds = [rng.choice(other), rng.choice(other), mine, rng.choice(other), mine, rng.choice(other)]
    cases = [make(SMALL, opcode, index, rng) for index, opcode in enumerate(kinds)]
    bench = Bench(SMALL, image(cases, 0, rng), blocked=[name], seed=seed)

    async def process(ctx):
        await bench.start(ctx, 0, len(cases))
        await ticks(ctx, 120)
        assert bench.taken == order(cases[:2]), f"seed {seed}"
        assert ctx.get(getattr(bench.dut, name).valid) and ctx.get(bench.dut.index) == 2, f"seed {seed}"
        assert bench.bursts == places(SMALL, 0, 4), f"the next one is read, and no more (seed {seed})"
        assert ctx.get(bench.dut.reading) == 3, f"seed {seed}"
        bench.blocked.clear()
        await until(ctx, bench.dut.dispatched)

    bench.run(process)
    bench.check_cycles()  # among others: all beats were taken as they came
    assert bench.taken == order(cases), f"seed {seed}"


@pytest.mark.parametrize("latency", [1, 40])
@pytest.mark.parametrize("bits", PARAMS)
def test_cycles_of_an_instruction(bits, latency, seed):
    """Asked for two cycles after the start; then latency, beats and 5 cycles from each request to the next.

    If the check takes longer than that, the one at hand has to go first.
    """
    params, rng = PARAMS[bits], random.Random(seed)
    cases = programs(params, 4, rng)
    bench = Bench(params, image(cases, 0, rng), latency=latency, seed=seed)

    async def process(ctx):
        await bench.start(ctx, 0, len(cases))
        await until(ctx, bench.dut.dispatched)
        await ticks(ctx, 2)

    bench.run(process)
    beats = INSTRUCTION_BYTES // params.axi_bytes
    [start] = [n for n, entry in enumerate(bench.log) if entry["start"]]
    asked, came, handed = bench.passed("burst"), bench.passed("data"), bench.passed("unit")
    assert asked[0] == start + 2
    memory = came[0] - asked[0]
    assert latency <= memory <= latency + 2, "of the model of the memory"
    fetched = memory + beats + 5
    paces = [fetched, *[max(fetched, InstructionCheck.LATENCY + 5)] * 2]
    assert [b - a for a, b in zip(asked, asked[1:], strict=False)] == paces, f"seed {seed}"
    # From its last beat: joined, into the register, through the check, on offer.
    waits = [14, *[14 + paces[-1] - fetched] * 3]
    assert [h - c for c, h in zip(came[beats - 1 :: beats], handed, strict=True)] == waits, f"seed {seed}"
    assert [entry["index"] for entry in bench.log if entry["dispatched"]][-1] == 4
    last = handed[-1]
    assert not bench.log[last + 1]["dispatched"] and bench.log[last + 2]["dispatched"]
