"""What becomes of a run: rest, progress, the error that is told, the instruction that the watchdog would name."""

import random

from hw.interface.instructions import ErrorCode
from hw.units.run_monitor import RunMonitor
from tests.hw.helpers import simulate

UNITS, FAILURES = 4, 3


def test_against_a_model(seed):
    rng = random.Random(seed)
    dut = RunMonitor(UNITS, FAILURES)
    codes = list(ErrorCode)
    rest_before = told = stuck_before = None

    async def bench(ctx):
        nonlocal rest_before, told, stuck_before
        for cycle in range(500):
            busy = [rng.random() < 0.4 for _ in range(UNITS)]
            complete = [rng.random() < 0.2 for _ in range(UNITS)]
            failing = [rng.random() < 0.2 for _ in range(FAILURES)]
            indices = [rng.randrange(1 << 16) for _ in range(UNITS + 1)]
            dispatched = rng.random() < 0.5
            for unit, *values in zip(dut.units, busy, complete, indices, strict=False):
                for port, value in zip((unit.busy, unit.complete, unit.index), values, strict=True):
                    ctx.set(port, value)
            for failure, valid in zip(dut.failures, failing, strict=True):
                code, index = rng.choice(codes), rng.randrange(1 << 16)
                ctx.set(failure.valid, valid)
                ctx.set(failure.code, code)
                ctx.set(failure.index, index)
                told = (code, index) if valid else told
            ctx.set(dut.dispatched, dispatched)
            ctx.set(dut.index, indices[-1])
            await ctx.tick()
            where = f"cycle {cycle} (seed {seed})"
            status = dut.status
            assert ctx.get(status.complete) == any(complete), where
            assert ctx.get(status.failure.valid) == any(failing), where
            if told:
                assert (ctx.get(status.failure.code), ctx.get(status.failure.index)) == told, where
            if rest_before is not None:
                assert ctx.get(status.idle) == rest_before, where
                assert ctx.get(status.stuck_index) == (stuck_before or indices)[-1], where
            rest_before = dispatched and not any(busy)
            stuck_before = [index for index, is_busy in zip(indices, busy, strict=False) if is_busy]

    simulate(dut, bench, what=f"(seed {seed})")


def test_rest_is_told_two_cycles_later():
    dut = RunMonitor(UNITS, FAILURES)

    async def bench(ctx):
        ctx.set(dut.dispatched, 1)
        ctx.set(dut.units[2].busy, 1)
        for _ in range(5):
            await ctx.tick()
            assert not ctx.get(dut.status.idle)
        ctx.set(dut.units[2].busy, 0)
        await ctx.tick()
        assert not ctx.get(dut.status.idle)
        await ctx.tick()
        assert ctx.get(dut.status.idle)

    simulate(dut, bench)
