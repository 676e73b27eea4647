"""Memories of per-channel parameters: address mapping, latencies, and rewriting beside reads."""

import random

import pytest

from hw.parameters import Parameters
from hw.params import HwParams
from tests.hw.helpers import as_dict, simulate, source, ticks

CONFIGS = [(2, 1), (4, 2), (8, 4), (8, 8)]


def params_of(in_par, rq_lanes):
    return HwParams(in_par=in_par, rq_lanes=rq_lanes, max_slices=4)


def random_words(params, rng):
    """A word for every address; the threshold differs from phase to phase, so that a wrong phase shows."""
    def scale():
        return {"multiplier": rng.choice([-2**15, 2**15 - 1, rng.randint(-2**15, 2**15 - 1)]),
                "offset": rng.choice([-2**47, 2**47 - 1, rng.randint(-2**47, 2**47 - 1)])}
    return [{"scales": [scale() for _ in range(params.rq_lanes)],
             "threshold": rng.choice([-2**31, 2**31 - 1, rng.randint(-2**31, 2**31 - 1)]), "address": address}
            for address in range(params.param_words)]


@pytest.mark.parametrize("in_par, rq_lanes", CONFIGS)
def test_read_back(in_par, rq_lanes, seed):
    params, rng = params_of(in_par, rq_lanes), random.Random(seed)
    words = random_words(params, rng)
    dut = Parameters(params)

    async def bench(ctx):
        await source(dut.i, rng.sample(words, len(words)), 0.3, seed)(ctx)
        await ctx.tick()
        # A new address in every cycle. `scales` answers after two cycles, `threshold` after one.
        addresses = [rng.randrange(params.param_words) for _ in range(100)]
        slices = [rng.randrange(params.max_slices) for _ in range(100)]
        for n in range(100):
            ctx.set(dut.address, addresses[n])
            ctx.set(dut.threshold_slice, slices[n])
            if n >= 2:
                assert as_dict(ctx.get(dut.scales)) == words[addresses[n - 2]]["scales"], f"read {n} (seed {seed})"
            if n >= 1:
                # Of phase 0 of the slice.
                assert ctx.get(dut.threshold) == words[slices[n - 1] * params.rq_phases]["threshold"], \
                    f"read {n} (seed {seed})"
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("in_par, rq_lanes", CONFIGS)
def test_threshold_from_phase_0(in_par, rq_lanes, seed):
    # Whatever the order in which the phases of a slice arrive.
    params, rng = params_of(in_par, rq_lanes), random.Random(seed)
    words = random_words(params, rng)
    for order in (words, words[::-1]):
        dut = Parameters(params)

        async def bench(ctx, dut=dut, order=order):
            await source(dut.i, order)(ctx)
            for slice_ in range(params.max_slices):
                ctx.set(dut.threshold_slice, slice_)
                await ctx.tick()
                assert ctx.get(dut.threshold) == words[slice_ * params.rq_phases]["threshold"], f"seed {seed}"

        simulate(dut, bench)


def test_takes_a_word_every_cycle(seed):
    # Words of the next layer are written while this one's are read: other addresses do not change.
    params, rng = params_of(2, 1), random.Random(seed)
    first, second = random_words(params, rng), random_words(params, rng)
    dut = Parameters(params)
    half = params.param_words // 2

    async def bench(ctx):
        await source(dut.i, first)(ctx)
        ctx.set(dut.address, 3)
        await ticks(ctx, 3)
        for word in second[half:]:
            ctx.set(dut.i.payload, word)
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.i.ready), "always ready"
            assert as_dict(ctx.get(dut.scales)) == first[3]["scales"]
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for address in range(params.param_words):
            ctx.set(dut.address, address)
            await ticks(ctx, 2)
            word = (first if address < half else second)[address]
            assert as_dict(ctx.get(dut.scales)) == word["scales"], f"address {address} (seed {seed})"

    simulate(dut, bench)
