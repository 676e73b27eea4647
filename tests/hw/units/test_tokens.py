"""Dependency tokens: counts between every two units, and tokens that were never given."""

import random

import pytest

from hw.interface.instructions import TOKEN_BITS, Tokens
from hw.units.tokens import TokenCounters
from tests.hw.helpers import simulate

UNITS = list(Tokens.members)


def tokens(*names):
    return {name: int(name in names) for name in UNITS}


async def idle(ctx, dut):
    for unit in range(len(UNITS)):
        ctx.set(dut.units[unit].give, tokens())
        ctx.set(dut.units[unit].take, 0)


@pytest.mark.parametrize("giver", UNITS)
@pytest.mark.parametrize("taker", UNITS)
def test_a_token_is_for_one_unit_from_one_unit(giver, taker):
    dut = TokenCounters()

    async def bench(ctx):
        ctx.set(dut.units[UNITS.index(giver)].give, tokens(taker))
        await ctx.tick()
        await idle(ctx, dut)
        await ctx.tick()
        for other in UNITS:
            for source in UNITS:
                ctx.set(dut.units[UNITS.index(other)].want, tokens(source))
                there = (source, other) == (giver, taker) and giver != taker
                assert ctx.get(dut.units[UNITS.index(other)].ready) == there, (giver, taker, source, other)
                missing = ctx.get(dut.units[UNITS.index(other)].missing)
                assert missing == Tokens.const(tokens() if there else tokens(source))
            ctx.set(dut.units[UNITS.index(other)].want, tokens())
            assert ctx.get(dut.units[UNITS.index(other)].ready), "an instruction that takes nothing is ready"

    simulate(dut, bench)


def test_random_traffic_keeps_the_counts(seed):
    dut, rng = TokenCounters(), random.Random(seed)
    counts = {(giver, taker): 0 for giver in UNITS for taker in UNITS if giver != taker}

    async def bench(ctx):
        for _ in range(500):
            wants = {taker: [n for n in UNITS if n != taker and rng.random() < 0.5] for taker in UNITS}
            gives = {giver: [n for n in UNITS if n != giver and rng.random() < 0.4] for giver in UNITS}
            taken = []
            for number, unit in enumerate(UNITS):
                ctx.set(dut.units[number].want, tokens(*wants[unit]))
                ctx.set(dut.units[number].give, tokens(*gives[unit]))
                ready = all(counts[giver, unit] for giver in wants[unit])
                assert ctx.get(dut.units[number].ready) == ready, f"{unit} (seed {seed})"
                take = ready and rng.random() < 0.7
                ctx.set(dut.units[number].take, take)
                taken += [(giver, unit) for giver in wants[unit] if take]
            await ctx.tick()
            await idle(ctx, dut)
            await ctx.tick()
            assert not ctx.get(dut.overflow), f"seed {seed}"
            for pair in taken:
                counts[pair] -= 1
            for giver, takers in gives.items():
                for taker in takers:
                    counts[giver, taker] += 1

    simulate(dut, bench)


def test_overflow_is_told():
    dut = TokenCounters()
    most = (1 << TOKEN_BITS) - 1

    async def bench(ctx):
        ctx.set(dut.units[0].give, tokens("compute"))
        for _ in range(most):
            await ctx.tick()
            assert not ctx.get(dut.overflow)
        # One is taken as another comes: nothing is lost.
        ctx.set(dut.units[1].want, tokens("load"))
        ctx.set(dut.units[1].take, 1)
        await ctx.tick()
        assert not ctx.get(dut.overflow)
        ctx.set(dut.units[1].take, 0)
        await ctx.tick()
        assert ctx.get(dut.overflow)

    simulate(dut, bench)
