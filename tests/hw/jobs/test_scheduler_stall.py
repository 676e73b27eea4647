"""The scheduler alone: what it waits for, what it says about the cause, and that it goes on when that has come."""

import pytest

from hw.interface.layouts import GateMode, IdleCause
from hw.jobs.scheduler import Scheduler
from tests.hw.helpers import SMALL, simulate, ticks


class TestStall:
    """What is said about the cause, case by case, on the scheduler alone."""

    def run(self, check, mode=GateMode.GATED):
        dut = Scheduler(SMALL)

        async def bench(ctx):
            ctx.set(dut.layer, {"mode": mode})
            ctx.set(dut.begin, 1)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            ctx.set(dut.newest, 1)
            ctx.set(dut.oldest, 1)
            ctx.set(dut.o.ready, 1)
            await check(ctx, dut)

        simulate(dut, bench)

    async def stays(self, ctx, dut, cause, settle=6):
        for _ in range(settle):
            await ctx.tick()
        for _ in range(10):
            assert IdleCause(ctx.get(dut.stall)) is cause
            assert not ctx.get(dut.issue)
            await ctx.tick()

    async def use_all_slots(self, ctx, dut):
        ctx.set(dut.pixel.valid, 1)
        ctx.set(dut.base_ready, 1)
        issued = 0
        for _ in range(40):
            issued += ctx.get(dut.issue)
            await ctx.tick()
        assert issued == SMALL.psum_slots

    def test_start(self):
        async def check(ctx, dut):
            await self.stays(ctx, dut, IdleCause.START, settle=0)

        self.run(check)

    def test_weights_of_the_base_path(self):
        async def check(ctx, dut):
            ctx.set(dut.pixel.valid, 1)
            await self.stays(ctx, dut, IdleCause.WEIGHTS)
            ctx.set(dut.base_ready, 1)
            assert ctx.get(dut.issue)

        self.run(check)

    def test_slots(self):
        async def check(ctx, dut):
            await self.use_all_slots(ctx, dut)
            await self.stays(ctx, dut, IdleCause.DECISION)
            ctx.set(dut.mask_taken, 1)
            ctx.set(dut.release, 1)
            ctx.set(dut.release_slot, 2)
            await ctx.tick()
            ctx.set(dut.mask_taken, 0)
            ctx.set(dut.release, 0)
            for _ in range(3):
                if ctx.get(dut.issue):
                    break
                await ctx.tick()
            assert ctx.get(dut.issue) and ctx.get(dut.issue_slot) == 2

        self.run(check, GateMode.DENSE)

    @pytest.mark.parametrize("mode", [GateMode.GATED, GateMode.CHANNEL, GateMode.FORCED])
    def test_decisions_that_nobody_takes(self, mode):
        async def check(ctx, dut):
            ctx.set(dut.mask.valid, 1)
            await self.use_all_slots(ctx, dut)
            for slot in range(SMALL.psum_slots):  # all slots are free again, but no decision was taken
                ctx.set(dut.release, 1)
                ctx.set(dut.release_slot, slot)
                await ctx.tick()
            ctx.set(dut.release, 0)
            await self.stays(ctx, dut, IdleCause.OUTPUT)
            ctx.set(dut.mask_taken, 1)
            await ctx.tick()
            ctx.set(dut.mask_taken, 0)
            await ticks(ctx, 2)  # counted, and told
            assert ctx.get(dut.issue), "one was taken"
            await ctx.tick()
            await self.stays(ctx, dut, IdleCause.OUTPUT)

        self.run(check, mode)

    def test_forced_decisions_still_to_come(self):
        async def check(ctx, dut):
            ctx.set(dut.pixel.valid, 1)
            ctx.set(dut.base_ready, 1)
            for number in range(SMALL.psum_slots):
                await self.stays(ctx, dut, IdleCause.INPUT)
                word = 0x81 >> number
                ctx.set(dut.mask.payload, {"fire": word})
                ctx.set(dut.mask.valid, 1)
                assert ctx.get(dut.issue) and ctx.get(dut.mask.ready), "a record lets a base job go"
                slot = ctx.get(dut.issue_slot)
                await ctx.tick()
                assert not ctx.get(dut.mask.ready), "one record, one base job"
                ctx.set(dut.mask.valid, 0)
                ctx.set(dut.mask_taken, 1)  # its own decision leaves at once
                await ctx.tick()
                ctx.set(dut.mask_taken, 0)
                while not ctx.get(dut.o.valid):
                    await ctx.tick()
                assert (ctx.get(dut.o.p.cond), ctx.get(dut.o.p.slot)) == (0, slot)
                assert ctx.get(dut.o.p.forced) == word
            # Without a slot a record would not help.
            await self.stays(ctx, dut, IdleCause.DECISION)
            # The conditional job runs without a record and has the base job's.
            ctx.set(dut.mask.payload, {"fire": 0x55})
            ctx.set(dut.mask.valid, 1)
            ctx.set(dut.cond_ready, 1)
            ctx.set(dut.end, {"valid": 1, "fire": 1, "slot": slot, "parity": 1})
            await ctx.tick()
            ctx.set(dut.end, {"valid": 0})
            while not ctx.get(dut.o.valid):
                assert not ctx.get(dut.mask.ready)
                await ctx.tick()
            assert (ctx.get(dut.o.p.cond), ctx.get(dut.o.p.slot)) == (1, slot)
            assert ctx.get(dut.o.p.forced) == word

        self.run(check, GateMode.FORCED)

    @pytest.mark.parametrize("mode", [mode for mode in GateMode if mode is not GateMode.FORCED])
    def test_no_record_is_taken_in_other_modes(self, mode):
        async def check(ctx, dut):
            ctx.set(dut.mask.valid, 1)
            ctx.set(dut.pixel.valid, 1)
            ctx.set(dut.base_ready, 1)
            issued = 0
            for _ in range(20):
                assert not ctx.get(dut.mask.ready)
                issued += ctx.get(dut.issue)
                await ctx.tick()
            assert issued == SMALL.psum_slots

        self.run(check, mode)

    @pytest.mark.parametrize("mode", [GateMode.DENSE, GateMode.BASE])
    def test_no_decisions_in_dense_and_base_mode(self, mode):
        async def check(ctx, dut):
            issued = 0
            ctx.set(dut.pixel.valid, 1)
            ctx.set(dut.base_ready, 1)
            for _ in range(80):
                ctx.set(dut.release, ctx.get(dut.issue))  # the slot is free at once
                ctx.set(dut.release_slot, ctx.get(dut.issue_slot))
                issued += ctx.get(dut.issue)
                await ctx.tick()
            assert issued > 2 * SMALL.psum_slots

        self.run(check, mode)

    def test_logits_that_nobody_takes(self):
        async def check(ctx, dut):
            ctx.set(dut.output_blocked, 1)
            await self.use_all_slots(ctx, dut)
            await self.stays(ctx, dut, IdleCause.OUTPUT)

        self.run(check, GateMode.BASE)

    def test_weights_of_the_conditional_path(self):
        async def check(ctx, dut):
            await self.use_all_slots(ctx, dut)
            ctx.set(dut.end, {"valid": 1, "fire": 1, "slot": 3, "parity": 1})
            await ctx.tick()
            ctx.set(dut.end, {"valid": 0})
            await self.stays(ctx, dut, IdleCause.WEIGHTS)
            ctx.set(dut.cond_ready, 1)
            for _ in range(4):
                await ctx.tick()
                if ctx.get(dut.o.valid):
                    break
            assert ctx.get(dut.o.valid) and ctx.get(dut.o.p.cond) and ctx.get(dut.o.p.slot) == 3

        self.run(check)

    def test_conditional_job_of_the_newest_slice_waits(self):
        # Only the oldest slice's conditional weights are known to be in.
        async def check(ctx, dut):
            await self.use_all_slots(ctx, dut)
            ctx.set(dut.oldest, 0)
            ctx.set(dut.cond_ready, 1)
            ctx.set(dut.end, {"valid": 1, "fire": 1, "slot": 3, "parity": 1})
            await ctx.tick()
            ctx.set(dut.end, {"valid": 0})
            for _ in range(20):
                assert not ctx.get(dut.o.valid)
                await ctx.tick()
            ctx.set(dut.oldest, 1)
            for _ in range(3):
                await ctx.tick()
            assert ctx.get(dut.o.valid) and ctx.get(dut.o.p.cond)

        self.run(check)
