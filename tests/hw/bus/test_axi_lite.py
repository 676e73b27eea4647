"""Registers behind AXI4-Lite: channels in any order, refusals, answers that are held, exact cycles."""

import pytest
from amaranth import *
from amaranth.lib import wiring

from hw.bus.axi_lite import AxiLiteSlave
from hw.interface.axi import AxiLite
from hw.interface.registers import ADDRESS_BITS
from tests.hw.axi_model import channel
from tests.hw.helpers import monitor, simulate, sink, source, ticks

#: Registers of the file below, of them the first few can be read only; the others of the address space do not exist.
COUNT, READ_ONLY = 40, 8
OKAY, SLVERR = 0, 2

FULL = 0b1111


class RegisterFile(wiring.Component):
    """The slave and registers that answer as late as they may."""

    def __init__(self):
        self.slave = AxiLiteSlave()
        super().__init__({"axi": wiring.In(AxiLite())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = slave = self.slave
        wiring.connect(m, wiring.flipped(self.axi), slave.axi)
        values = Array(Signal(32, name=f"register_{n}", init=initial(n)) for n in range(COUNT))
        m.d.comb += slave.registers.write_hit.eq(
            (slave.registers.write_addr >= READ_ONLY) & (slave.registers.write_addr < COUNT)
        )
        with m.If(slave.registers.write):
            m.d.sync += values[slave.registers.write_addr].eq(slave.registers.write_data)
        answer = Cat(slave.registers.read_addr < COUNT, values[slave.registers.read_addr])
        for n in range(slave.READ_LATENCY):
            later = Signal.like(answer, name=f"answer_{n}")
            m.d.sync += later.eq(answer)
            answer = later
        m.d.comb += Cat(slave.registers.read_hit, slave.registers.read_data).eq(answer)
        return m


def initial(number):
    """Return the value of a register after reset."""
    return 0x1234567 * (number + 1) & 0xFFFF_FFFF


class Model:
    """The same in Python."""

    def __init__(self):
        self.values = [initial(n) for n in range(COUNT)]

    def write(self, address, value, strobe):
        number, offset = divmod(address, 4)
        if offset or strobe != FULL or number not in range(READ_ONLY, COUNT):
            return SLVERR
        self.values[number] = value
        return OKAY

    def read(self, address):
        number, offset = divmod(address, 4)
        return (0, SLVERR) if offset or number >= COUNT else (self.values[number], OKAY)


def write_payloads(address, value, strobe):
    """Return the payloads of AW and of W."""
    return address, value | strobe << 32


def random_address(rng):
    """Return the address of a register, mostly; else one that is unaligned, read only or of none."""
    number = rng.choice([rng.randrange(COUNT), rng.randrange(READ_ONLY, COUNT), rng.randrange(1 << ADDRESS_BITS - 2)])
    return 4 * number + (rng.randrange(4) if rng.random() < 0.2 else 0)


def watch_writes(dut, log):
    """Background process that notes each strobe of the register port, and asserts that it hits."""

    async def process(ctx):
        slave = dut.slave
        async for _, _, write, hit, address, value in ctx.tick().sample(
            slave.registers.write, slave.registers.write_hit, slave.registers.write_addr, slave.registers.write_data
        ):
            if write:
                assert hit
                log.append((int(address), int(value)))

    return process


GAPS = [(0.0, 0.0, 0.0), (0.6, 0.0, 0.0), (0.0, 0.6, 0.0), (0.0, 0.0, 0.7), (0.5, 0.5, 0.5)]


@pytest.mark.parametrize("aw_gap, w_gap, b_gap", GAPS)
def test_writes(aw_gap, w_gap, b_gap, seed, rng):
    """AW and W run ahead of each other as they like; responses, and what is written, are in order."""
    dut = RegisterFile()
    model = Model()
    writes = [
        (random_address(rng), rng.getrandbits(32), rng.choice([FULL, FULL, rng.randrange(16)])) for _ in range(150)
    ]
    expected, done = [], []
    for address, value, strobe in writes:
        expected.append(model.write(address, value, strobe))
        if expected[-1] == OKAY:
            done.append((address // 4, value))
    got, log = [], []
    payloads = [write_payloads(*write) for write in writes]
    simulate(
        dut,
        source(channel(dut.axi, "aw"), [p for p, _ in payloads], aw_gap, seed),
        source(channel(dut.axi, "w"), [p for _, p in payloads], w_gap, seed + 1),
        sink(channel(dut.axi, "b"), got, len(writes), b_gap, seed),
        background=[monitor(channel(dut.axi, "b"), seed), watch_writes(dut, log)],
        what=f"(seed {seed})",
    )
    assert got == expected, f"seed {seed}"
    assert log == done, f"seed {seed}"
    assert {OKAY, SLVERR} == set(expected)


@pytest.mark.parametrize("ar_gap, r_gap", [(0.0, 0.0), (0.6, 0.0), (0.0, 0.7), (0.5, 0.5)])
def test_reads(ar_gap, r_gap, seed, rng):
    dut = RegisterFile()
    model = Model()
    addresses = [random_address(rng) for _ in range(150)]
    got = []
    simulate(
        dut,
        source(channel(dut.axi, "ar"), addresses, ar_gap, seed),
        sink(channel(dut.axi, "r"), got, len(addresses), r_gap, seed),
        background=[monitor(channel(dut.axi, "r"), seed)],
        what=f"(seed {seed})",
    )
    assert [(word & 0xFFFF_FFFF, word >> 32) for word in got] == [model.read(address) for address in addresses], (
        f"seed {seed}"
    )


@pytest.mark.parametrize("wait", range(5))
@pytest.mark.parametrize("write", [False, True])
def test_no_transfer_is_lost_after_reset(write, wait):
    """The reset reaches the slave two cycles late; a master may begin in the first cycle without it."""
    dut, rst, late = RegisterFile(), Signal(), Signal(2)
    m = Module()
    m.d.sync += late.eq(Cat(rst, late))
    m.submodules.dut = ResetInserter(late[-1])(dut)

    async def bench(ctx):
        ctx.set(rst, 1)
        await ticks(ctx, 4)
        ctx.set(rst, 0)
        await ticks(ctx, wait)
        responses, got = [], []
        if write:
            address, value = write_payloads(4 * READ_ONLY, 77, FULL)
            await source(channel(dut.axi, "aw"), [address])(ctx)
            await source(channel(dut.axi, "w"), [value])(ctx)
            await sink(channel(dut.axi, "b"), responses, 1)(ctx)
            assert responses == [OKAY]
        await source(channel(dut.axi, "ar"), [4 * READ_ONLY])(ctx)
        await sink(channel(dut.axi, "r"), got, 1)(ctx)
        assert got == [77 if write else initial(READ_ONLY)]

    simulate(m, bench, max_cycles=200)


@pytest.mark.parametrize("gap", [0.0, 0.5])
def test_reads_beside_writes(gap, seed, rng):
    """Both directions at once: each register has one value before its write and another one after it."""
    dut = RegisterFile()
    numbers = list(range(READ_ONLY, COUNT))
    rng.shuffle(numbers)
    reads = [rng.choice(numbers) for _ in range(100)]
    responses, got = [], []
    new = {number: rng.getrandbits(32) for number in numbers}
    payloads = [write_payloads(4 * number, new[number], FULL) for number in numbers]
    simulate(
        dut,
        source(channel(dut.axi, "aw"), [p for p, _ in payloads], gap, seed),
        source(channel(dut.axi, "w"), [p for _, p in payloads], gap, seed + 1),
        sink(channel(dut.axi, "b"), responses, len(payloads), gap, seed),
        source(channel(dut.axi, "ar"), [4 * number for number in reads], gap, seed + 2),
        sink(channel(dut.axi, "r"), got, len(reads), gap, seed + 3),
        background=[monitor(channel(dut.axi, name), seed) for name in "br"],
        what=f"(seed {seed})",
    )
    assert responses == [OKAY] * len(numbers), f"seed {seed}"
    seen = set()
    for number, word in zip(reads, got, strict=True):
        assert word in (initial(number), new[number]), f"register {number} (seed {seed})"
        assert word == new[number] or number not in seen, f"register {number} went back (seed {seed})"
        if word == new[number]:
            seen.add(number)


@pytest.mark.parametrize("strobe", range(16))
def test_partial_strobes(strobe):
    """All four bytes or nothing; the register keeps its value."""
    dut = RegisterFile()
    responses, got = [], []

    async def then_read(ctx):
        while not responses:
            await ctx.tick()
        await source(channel(dut.axi, "ar"), [4 * READ_ONLY])(ctx)

    address, value = write_payloads(4 * READ_ONLY, 0xFFFF_FFFF, strobe)
    simulate(
        dut,
        source(channel(dut.axi, "aw"), [address]),
        source(channel(dut.axi, "w"), [value]),
        sink(channel(dut.axi, "b"), responses, 1),
        then_read,
        sink(channel(dut.axi, "r"), got, 1),
    )
    assert responses == [OKAY if strobe == FULL else SLVERR]
    assert got == [0xFFFF_FFFF if strobe == FULL else initial(READ_ONLY)]


@pytest.mark.parametrize(
    "address, can_write, can_read",
    [
        (0, False, True),
        (4 * READ_ONLY - 4, False, True),
        (4 * READ_ONLY, True, True),
        (4 * COUNT - 4, True, True),
        (4 * COUNT, False, False),
        ((1 << ADDRESS_BITS) - 4, False, False),
        *((4 * READ_ONLY + n, False, False) for n in (1, 2, 3)),
    ],
)
def test_corners(address, can_write, can_read):
    dut = RegisterFile()
    responses, got, log = [], [], []
    write = write_payloads(address, 0xABCD_EF01, FULL)
    simulate(
        dut,
        source(channel(dut.axi, "aw"), [write[0]]),
        source(channel(dut.axi, "w"), [write[1]]),
        sink(channel(dut.axi, "b"), responses, 1),
        source(channel(dut.axi, "ar"), [address]),
        sink(channel(dut.axi, "r"), got, 1),
        background=[watch_writes(dut, log)],
    )
    assert responses == [OKAY if can_write else SLVERR]
    assert log == ([(address // 4, 0xABCD_EF01)] if can_write else [])
    value, response = got[0] & 0xFFFF_FFFF, got[0] >> 32
    assert response == (OKAY if can_read else SLVERR)
    if not can_read:
        assert value == 0, "a refused read tells nothing"
    elif not can_write:
        assert value == initial(address // 4)
    else:
        assert value in (initial(address // 4), 0xABCD_EF01)


@pytest.mark.parametrize("first", ["aw", "w"])
def test_half_a_write_does_nothing(first):
    """Neither half acts or is answered alone, however long the other one takes."""
    dut = RegisterFile()
    log = []
    halves = dict(zip(("aw", "w"), write_payloads(4 * READ_ONLY, 5, FULL), strict=True))
    second = "w" if first == "aw" else "aw"

    async def bench(ctx):
        await source(channel(dut.axi, first), [halves[first]])(ctx)
        for _ in range(30):
            assert not ctx.get(dut.axi.bvalid)
            assert not log
            await ctx.tick()
        await source(channel(dut.axi, second), [halves[second]])(ctx)
        await ticks(ctx, 3)
        assert ctx.get(dut.axi.bvalid)
        assert log == [(READ_ONLY, 5)]

    simulate(dut, bench, background=[watch_writes(dut, log)])


def test_one_write_at_a_time():
    """While a response waits, the next write's halves may come, but it does not act; none after those is taken."""
    dut = RegisterFile()
    log = []
    address, value = write_payloads(4 * READ_ONLY, 1, FULL)

    async def bench(ctx):
        aw, w = channel(dut.axi, "aw"), channel(dut.axi, "w")
        for port, payload in ((aw, address), (w, value)):
            ctx.set(port.payload, payload)
            ctx.set(port.valid, 1)
        await ticks(ctx, 20)
        assert len(log) == 1
        assert not ctx.get(aw.ready) and not ctx.get(w.ready)
        ctx.set(dut.axi.bready, 1)
        await ctx.tick()
        ctx.set(dut.axi.bready, 0)
        await ticks(ctx, 20)
        assert len(log) == 2

    simulate(dut, bench, background=[watch_writes(dut, log)])


def test_valid_does_not_wait_for_ready():
    """Answers come up while the master is not ready for them, and stay."""
    dut = RegisterFile()

    async def bench(ctx):
        write = write_payloads(4 * READ_ONLY, 1, FULL)
        for name, payload in (("aw", write[0]), ("w", write[1]), ("ar", 4)):
            await source(channel(dut.axi, name), [payload])(ctx)
        await ticks(ctx, 10)
        for _ in range(20):
            assert ctx.get(dut.axi.bvalid) and ctx.get(dut.axi.rvalid)
            assert ctx.get(dut.axi.rdata) == initial(1)
            await ctx.tick()

    simulate(dut, bench)


def test_cycles():
    """A write acts one cycle after both halves came and is answered in the next; a read is answered after five."""
    dut = RegisterFile()
    cycles = {}

    async def watch(ctx):
        cycle = 0
        async for _, _, *values in ctx.tick().sample(
            dut.axi.awvalid & dut.axi.awready,
            dut.slave.registers.write,
            dut.axi.bvalid,
            dut.axi.arvalid & dut.axi.arready,
            dut.axi.rvalid,
        ):
            for name, value in zip(("written", "acts", "answered", "asked", "read"), values, strict=True):
                if value:
                    cycles.setdefault(name, []).append(cycle)
            cycle += 1

    async def bench(ctx):
        write = write_payloads(4 * READ_ONLY, 1, FULL)
        for name, payload in (("aw", write[0]), ("w", write[1]), ("ar", 0)):
            ctx.set(channel(dut.axi, name).payload, payload)
            ctx.set(channel(dut.axi, name).valid, 1)
        ctx.set(dut.axi.bready, 1)
        ctx.set(dut.axi.rready, 1)
        await ticks(ctx, 11)

    simulate(dut, bench, background=[watch])
    assert cycles == {
        "written": [1, 3, 5, 7, 9],
        "acts": [2, 4, 6, 8, 10],
        "answered": [3, 5, 7, 9],
        "asked": [1, 7],
        "read": [6],
    }
