"""Reads of several clients over one bus: contents, order, turns, rate, errors, drain, and the rules of AXI."""

import random

import pytest

from hw.bus.axi_reader import AxiReader
from hw.interface.axi import MAX_BURST
from hw.params import HwParams
from tests.hw.axi_model import OUTSTANDING, ReadMemory
from tests.hw.helpers import monitor, simulate, source, ticks

PARAMS = {bits: HwParams(in_par=4, rq_lanes=1, axi_bits=bits) for bits in (32, 64, 128)}

#: Part of the address space that a client of these tests reads: shows whose a burst is.
SPAN = 1 << 24


def random_bursts(client, count, params, rng, longest=MAX_BURST):
    """Return bursts of a client as dicts, none of which crosses a page."""
    bursts = []
    for _ in range(count):
        length = rng.choice([1, 2, rng.randint(1, longest), longest])
        slots = 4096 // params.axi_bytes
        address = SPAN * client + 4096 * rng.randrange(SPAN // 4096) + params.axi_bytes * rng.randint(0, slots - length)
        bursts.append({"address": address, "length": length, "last": int(rng.random() < 0.5)})
    return bursts


class Bench:
    """A reader with a memory behind it and clients before it, whose beats, errors and strobes are noted."""

    def __init__(self, clients, params=PARAMS[64], *, client_gap=0.0, seed=0, **memory):
        self.dut = AxiReader(params, clients)
        self.params, self.seed, self.client_gap = params, seed, client_gap
        self.memory = ReadMemory(self.dut.axi, params, seed=seed, **memory)
        self.got = [[] for _ in range(clients)]
        self.strobes = [0] * clients
        self.errors = []
        self.times = []  # cycles in which a client took a beat
        self.willing = [True] * clients
        self.watchers = []  # more background processes

    def expected(self, bursts):
        """Return the beats of one client's bursts as (data, last)."""
        size = self.params.axi_bytes
        return [
            (self.memory.value_at(burst["address"] + n * size), int(burst["last"] and n == burst["length"] - 1))
            for burst in bursts
            for n in range(burst["length"])
        ]

    def _client(self, number):
        port = self.dut.data[number]

        async def process(ctx):
            rng = random.Random(self.seed * 8 + number)
            while True:
                ctx.set(port.ready, self.willing[number] and rng.random() >= self.client_gap)
                _, _, valid, ready, payload = await ctx.tick().sample(port.valid, port.ready, port.payload)
                if valid and ready:
                    self.got[number].append((int(payload.data), int(payload.last)))
                    self.times.append(self.memory.cycle)

        return process

    async def _strobes(self, ctx):
        dut = self.dut
        async for _, _, error, decode, last, client, *beats in ctx.tick().sample(
            dut.error, dut.error_decode, dut.error_last, dut.error_client, *dut.beats
        ):
            self.strobes = [total + strobe for total, strobe in zip(self.strobes, beats, strict=True)]
            assert sum(beats) <= 1, f"beats of two clients in one cycle (seed {self.seed})"
            if error:
                self.errors.append((int(client), "last" if last else "decode" if decode else "slave"))

    def run(self, *processes, watch_data=True, max_cycles=40_000):
        """Simulate until the processes end."""
        background = self.memory.processes(self.dut.drain) + [self._strobes, *self.watchers]
        for number in range(len(self.got)):
            background.append(self._client(number))
            if watch_data:  # in drain, what is on offer is withdrawn
                background.append(monitor(self.dut.data[number], self.seed))
        simulate(self.dut, *processes, background=background, max_cycles=max_cycles, what=f"(seed {self.seed})")

    async def until_idle(self, ctx):
        """Wait for the reader to come to rest, then make sure that it is: nothing is on the bus."""
        await ctx.tick()
        while not ctx.get(self.dut.idle):
            await ctx.tick()
        assert self.memory.under_way == 0, f"idle with bursts under way (seed {self.seed})"
        for _ in range(10):
            await ctx.tick()
            assert ctx.get(self.dut.idle), f"seed {self.seed}"

    def read(self, work, gap=0.0):
        """Have each client read its bursts, compare the beats."""

        async def finish(ctx):
            await ticks(ctx, 1)
            total = sum(burst["length"] for bursts in work for burst in bursts)
            while sum(map(len, self.got)) < total:
                await ctx.tick()
            await self.until_idle(ctx)

        self.run(
            *(
                source(port, bursts, gap, self.seed * 4 + n)
                for n, (port, bursts) in enumerate(zip(self.dut.bursts, work, strict=True))
            ),
            finish,
        )
        for client, bursts in enumerate(work):
            assert self.got[client] == self.expected(bursts), f"client {client} (seed {self.seed})"
            assert self.strobes[client] == len(self.got[client]), f"seed {self.seed}"
            asked = [burst for burst in self.memory.bursts if burst[0] // SPAN == client]
            assert asked == [(burst["address"], burst["length"]) for burst in bursts], f"seed {self.seed}"


@pytest.mark.parametrize("client_gap", [0.0, 0.5])
@pytest.mark.parametrize("gap, latency, shy", [(0.0, 1, False), (0.0, 40, True), (0.5, 7, False), (0.5, 20, True)])
@pytest.mark.parametrize("clients", [1, 3])
def test_random(clients, gap, latency, shy, client_gap, seed, rng):
    bench = Bench(
        clients, PARAMS[rng.choice([32, 64, 128])], client_gap=client_gap, seed=seed, gap=gap, latency=latency, shy=shy
    )
    bench.read(
        [random_bursts(n, 16, bench.params, rng, rng.choice([3, 20, MAX_BURST])) for n in range(clients)],
        rng.choice([0.0, 0.8]),
    )
    assert bench.errors == [], f"seed {seed}"


@pytest.mark.parametrize("bits", PARAMS)
def test_corners(bits):
    """Bursts of one beat and of the most, at the first and the last address, right before and after a page."""
    params = PARAMS[bits]
    size = params.axi_bytes
    edge = SPAN - MAX_BURST * size
    bursts = [
        {"address": address, "length": length, "last": last}
        for last in (0, 1)
        for address, length in (
            (0, 1),
            (0, MAX_BURST),
            (4096 - size, 1),
            (4096, 1),
            (4096 - MAX_BURST * size, MAX_BURST),
            (edge, MAX_BURST),
            (SPAN - size, 1),
        )
    ]
    Bench(1, params, latency=3).read([bursts])


@pytest.mark.parametrize("length", [8, MAX_BURST])
@pytest.mark.parametrize("clients", [1, 3])
def test_beat_a_cycle_over_a_slow_memory(clients, length, seed):
    """With 40 cycles to the first beat, no cycle is lost between the first and the last."""
    bench = Bench(clients, latency=40, seed=seed)
    count = 24 * 8 // length
    bench.read(
        [[{"address": SPAN * n + 512 * k, "length": length, "last": 0} for k in range(count)] for n in range(clients)]
    )
    beats = clients * count * length
    assert len(bench.times) == beats
    assert bench.times[-1] - bench.times[0] == beats - 1, f"seed {seed}"


def test_latency(seed):
    """A burst is taken one cycle after it was chosen, its address up one later, a beat on offer three after it came."""
    bench = Bench(1, latency=10, seed=seed)
    cycles = {}

    async def watch(ctx):
        cycle = 0
        dut = bench.dut
        async for _, _, *values in ctx.tick().sample(
            dut.bursts[0].valid & dut.bursts[0].ready, dut.axi.arvalid, dut.axi.rvalid, dut.data[0].valid, dut.idle
        ):
            for name, value in zip(("taken", "address", "came", "offered", "idle"), values, strict=True):
                if value and (name != "idle" or "offered" in cycles):
                    cycles.setdefault(name, cycle)
            cycle += 1

    async def finish(ctx):
        ctx.set(bench.dut.bursts[0].payload, {"address": 0, "length": 1, "last": 1})
        ctx.set(bench.dut.bursts[0].valid, 1)
        await ticks(ctx, 2)
        ctx.set(bench.dut.bursts[0].valid, 0)
        await ticks(ctx, 30)

    simulate(bench.dut, finish, background=[watch, bench._client(0), *bench.memory.processes(bench.dut.drain)])
    assert cycles == {"taken": 1, "address": 2, "came": 12, "offered": 15, "idle": 15}


def test_burst_every_third_cycle(seed):
    """While the bus takes each address at once."""
    bench = Bench(1, latency=30, seed=seed)
    taken = []

    async def watch(ctx):
        async for _, _, valid, ready in ctx.tick().sample(bench.dut.bursts[0].valid, bench.dut.bursts[0].ready):
            if valid and ready:
                taken.append(bench.memory.cycle)

    bench.watchers.append(watch)
    bench.read([[{"address": 64 * n, "length": 1, "last": 1} for n in range(6)]])
    assert taken == list(range(taken[0], taken[0] + 18, 3)), f"seed {seed}"


def test_turns(seed):
    """While all have bursts, each has every third; one alone has all."""
    bench = Bench(3, latency=5, seed=seed)
    bench.read(
        [
            [{"address": SPAN * n + 64 * k, "length": 2, "last": 1} for k in range(count)]
            for n, count in enumerate((10, 20, 10))
        ]
    )
    order = [address // SPAN for address, _ in bench.memory.bursts]
    assert order[:30] == [(order[0] + n) % 3 for n in range(30)]
    assert order[30:] == [1] * 10


def test_nobody_waits_longer_than_a_round(seed):
    """A burst on offer is overtaken by at most one of each other client."""
    bench = Bench(3, latency=3, gap=0.3, seed=seed)
    overtaken = [0] * 3

    async def watch(ctx):
        ports = bench.dut.bursts
        async for _, _, *values in ctx.tick().sample(*(port.valid for port in ports), *(port.ready for port in ports)):
            for n, (valid, ready) in enumerate(zip(values[:3], values[3:], strict=True)):
                others = sum(v and r for m, (v, r) in enumerate(zip(values[:3], values[3:], strict=True)) if m != n)
                overtaken[n] = overtaken[n] + others if valid and not ready else 0
                assert overtaken[n] <= 2, f"client {n} (seed {seed})"

    rng = random.Random(seed)
    work = [random_bursts(n, 30, bench.params, rng, 4) for n in range(3)]
    bench.watchers.append(watch)
    bench.read(work, 0.7)


def test_as_many_bursts_as_allowed(seed):
    """A memory that does not answer gets eight addresses; then it answers, and all come."""
    bench = Bench(2, latency=1, seed=seed)
    bench.memory.open = False
    work = [random_bursts(n, 12, bench.params, random.Random(seed), 4) for n in range(2)]

    async def answer(ctx):
        await ticks(ctx, 100)
        assert len(bench.memory.bursts) == OUTSTANDING, f"seed {seed}"
        assert not ctx.get(bench.dut.axi.arvalid)
        assert not ctx.get(bench.dut.idle)
        bench.memory.open = True
        while sum(map(len, bench.got)) < sum(burst["length"] for bursts in work for burst in bursts):
            await ctx.tick()
        await bench.until_idle(ctx)

    bench.run(*(source(port, bursts) for port, bursts in zip(bench.dut.bursts, work, strict=True)), answer)
    assert bench.memory.most == OUTSTANDING
    assert bench.got == [bench.expected(bursts) for bursts in work], f"seed {seed}"


@pytest.mark.parametrize("gap", [0.0, 0.4])
def test_errors(gap, seed):
    """Each beat with an error is told: whose it was and which; EXOKAY is none. The data are handed on, and none is
    shifted by an RLAST that comes too early or not at all."""
    rng = random.Random(seed)
    params = PARAMS[64]
    work = [random_bursts(n, 12, params, rng, 8) for n in range(3)]
    broken, flipped = {}, set()
    for bursts in work:
        for burst in bursts:
            for address in range(burst["address"], burst["address"] + 8 * burst["length"], 8):
                if rng.random() < 0.3:
                    broken[address] = rng.choice([1, 2, 3])
                flipped |= {address} if rng.random() < 0.2 else set()
    bench = Bench(3, params, latency=4, gap=gap, client_gap=gap, seed=seed, broken=broken, flipped=flipped)
    bench.read(work)
    expected = [
        (address // SPAN, {2: "slave", 3: "decode"}.get(broken.get(address + 8 * n), "last"))
        for address, length in bench.memory.bursts
        for n in range(length)
        if broken.get(address + 8 * n, 0) >= 2 or address + 8 * n in flipped
    ]
    assert bench.errors == expected, f"seed {seed}"
    assert {kind for _, kind in expected} == {"slave", "decode", "last"}, "all kinds were tried"


@pytest.mark.parametrize("gap", [0.0, 0.4])
def test_drain_with_wrong_last(gap, seed):
    """In drain, too, bursts are counted: it ends when all beats have come, neither before nor never."""
    bench = Bench(2, latency=12, gap=gap, seed=seed, flipped=range(0, 2 * SPAN, 8))

    async def offer(ctx):
        for n, port in enumerate(bench.dut.bursts):
            ctx.set(port.payload, {"address": SPAN * n, "length": 5, "last": 1})
            ctx.set(port.valid, 1)
        await ticks(ctx, 8)
        for port in bench.dut.bursts:
            ctx.set(port.valid, 0)
        ctx.set(bench.dut.drain, 1)
        await bench.until_idle(ctx)

    bench.run(offer, watch_data=False)
    assert len(bench.memory.bursts) > 2, f"seed {seed}"


def test_beats_that_nobody_asked_for(seed):
    """They reach no client, and nothing that is asked for later."""
    bench = Bench(2, seed=seed)
    bench.memory.due, bench.memory.under_way = [(0, 64 * n, 1) for n in range(3)], 3
    work = [random_bursts(n, 4, bench.params, random.Random(seed), 4) for n in range(2)]

    async def finish(ctx):
        await ticks(ctx, 30)
        assert bench.memory.under_way == 0 and bench.got == [[], []] and bench.strobes == [0, 0]
        for port, bursts in zip(bench.dut.bursts, work, strict=True):
            await source(port, bursts)(ctx)
        await bench.until_idle(ctx)
        await ticks(ctx, 10)

    bench.run(finish)
    assert bench.got == [bench.expected(bursts) for bursts in work] and bench.errors == [], f"seed {seed}"


@pytest.mark.parametrize("gap", [0.0, 0.5])
@pytest.mark.parametrize("start", [0, 1, 2, 3, 9, 17, 45, 60, 150])
def test_drain(start, gap, seed):
    """Nothing new is asked for, what comes is thrown away though no client takes it, and then all goes on."""
    rng = random.Random(seed)
    bench = Bench(3, latency=12, gap=gap, seed=seed)
    dut = bench.dut
    valid_in_drain = []

    async def offer(ctx):
        """Bursts without end, which a client withdraws when it is reset."""
        for n, port in enumerate(dut.bursts):
            ctx.set(port.payload, {"address": SPAN * n, "length": rng.randint(1, 20), "last": 1})
            ctx.set(port.valid, 1)
        await ticks(ctx, start)
        bench.willing = [False] * 3
        ctx.set(dut.drain, 1)
        await ctx.tick()
        beats = sum(length for _, length in bench.memory.bursts) + OUTSTANDING * 20
        limit = (beats + 40) * (4 if gap else 1)
        for _ in range(limit):
            valid_in_drain.extend(port for port in dut.data if ctx.get(port.valid))
            assert not any(ctx.get(port.ready) for port in dut.bursts), f"seed {seed}"
            if ctx.get(dut.idle):
                break
            await ctx.tick()
        assert ctx.get(dut.idle), f"no rest after {limit} cycles (seed {seed})"
        assert bench.memory.under_way == 0, f"seed {seed}"
        # Every beat that was read is told, whether its client had it or not.
        await ctx.tick()
        for client in range(3):
            read = sum(length for address, length in bench.memory.bursts if address // SPAN == client)
            assert bench.strobes[client] == read, f"client {client} (seed {seed})"
        for n in range(20):
            await ctx.tick()
            assert ctx.get(dut.idle) and not ctx.get(dut.axi.arvalid), f"cycle {n} of rest (seed {seed})"
        # What follows is as if nothing had been before.
        for port in dut.bursts:
            ctx.set(port.valid, 0)
        ctx.set(dut.drain, 0)
        bench.willing = [True] * 3
        bench.got, bench.strobes = [[] for _ in range(3)], [0] * 3
        bench.memory.bursts.clear()
        bursts = random_bursts(1, 6, bench.params, rng, 10)
        await source(dut.bursts[1], bursts)(ctx)
        while len(bench.got[1]) < sum(burst["length"] for burst in bursts):
            await ctx.tick()
        await bench.until_idle(ctx)
        assert bench.got == [[], bench.expected(bursts), []], f"seed {seed}"

    bench.run(offer, watch_data=False)
    assert valid_in_drain == [], f"seed {seed}"


def test_client_that_waits_holds_back_only_the_data(seed):
    """Beats are kept while a client waits, those behind come after, and none is lost."""
    bench = Bench(2, latency=2, seed=seed)
    work = [random_bursts(n, 6, bench.params, random.Random(seed + n), 12) for n in range(2)]
    bench.willing = [True, False]

    async def finish(ctx):
        await ticks(ctx, 150)
        assert bench.got[1] == []
        assert ctx.get(bench.dut.data[1].valid)
        assert not ctx.get(bench.dut.axi.rready), f"seed {seed}"
        bench.willing = [True, True]
        while sum(map(len, bench.got)) < sum(burst["length"] for bursts in work for burst in bursts):
            await ctx.tick()
        await bench.until_idle(ctx)

    bench.run(*(source(port, bursts) for port, bursts in zip(bench.dut.bursts, work, strict=True)), finish)
    assert bench.got == [bench.expected(bursts) for bursts in work], f"seed {seed}"
