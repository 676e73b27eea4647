"""cocotb tests of memory model and checker; `tests.sim.testbench.test_axi` runs them."""

import os
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer
from cocotbext.axi import AxiBus, AxiMaster, AxiResp

FOLDER = Path(os.environ["CDGATE_WORK"]) if "CDGATE_WORK" in os.environ else Path()
DRIVEN = (
    "awaddr",
    "awlen",
    "awsize",
    "awburst",
    "awid",
    "awvalid",
    "wdata",
    "wstrb",
    "wlast",
    "wvalid",
    "bready",
    "araddr",
    "arlen",
    "arsize",
    "arburst",
    "arid",
    "arvalid",
    "rready",
)


async def start(dut, **settings):
    """Reset the bench with some settings and an idle bus."""
    defaults = {"bandwidth": 0, "latency": 1, "extra": 0, "stall": 0, "read_error": 0, "write_error": 0}
    for name, value in (defaults | settings).items():
        getattr(dut, name).value = value
    for name in DRIVEN:
        getattr(dut, f"axi_{name}").value = 0
    Clock(dut.clk, 2, unit="step", impl="gpi").start()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


async def report(dut):
    """Return what was counted since the simulation began, by name."""
    dut.report.value = 1
    await Timer(1, "step")
    dut.report.value = 0
    await Timer(1, "step")
    lines = (FOLDER / "report.txt").read_text().splitlines()
    return {name: int(value) for name, value in map(str.split, lines)}


def master(dut):
    return AxiMaster(AxiBus.from_prefix(dut, "axi"), dut.clk, dut.rst, max_burst_len=64)


class Counted:
    """What a test adds to the checker's counts, of which only those of violations are kept."""

    STATISTICS = (
        "read_bursts",
        "write_bursts",
        "most_reads",
        "most_writes",
        "unknown_reads",
        "read_beats",
        "write_beats",
    )

    def __init__(self, dut):
        self.dut = dut

    async def begin(self):
        self.before = await report(self.dut)

    async def violations(self):
        now = await report(self.dut)
        return {
            name: now[name] - self.before[name]
            for name in now
            if name not in self.STATISTICS and now[name] != self.before[name]
        }


@cocotb.test()
async def reads_and_writes_share(dut):
    """Where the tokens do not suffice for both, reads and writes move alternately, whatever the bandwidth."""
    await start(dut, latency=5)
    axi, size = master(dut), 1024
    for bandwidth in (1, 2, 3):
        dut.bandwidth.value = bandwidth
        done = {}

        async def timed(name, transfer, done=done):
            await transfer
            done[name] = cocotb.utils.get_sim_time("step")

        tasks = [
            cocotb.start_soon(timed("write", axi.write(0, bytes(size), awid=0))),
            cocotb.start_soon(timed("read", axi.read(0x2000, size, arid=0))),
        ]
        begin = cocotb.utils.get_sim_time("step")
        for task in tasks:
            await task
        cycles = {name: (end - begin) // 2 for name, end in done.items()}
        assert min(cycles.values()) > 0.8 * 2 * size / bandwidth, f"{bandwidth} bytes a cycle: {cycles}"
        assert max(cycles.values()) < 1.2 * 2 * size / bandwidth, f"{bandwidth} bytes a cycle: {cycles}"


@cocotb.test()
async def contents_under_back_pressure(dut):
    """Random transfers through an independent master end as in a plain array, without a violation."""
    await start(dut, bandwidth=3, latency=7, extra=20, stall=90)
    counted, axi, rng = Counted(dut), master(dut), random.Random(1)
    await counted.begin()
    first = await report(dut)
    expected, known = bytearray(0x4000), bytearray(0x4000)
    for _ in range(40):
        address, size = 4 * rng.randrange(0xF00), rng.randrange(1, 600)
        if rng.random() < 0.5:
            data = rng.randbytes(size)
            expected[address : address + size] = data
            known[address : address + size] = bytes([255]) * size
            await axi.write(address, data, awid=0)
        else:
            found = await axi.read(address, size, arid=0)
            assert bytes(a & b for a, b in zip(found.data, known[address:], strict=False)) == bytes(
                a & b for a, b in zip(expected[address : address + size], known[address:], strict=False)
            )
    assert await counted.violations() == {}
    last = await report(dut)
    assert last["unknown_reads"] > 0 and last["read_bursts"] > first["read_bursts"]
    contents = (FOLDER / "memory_out.bin").read_bytes()
    assert all(a == b for a, b, k in zip(contents, expected, known, strict=False) if k)


@cocotb.test()
async def file_is_loaded(dut):
    await start(dut)
    words = [0x01020304 + n for n in range(16)]
    (FOLDER / "memory_in.bin").write_bytes(b"".join(word.to_bytes(4, "big") for word in words))
    dut.load.value = 1
    await Timer(1, "step")
    dut.load.value = 0
    found = await master(dut).read(0x100, 64)
    assert found.data == b"".join(word.to_bytes(4, "little") for word in words)


async def send_address(dut, channel, address, beats, **fields):
    """Put one address on a channel as it should be, but for the fields given; return after it was accepted."""
    values = {"addr": address, "len": beats - 1, "size": 2, "burst": 1, "id": 0, "valid": 1} | fields
    for name, value in values.items():
        getattr(dut, f"axi_{channel}{name}").value = value
    while True:
        await RisingEdge(dut.clk)
        if getattr(dut, f"axi_{channel}ready").value == 1:
            break
    getattr(dut, f"axi_{channel}valid").value = 0


async def cycles_until(dut, name, limit=200):
    """Count the cycles, this one included, up to the first in which a signal is high; None if it stays low."""
    for n in range(limit):
        await RisingEdge(dut.clk)
        if getattr(dut, f"axi_{name}").value == 1:
            return n + 1
    return None


@cocotb.test()
async def latency_is_exact(dut):
    for latency in (1, 2, 40):
        await start(dut, latency=latency)
        await send_address(dut, "ar", 0x80, 4)
        assert await cycles_until(dut, "rvalid") == latency
        dut.axi_rready.value = 1
        await ClockCycles(dut.clk, 8)
        # The data of a write are there at once; its response still takes as long.
        dut.axi_wvalid.value = dut.axi_wlast.value = 1
        await send_address(dut, "aw", 0x80, 1)
        waited = 0
        while dut.axi_wready.value == 0:
            await RisingEdge(dut.clk)
            waited += 1
        dut.axi_wvalid.value = 0
        more = await cycles_until(dut, "bvalid")
        assert waited + more == max(latency, waited + 1)
        dut.axi_bready.value = 1
        await ClockCycles(dut.clk, 2)


@cocotb.test()
async def extra_latency_varies(dut):
    await start(dut, latency=5, extra=10)
    dut.axi_rready.value = 1
    found = set()
    for _ in range(60):
        await send_address(dut, "ar", 0, 1)
        found.add(await cycles_until(dut, "rvalid"))
    assert min(found) == 5 and max(found) == 15 and len(found) > 5


@cocotb.test()
async def bandwidth_is_shared(dut):
    """Cycles of long transfers, alone and together; latency is hidden by further bursts."""
    axi = master(dut)
    for bandwidth, both in ((1, False), (3, False), (4, False), (6, False), (4, True), (6, True), (8, True), (0, True)):
        await start(dut, bandwidth=bandwidth, latency=10)
        before = await report(dut)
        dut_cycles = 0
        reading = cocotb.start_soon(axi.read(0, 2048, arid=0))
        writing = cocotb.start_soon(axi.write(4096, bytes(2048), awid=0)) if both else None
        while not reading.done() or (writing is not None and not writing.done()):
            await RisingEdge(dut.clk)
            dut_cycles += 1
        after = await report(dut)
        beats = sum(after[name] - before[name] for name in ("read_beats", "write_beats"))
        assert beats == (1024 if both else 512), (bandwidth, both, beats)
        # One beat a cycle and direction at the most.
        least = max(512, 4 * beats / bandwidth if bandwidth else 0)
        assert least <= dut_cycles <= 1.05 * least + 60, (bandwidth, both, dut_cycles, least)


@cocotb.test()
async def errors_of_a_range(dut):
    await start(dut, read_error=2, write_error=3)
    dut.error_first.value, dut.error_last.value = 0x40, 0x43
    axi = master(dut)
    for address, read, write in (
        (0x3C, AxiResp.OKAY, AxiResp.OKAY),
        (0x40, AxiResp.SLVERR, AxiResp.DECERR),
        (0x44, AxiResp.OKAY, AxiResp.OKAY),
        (0x10000, AxiResp.DECERR, AxiResp.DECERR),
    ):
        assert (await axi.write(address, b"good", awid=0)).resp == write, hex(address)
        found = await axi.read(address, 4, arid=0)
        assert found.resp == read, hex(address)
        dut.read_error.value = dut.write_error.value = 0
        found = await axi.read(address, 4, arid=0)
        assert (found.data == b"good") == (write == AxiResp.OKAY)
        dut.read_error.value, dut.write_error.value = 2, 3


@cocotb.test()
async def no_answer_until_it_is_allowed(dut):
    await start(dut, read_error=4, write_error=4)
    dut.error_first.value, dut.error_last.value = 0, 0xFFFF
    axi = master(dut)
    reading, writing = cocotb.start_soon(axi.read(0, 4, arid=0)), cocotb.start_soon(axi.write(8, b"word", awid=0))
    await ClockCycles(dut.clk, 200)
    assert not reading.done() and not writing.done()
    dut.read_error.value = dut.write_error.value = 0
    await reading
    await writing


async def write_beats(dut, lasts):
    """Send beats of data with the given values of last."""
    for last in lasts:
        dut.axi_wvalid.value, dut.axi_wlast.value, dut.axi_wstrb.value = 1, int(last), 15
        while True:
            await RisingEdge(dut.clk)
            if dut.axi_wready.value == 1:
                break
    dut.axi_wvalid.value = 0


@cocotb.test()
async def each_violation_is_counted(dut):
    counted = Counted(dut)

    async def fresh(**settings):
        await start(dut, **settings)
        dut.axi_bready.value = dut.axi_rready.value = 1
        await counted.begin()

    # Good bursts are no violation: the longest, and one that ends at a page's end.
    await fresh()
    for address, beats in ((0, 64), (0xFC0, 16)):
        await send_address(dut, "ar", address, beats)
        await send_address(dut, "aw", address, beats)
        await write_beats(dut, [0] * (beats - 1) + [1])
    await ClockCycles(dut.clk, 100)
    assert await counted.violations() == {}

    for channel in ("ar", "aw"):
        for kind, address, beats, fields in (
            ("PAGE", 0xFC4, 16, {}),
            ("LENGTH", 0, 65, {}),
            ("ALIGN", 2, 1, {}),
            ("KIND", 0, 1, {"burst": 0}),
            ("KIND", 0, 1, {"size": 1}),
            ("ID", 0, 1, {"id": 1}),
        ):
            await fresh()
            await send_address(dut, channel, address, beats, **fields)
            if channel == "aw":
                await write_beats(dut, [0] * (beats - 1) + [1])
            await ClockCycles(dut.clk, 80)
            assert await counted.violations() == {f"{channel.upper()}_{kind}": 1}, (channel, kind)

    for lasts, count in (([1, 1], 1), ([0, 0], 1), ([1, 0], 2)):
        await fresh()
        await send_address(dut, "aw", 0, 2)
        await write_beats(dut, lasts)
        await ClockCycles(dut.clk, 10)
        assert await counted.violations() == {"W_LAST": count}

    # Nothing is ready in these cycles, and the payload changes or valid falls.
    for channel, field in (
        ("ar", "addr"),
        ("ar", "len"),
        ("ar", "valid"),
        ("aw", "addr"),
        ("aw", "valid"),
        ("w", "data"),
        ("w", "strb"),
        ("w", "last"),
        ("w", "valid"),
    ):
        await fresh(stall=256)
        await ClockCycles(dut.clk, 2)
        getattr(dut, f"axi_{channel}valid").value = 1
        await ClockCycles(dut.clk, 3)
        value = getattr(dut, f"axi_{channel}{field}")
        value.value = 1 - int(value.value) if field in ("valid", "last") else 4
        await ClockCycles(dut.clk, 3)
        assert await counted.violations() == {f"{channel.upper()}_UNSTABLE": 1}, (channel, field)

    await fresh()
    dut.rst.value = 1
    dut.axi_arvalid.value = 1  # which is allowed for three cycles
    await ClockCycles(dut.clk, 3)
    dut.axi_arvalid.value = 0
    await ClockCycles(dut.clk, 2)
    dut.axi_arvalid.value = 1
    await ClockCycles(dut.clk, 1)
    dut.axi_arvalid.value = 0
    await ClockCycles(dut.clk, 2)
    assert await counted.violations() == {"RESET_VALID": 1}
