"""Starts of passes: tokens, the core's state, why there is none, and the strobe of the first step."""

import random

from amaranth.lib import data

from hw.interface.instructions import LayerInstruction, Tokens
from hw.interface.layouts import IdleCause
from hw.units.compute_unit import ComputeUnit
from tests.hw.helpers import SMALL, simulate, ticks, until


def instruction(index, take=(), give=(), **layer):
    return LayerInstruction(SMALL).const(
        {"index": index, "take": dict.fromkeys(take, 1), "give": dict.fromkeys(give, 1), "layer": layer}
    )


def tokens(*names):
    return Tokens.const(dict.fromkeys(names, 1))


def test_passes_one_after_the_other(seed):
    rng = random.Random(seed)
    dut = ComputeUnit(SMALL)
    count = 20
    started, given = [], []

    async def queue(ctx):
        ctx.set(dut.enable, 1)
        for index in range(count):
            ctx.set(dut.i.payload, instruction(index, take=["load"], give=["store"], shift=index))
            ctx.set(dut.i.valid, 1)
            await until(ctx, dut.i.ready)
            ctx.set(dut.i.valid, 0)
            await ticks(ctx, rng.randrange(3))

    async def core(ctx):
        steps = random.Random(seed + 1)
        for index in range(count):
            await ticks(ctx, steps.randrange(8))
            ctx.set(dut.tokens.ready, 1)
            layer, take, want = await ctx.tick().sample(dut.layer, dut.tokens.take, dut.tokens.want).until(dut.start)
            started.append(layer.shift)
            assert take and want == tokens("load"), f"pass {index} (seed {seed})"
            ctx.set(dut.tokens.ready, 0)
            ctx.set(dut.busy_core, 1)
            for _ in range(steps.randrange(4)):
                await ctx.tick()
                assert not ctx.get(dut.first_step)
            seen = 0
            for _ in range(steps.randrange(1, 10)):
                ctx.set(dut.step, 1)
                await ctx.tick()
                seen += ctx.get(dut.first_step)
                assert ctx.get(dut.progress.index) == index and ctx.get(dut.progress.busy)
                ctx.set(dut.step, 0)
            await ctx.tick()
            assert seen == 1, f"pass {index} (seed {seed})"
            ctx.set(dut.done, 1)
            _, _, give, complete = await ctx.tick().sample(dut.tokens.give, dut.progress.complete)
            given.append(give)
            assert complete
            ctx.set(dut.done, 0)
            ctx.set(dut.busy_core, 0)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(dut.start) and not ctx.get(dut.progress.busy)

    simulate(dut, queue, core, what=f"(seed {seed})")
    assert started == list(range(count))
    assert given == [tokens("store")] * count


def test_why_no_pass_is_under_way():
    dut = ComputeUnit(SMALL)

    async def bench(ctx):
        assert ctx.get(dut.outside) == IdleCause.START
        ctx.set(dut.dispatched, 1)
        assert ctx.get(dut.outside) == IdleCause.END
        ctx.set(dut.i.payload, instruction(3, take=["load", "store"]))
        ctx.set(dut.i.valid, 1)
        assert ctx.get(dut.outside) == IdleCause.START
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for missing, cause in (
            (("load",), IdleCause.INPUT),
            (("store",), IdleCause.OUTPUT),
            (("load", "store"), IdleCause.INPUT),
            ((), IdleCause.START),
        ):
            ctx.set(dut.tokens.missing, tokens(*missing))
            assert ctx.get(dut.outside) == cause, missing
            assert not ctx.get(dut.start)
            await ctx.tick()
        ctx.set(dut.tokens.ready, 1)
        for _ in range(5):  # no pass may start
            assert not ctx.get(dut.start)
            await ctx.tick()
        ctx.set(dut.enable, 1)
        ctx.set(dut.busy_core, 1)  # the pass before has not quite ended
        for _ in range(5):
            assert not ctx.get(dut.start)
            await ctx.tick()
        ctx.set(dut.busy_core, 0)
        assert not ctx.get(dut.start)
        await ctx.tick()
        assert ctx.get(dut.start)

    simulate(dut, bench)


def test_layer_registers_travel_whole(seed):
    rng = random.Random(seed)
    layout = LayerInstruction(SMALL)
    dut = ComputeUnit(SMALL)

    async def bench(ctx):
        ctx.set(dut.enable, 1)
        for _ in range(10):
            bits = rng.getrandbits(layout["layer"].width)
            value = bits << layout["layer"].offset
            ctx.set(dut.i.payload, data.Const(layout, value))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.tokens.ready, 1)
            await ctx.tick()
            assert ctx.get(dut.start)
            assert ctx.get(dut.layer.as_value()) == bits, f"seed {seed}"
            await ctx.tick()
            ctx.set(dut.tokens.ready, 0)
            ctx.set(dut.done, 1)
            await ctx.tick()
            ctx.set(dut.done, 0)

    simulate(dut, bench)
