"""Writes over the bus: contents, strobes, responses, rate, errors, drain, and the rules of AXI."""

import random

import pytest

from hw.bus.axi_writer import AxiWriter
from hw.interface.axi import MAX_BURST
from hw.params import HwParams
from tests.hw.axi_model import OUTSTANDING, WriteMemory
from tests.hw.helpers import simulate, source, ticks

PARAMS = {bits: HwParams(in_par=4, rq_lanes=1, axi_bits=bits) for bits in (32, 64, 128)}


def random_bursts(count, params, rng, longest=MAX_BURST):
    """Return bursts as dicts, each in a page of its own."""
    bursts = []
    for n in range(count):
        length = rng.choice([1, 2, rng.randint(1, longest), longest])
        address = 4096 * n + params.axi_bytes * rng.randint(0, 4096 // params.axi_bytes - length)
        bursts.append({"address": address, "length": length, "last": rng.randint(0, 1)})
    return bursts


def random_beats(bursts, params, rng):
    """Return the beats of the bursts as dicts; strobes of every kind."""
    size = params.axi_bytes
    return [
        {"data": rng.getrandbits(8 * size), "strobe": rng.choice([(1 << size) - 1, 0, rng.getrandbits(size)])}
        for burst in bursts
        for _ in range(burst["length"])
    ]


def bytes_of(bursts, beats, params):
    """Return what memory holds after `beats` were written, by address; there may be fewer than the bursts have."""
    written, beats = {}, iter(beats)
    for burst in bursts:
        for n in range(burst["length"]):
            beat = next(beats, {"data": 0, "strobe": 0})
            for byte in range(params.axi_bytes):
                if beat["strobe"] >> byte & 1:
                    written[burst["address"] + n * params.axi_bytes + byte] = beat["data"] >> 8 * byte & 0xFF
    return written


class Bench:
    """A writer with a memory behind it, whose strobes are noted."""

    def __init__(self, params=PARAMS[64], *, seed=0, **memory):
        self.dut = AxiWriter(params)
        self.params, self.seed = params, seed
        self.memory = WriteMemory(self.dut.axi, params, seed=seed, **memory)
        self.responses = []  # 0, 2 or 3, as they were told
        self.taken = 0  # beats, by the strobe
        self.handshakes = 0  # beats, by the stream

    async def _strobes(self, ctx):
        dut = self.dut
        async for _, _, response, error, decode, beat, valid, ready in ctx.tick().sample(
            dut.responses, dut.error, dut.error_decode, dut.beat, dut.data.valid, dut.data.ready
        ):
            assert response or not error, f"an error without a response (seed {self.seed})"
            if response:
                self.responses.append(2 + decode if error else 0)
            self.taken += beat
            self.handshakes += valid and ready
            assert self.taken <= self.handshakes, f"seed {self.seed}"

    def run(self, *processes, max_cycles=40_000):
        """Simulate until the processes end."""
        simulate(
            self.dut,
            *processes,
            background=[*self.memory.processes(self.dut.drain), self._strobes],
            max_cycles=max_cycles,
            what=f"(seed {self.seed})",
        )

    async def until_idle(self, ctx):
        """Wait for the writer to come to rest, then make sure that it is: nothing is on the bus."""
        await ctx.tick()
        while not ctx.get(self.dut.idle):
            await ctx.tick()
        await ctx.tick()  # the memory notes a transfer after the edge
        assert self.memory.under_way == 0, f"idle with bursts under way (seed {self.seed})"
        for _ in range(10):
            assert not (ctx.get(self.dut.axi.awvalid) or ctx.get(self.dut.axi.wvalid)), f"seed {self.seed}"
            await ctx.tick()
            assert ctx.get(self.dut.idle), f"seed {self.seed}"

    def write(self, bursts, beats, gaps=(0.0, 0.0)):
        """Write bursts, compare the memory."""

        async def finish(ctx):
            while len(self.responses) < len(bursts):
                await ctx.tick()
            await self.until_idle(ctx)

        self.run(
            source(self.dut.burst, bursts, gaps[0], self.seed * 2),
            source(self.dut.data, beats, gaps[1], self.seed * 2 + 1),
            finish,
        )
        assert self.memory.bursts == [(burst["address"], burst["length"]) for burst in bursts], f"seed {self.seed}"
        assert self.memory.contents() == bytes_of(bursts, beats, self.params), f"seed {self.seed}"
        assert len(self.responses) == len(bursts), f"seed {self.seed}"
        assert self.taken == len(beats), f"seed {self.seed}"


@pytest.mark.parametrize("order", ["any", "address", "data"])
@pytest.mark.parametrize("gap, latency, shy", [(0.0, 1, False), (0.0, 40, True), (0.5, 7, False), (0.5, 20, True)])
def test_random(gap, latency, shy, order, seed, rng):
    bench = Bench(PARAMS[rng.choice([32, 64, 128])], seed=seed, gap=gap, latency=latency, shy=shy, order=order)
    bursts = random_bursts(16, bench.params, rng, rng.choice([3, 20, MAX_BURST]))
    bench.write(bursts, random_beats(bursts, bench.params, rng), rng.choice([(0.0, 0.0), (0.8, 0.0), (0.0, 0.5)]))
    assert not any(bench.responses), f"seed {seed}"


@pytest.mark.parametrize("bits", PARAMS)
def test_corners(bits, rng):
    """Bursts of one beat and of the most, at the first and the last address, right before and after a page."""
    params = PARAMS[bits]
    size = params.axi_bytes
    top = 1 << 32
    bursts = [
        {"address": address, "length": length, "last": 0}
        for address, length in (
            (0, MAX_BURST),
            (4096 - size, 1),
            (4096, 1),
            (3 * 4096 - MAX_BURST * size, MAX_BURST),
            (top - 4096, MAX_BURST),
            (top - size, 1),
            (0, 1),
        )
    ]
    Bench(params, latency=3).write(bursts, random_beats(bursts, params, rng))


@pytest.mark.parametrize("length", [8, MAX_BURST])
def test_beat_a_cycle_over_a_slow_memory(length, seed, rng):
    """With 40 cycles to a response, no cycle is lost between the first beat and the last."""
    bench = Bench(latency=40, seed=seed)
    bursts = [{"address": 512 * n, "length": length, "last": 0} for n in range(512 // length)]
    bench.write(bursts, random_beats(bursts, bench.params, rng))
    assert len(bench.memory.times) == 512
    assert bench.memory.times[-1] - bench.memory.times[0] == 511, f"seed {seed}"


def test_latency(seed):
    """The address is up one cycle after the burst was taken, the first beat three cycles after the burst."""
    bench = Bench(latency=10, seed=seed)
    dut = bench.dut
    cycles = {}

    async def watch(ctx):
        cycle = 0
        async for _, _, *values in ctx.tick().sample(
            dut.burst.valid & dut.burst.ready, dut.axi.awvalid, dut.beat, dut.axi.wvalid, dut.axi.bvalid, dut.responses
        ):
            names = ("taken", "address", "beat", "sent", "answered", "told")
            for name, value in zip(names, values, strict=True):
                if value:
                    cycles.setdefault(name, cycle)
            cycle += 1

    async def finish(ctx):
        ctx.set(dut.data.valid, 1)
        ctx.set(dut.burst.payload, {"address": 0, "length": 1, "last": 1})
        ctx.set(dut.burst.valid, 1)
        await ticks(ctx, 2)
        ctx.set(dut.burst.valid, 0)
        await ticks(ctx, 30)

    simulate(dut, finish, background=[watch, *bench.memory.processes(dut.drain)])
    assert cycles == {"taken": 1, "address": 2, "beat": 4, "sent": 4, "answered": 14, "told": 15}


def test_as_many_bursts_as_allowed(seed, rng):
    """A memory that does not answer gets eight bursts; then it answers, and the others follow."""
    bench = Bench(latency=1, seed=seed)
    bench.memory.open = False
    bursts = random_bursts(20, bench.params, rng, 4)
    beats = random_beats(bursts, bench.params, rng)

    async def answer(ctx):
        await ticks(ctx, 100)
        assert len(bench.memory.bursts) == OUTSTANDING, f"seed {seed}"
        assert len(bench.memory.beats) == sum(burst["length"] for burst in bursts[:OUTSTANDING])
        assert not (ctx.get(bench.dut.axi.awvalid) or ctx.get(bench.dut.axi.wvalid))
        assert not ctx.get(bench.dut.idle)
        bench.memory.open = True
        while len(bench.responses) < len(bursts):
            await ctx.tick()
        await bench.until_idle(ctx)

    bench.run(source(bench.dut.burst, bursts), source(bench.dut.data, beats), answer)
    assert bench.memory.most == OUTSTANDING
    assert bench.memory.contents() == bytes_of(bursts, beats, bench.params), f"seed {seed}"


def test_address_does_not_wait_for_data(seed):
    """Addresses are put up as long as they are taken, before there is a beat; no beat is made up."""
    bench = Bench(latency=1, seed=seed)

    async def bench_process(ctx):
        await source(bench.dut.burst, random_bursts(3, bench.params, random.Random(seed), 4))(ctx)
        await ticks(ctx, 20)
        assert len(bench.memory.bursts) == 3
        assert bench.memory.beats == []
        assert not ctx.get(bench.dut.axi.wvalid)

    bench.run(bench_process)


@pytest.mark.parametrize("gap", [0.0, 0.4])
def test_errors(gap, seed, rng):
    """Each response that is an error is told, and which; EXOKAY is none."""
    params = PARAMS[64]
    bursts = random_bursts(40, params, rng, 5)
    broken = {burst["address"]: rng.choice([1, 2, 3]) for burst in bursts if rng.random() < 0.5}
    bench = Bench(params, latency=4, gap=gap, seed=seed, broken=broken)
    bench.write(bursts, random_beats(bursts, params, rng))
    answers = [broken.get(burst["address"], 0) for burst in bursts]
    assert bench.responses == [answer if answer >= 2 else 0 for answer in answers], f"seed {seed}"
    assert {1, 2, 3} <= set(answers), "all were tried"


@pytest.mark.parametrize("gap, order", [(0.0, "any"), (0.0, "data"), (0.5, "any"), (0.5, "address")])
@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 5, 17, 45, 46, 100])
def test_drain(start, gap, order, seed, rng):
    """No burst is taken; those begun end with beats that write nothing, though none are given; then all goes on."""
    bench = Bench(latency=12, gap=gap, order=order, seed=seed)
    dut, memory = bench.dut, bench.memory
    bursts = random_bursts(60, bench.params, rng, 20)
    beats = [{"data": rng.getrandbits(64), "strobe": 255} for _ in range(1200)]
    more = random_bursts(3, bench.params, rng, 6)
    values = random_beats(more, bench.params, rng)
    stop, again = [False], [False]

    async def offer(ctx, port, items, gap, later):
        """A source that the drain interrupts, as the reset of a unit does; it has other things to offer later."""
        rng = random.Random(seed + 9)
        items = iter(items)
        while not stop[0]:
            if rng.random() >= gap:
                ctx.set(port.payload, next(items))
                ctx.set(port.valid, 1)
                ready = False
                while not (ready or stop[0]):
                    _, _, ready = await ctx.tick().sample(port.ready)
                ctx.set(port.valid, 0)
            else:
                await ctx.tick()
        while not again[0]:
            await ctx.tick()
        await source(port, later)(ctx)

    async def offer_bursts(ctx):
        await offer(ctx, dut.burst, bursts, 0.0, more)

    async def offer_beats(ctx):
        await offer(ctx, dut.data, beats, 0.3, values)

    async def bench_process(ctx):
        await ticks(ctx, start)
        ctx.set(dut.drain, 1)
        await ctx.tick()  # a burst that was chosen in the cycle before is taken, and a beat
        # Beats that were on offer may stay so for a while, which must not matter.
        for _ in range(rng.randint(0, 5)):
            await ctx.tick()
            assert not ctx.get(dut.burst.ready) and not ctx.get(dut.data.ready), f"seed {seed}"
        stop[0] = True
        limit = (OUTSTANDING * 20 + 60) * (4 if gap else 1)
        for _ in range(limit):
            if ctx.get(dut.idle):
                break
            await ctx.tick()
        assert ctx.get(dut.idle), f"no rest after {limit} cycles (seed {seed})"
        for _ in range(20):
            assert ctx.get(dut.idle) and not (ctx.get(dut.axi.awvalid) or ctx.get(dut.axi.wvalid)), f"seed {seed}"
            await ctx.tick()
        # What is told is what was written; beats that were taken and still waiting are lost.
        sent = sum(strobe != 0 for _, strobe, _ in memory.beats)
        assert bench.taken == sent and bench.handshakes - AxiWriter.DEPTH <= sent <= bench.handshakes, f"seed {seed}"
        assert memory.under_way == 0, f"seed {seed}"
        assert memory.contents() == bytes_of(bursts, beats[:sent], bench.params), f"seed {seed}"
        assert len(bench.responses) == len(memory.bursts), f"seed {seed}"
        assert all(strobe == 0 for _, strobe, _ in memory.beats[sent:]), f"seed {seed}"
        # What follows is as if nothing had been before.
        ctx.set(dut.drain, 0)
        again[0] = True
        count = len(memory.bursts)
        while len(bench.responses) < count + len(more):
            await ctx.tick()
        await bench.until_idle(ctx)
        done = len(memory.beats) - len(values)
        assert memory.bursts[count:] == [(burst["address"], burst["length"]) for burst in more], f"seed {seed}"
        assert [(data, strobe) for data, strobe, _ in memory.beats[done:]] == [
            (beat["data"], beat["strobe"]) for beat in values
        ], f"seed {seed}"
        memory.contents()

    bench.run(bench_process, offer_bursts, offer_beats)
