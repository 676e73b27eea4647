"""Registers and the life of a run: start, end, refusal, error, watchdog, interrupt, soft reset."""

import random

import pytest

from hw.bus.axi_lite import AxiLiteSlave
from hw.interface.instructions import ErrorCode
from hw.interface.registers import COUNTERS, IDENTITY, REGISTERS, register
from hw.units.control import Control
from tests.hw.helpers import SMALL, simulate, ticks

START, RESET = 1, 2
BUSY, DONE, ERROR, DRAINING = 1, 2, 4, 8


def bench_of(body):
    """Run `body(ctx, dut, write, read)` on a control whose bus is at rest and whose units are busy."""
    dut = Control(SMALL)

    async def write(ctx, name, value):
        ctx.set(dut.registers.write_addr, register(name).address // 4)
        ctx.set(dut.registers.write_data, value)
        ctx.set(dut.registers.write, 1)
        hit = ctx.get(dut.registers.write_hit)
        await ctx.tick()
        ctx.set(dut.registers.write, 0)
        await ctx.tick()  # a write reaches the registers one cycle later
        return hit

    async def read(ctx, name):
        ctx.set(dut.registers.read_addr, register(name).address // 4)
        await ticks(ctx, AxiLiteSlave.READ_LATENCY)
        assert ctx.get(dut.registers.read_hit), name
        return ctx.get(dut.registers.read_data)

    async def bench(ctx):
        ctx.set(dut.bus_idle, 1)
        await write(ctx, "PROGRAM_ADDRESS", 0x1000)
        await write(ctx, "PROGRAM_LENGTH", 5)
        await body(ctx, dut, write, read)

    simulate(dut, bench)


async def fail(ctx, dut, code, index):
    ctx.set(dut.status.failure.valid, 1)
    ctx.set(dut.status.failure.code, code)
    ctx.set(dut.status.failure.index, index)
    await ctx.tick()
    ctx.set(dut.status.failure.valid, 0)
    await ticks(ctx, 3)


def test_every_register_reads_what_it_should(seed):
    rng = random.Random(seed)
    values = [rng.getrandbits(64) for _ in COUNTERS]

    async def body(ctx, dut, write, read):
        for number, value in enumerate(values):
            ctx.set(dut.counters[number], value)
        written = {}
        for entry in REGISTERS:
            if entry.access == "rw":
                written[entry.name] = rng.getrandbits(32)
                assert await write(ctx, entry.name, written[entry.name])
        for (name, _), value in zip(COUNTERS, values, strict=True):
            assert await read(ctx, f"{name.upper()}_LOW") == value & 0xFFFFFFFF, f"{name} (seed {seed})"
            assert await read(ctx, f"{name.upper()}_HIGH") == value >> 32, f"{name} (seed {seed})"
        for name, value in written.items():
            assert await read(ctx, name) == value, f"{name} (seed {seed})"
        assert await read(ctx, "IDENTITY") == IDENTITY
        facts = await read(ctx, "CONFIGURATION")
        fields = {part.name: facts >> part.offset & (1 << part.width) - 1 for part in register("CONFIGURATION").fields}
        assert fields == {
            "IN_PAR": SMALL.in_par,
            "RQ_LANES": SMALL.rq_lanes,
            "AXI_BYTES": SMALL.axi_bytes,
            "BANK_LOG2": 8,
            "RING_LOG2": 6,
        }
        assert await read(ctx, "CONTROL") == 0
        for entry in REGISTERS:
            assert await write(ctx, entry.name, 0) == (entry.access != "ro"), entry.name

    bench_of(body)


def test_addresses_without_a_register_do_not_hit():
    used = {entry.address // 4 for entry in REGISTERS}
    assert len(used) == len(REGISTERS)

    async def body(ctx, dut, write, read):
        for address in range(1 << len(dut.registers.read_addr)):
            ctx.set(dut.registers.read_addr, address)
            ctx.set(dut.registers.write_addr, address)
            await ticks(ctx, AxiLiteSlave.READ_LATENCY)
            assert ctx.get(dut.registers.read_hit) == (address in used), address
            assert address in used or not ctx.get(dut.registers.write_hit), address

    bench_of(body)


@pytest.mark.parametrize("enable", [0, 1, 2])
def test_a_run_that_ends_well(enable):
    async def body(ctx, dut, write, read):
        await write(ctx, "INTERRUPT_ENABLE", enable)
        ctx.set(dut.status.idle, 1)  # of the run before: is not believed at once
        ctx.set(dut.registers.write_addr, register("CONTROL").address // 4)
        ctx.set(dut.registers.write_data, START)
        ctx.set(dut.registers.write, 1)
        await ctx.tick()
        ctx.set(dut.registers.write, 0)
        await ticks(ctx, 2)
        assert ctx.get(dut.start) and ctx.get(dut.program_address) == 0x1000 and ctx.get(dut.program_length) == 5
        await ctx.tick()
        assert ctx.get(dut.running) and not ctx.get(dut.start)
        ctx.set(dut.status.idle, 0)
        await ticks(ctx, 20)
        assert await read(ctx, "STATUS") == BUSY and not ctx.get(dut.interrupt)
        ctx.set(dut.status.idle, 1)
        await ticks(ctx, 2)
        assert not ctx.get(dut.running)
        assert await read(ctx, "STATUS") == DONE
        assert await read(ctx, "INTERRUPT") == 1
        assert ctx.get(dut.interrupt) == (enable == 1)
        await write(ctx, "INTERRUPT", 1)
        assert await read(ctx, "INTERRUPT") == 0 and not ctx.get(dut.interrupt)
        assert await read(ctx, "STATUS") == DONE
        ctx.set(dut.status.idle, 0)
        await write(ctx, "CONTROL", START)
        assert await read(ctx, "STATUS") == BUSY

    bench_of(body)


def test_a_start_while_busy_is_refused_and_the_run_goes_on():
    async def body(ctx, dut, write, read):
        await write(ctx, "CONTROL", START)
        await ctx.tick()
        ctx.set(dut.registers.write_addr, register("CONTROL").address // 4)
        ctx.set(dut.registers.write, 1)
        await ctx.tick()
        ctx.set(dut.registers.write, 0)
        for _ in range(4):
            await ctx.tick()
            assert not ctx.get(dut.start)
        assert await read(ctx, "REFUSAL") == 1
        assert await read(ctx, "INTERRUPT") == 4
        assert await read(ctx, "STATUS") == BUSY
        ctx.set(dut.status.idle, 1)
        await ticks(ctx, 3)
        assert await read(ctx, "STATUS") == DONE
        await write(ctx, "CONTROL", START)
        assert await read(ctx, "REFUSAL") == 0

    bench_of(body)


@pytest.mark.parametrize("code", list(ErrorCode)[1:])
def test_an_error_stops_the_run_until_a_soft_reset(code):
    async def body(ctx, dut, write, read):
        await write(ctx, "CONTROL", START)
        ctx.set(dut.bus_idle, 0)
        await ticks(ctx, 10)
        await fail(ctx, dut, code, 1234)
        assert ctx.get(dut.drain) and not ctx.get(dut.running)
        assert await read(ctx, "STATUS") == ERROR | DRAINING
        assert await read(ctx, "ERROR_CODE") == code.value
        assert await read(ctx, "ERROR_INDEX") == 1234
        assert await read(ctx, "INTERRUPT") == 2
        await fail(ctx, dut, ErrorCode.RANGE, 1)  # the first error stands
        assert await read(ctx, "ERROR_INDEX") == 1234
        ctx.set(dut.bus_idle, 1)
        assert await read(ctx, "STATUS") == ERROR
        await write(ctx, "CONTROL", START)
        assert await read(ctx, "REFUSAL") == 2
        assert await read(ctx, "STATUS") == ERROR
        await write(ctx, "CONTROL", RESET)
        cleared = 0
        for _ in range(20):
            cleared += ctx.get(dut.clear)
            await ctx.tick()
        assert cleared == 1 and not ctx.get(dut.drain)
        for name in ("STATUS", "ERROR_CODE", "ERROR_INDEX", "REFUSAL", "INTERRUPT"):
            assert await read(ctx, name) == 0, name
        assert await read(ctx, "PROGRAM_LENGTH") == 5
        await write(ctx, "CONTROL", START)
        assert await read(ctx, "STATUS") == BUSY

    bench_of(body)


def test_a_soft_reset_waits_for_the_bus():
    async def body(ctx, dut, write, read):
        await write(ctx, "CONTROL", START)
        ctx.set(dut.bus_idle, 0)
        await write(ctx, "CONTROL", RESET)
        for _ in range(30):
            await ctx.tick()
            assert not ctx.get(dut.clear) and not ctx.get(dut.running)
        assert ctx.get(dut.drain)
        assert await read(ctx, "STATUS") == DRAINING
        await write(ctx, "CONTROL", START)
        assert await read(ctx, "REFUSAL") == 1
        ctx.set(dut.bus_idle, 1)
        await ticks(ctx, 10)
        assert await read(ctx, "STATUS") == 0

    bench_of(body)


@pytest.mark.parametrize("gap", range(2, 16))
def test_a_soft_reset_during_another(gap):
    """Whenever it comes, the engine is cleared after it, and is at rest only then."""

    async def body(ctx, dut, write, read):
        await write(ctx, "CONTROL", RESET)
        await ticks(ctx, gap - 2)
        await write(ctx, "CONTROL", RESET)
        await ctx.tick()  # until then the one before is under way
        cleared = 0
        for _ in range(30):
            cleared += ctx.get(dut.clear)
            await ctx.tick()
        assert cleared == 1 and await read(ctx, "STATUS") == 0

    bench_of(body)


def test_a_start_during_a_soft_reset_is_refused_and_seen():
    async def body(ctx, dut, write, read):
        await write(ctx, "CONTROL", START)
        await write(ctx, "CONTROL", START)
        await write(ctx, "CONTROL", RESET)
        assert await read(ctx, "REFUSAL") == await read(ctx, "INTERRUPT") == 0
        await write(ctx, "CONTROL", START)
        await ticks(ctx, 30)
        assert await read(ctx, "STATUS") == 0
        assert await read(ctx, "REFUSAL") == 1 and await read(ctx, "INTERRUPT") == 4

    bench_of(body)


@pytest.mark.parametrize(
    "length, address, code",
    [
        (0, 0x1000, ErrorCode.LENGTH),
        (0x10000, 0x1000, ErrorCode.LENGTH),
        (5, 0x1020, ErrorCode.ADDRESS),
        (5, 0x1001, ErrorCode.ADDRESS),
    ],
)
def test_programs_that_are_none(length, address, code):
    async def body(ctx, dut, write, read):
        await write(ctx, "PROGRAM_LENGTH", length)
        await write(ctx, "PROGRAM_ADDRESS", address)
        await write(ctx, "CONTROL", START)
        assert not ctx.get(dut.running)
        assert await read(ctx, "STATUS") & ERROR
        assert await read(ctx, "ERROR_CODE") == code.value

    bench_of(body)


def test_watchdog_counts_from_the_last_completed_instruction():
    async def body(ctx, dut, write, read):
        await write(ctx, "WATCHDOG", 50)
        await ticks(ctx, 100)  # nothing runs
        await write(ctx, "CONTROL", START)
        ctx.set(dut.status.stuck_index, 77)
        for _ in range(5):
            await ticks(ctx, 40)
            assert ctx.get(dut.running)
            ctx.set(dut.status.complete, 1)
            await ctx.tick()
            ctx.set(dut.status.complete, 0)
        await ticks(ctx, 60)
        assert not ctx.get(dut.running)
        assert await read(ctx, "ERROR_CODE") == ErrorCode.WATCHDOG.value
        assert await read(ctx, "ERROR_INDEX") == 77

    bench_of(body)
