"""Memories of per-channel parameters: address mapping, latencies, and rewriting beside reads."""

import random

import pytest

from hw.datapath.parameter_memory import ParameterMemory
from hw.params import LANES, HwParams
from tests.hw.helpers import as_dict, simulate, source, ticks

CONFIGS = [(2, 1), (4, 2), (8, 4), (8, 8)]


def params_of(in_par, rq_lanes):
    return HwParams(in_par=in_par, rq_lanes=rq_lanes, max_slices=4)


def random_words(params, rng):
    """A word for every address; thresholds differ from channel to channel, so that a wrong phase or lane shows."""

    def scale():
        return {
            "multiplier": rng.choice([-(2**15), 2**15 - 1, rng.randint(-(2**15), 2**15 - 1)]),
            "offset": rng.choice([-(2**47), 2**47 - 1, rng.randint(-(2**47), 2**47 - 1)]),
        }

    def threshold():
        return rng.choice([-(2**31), 2**31 - 1] + [rng.randint(-(2**31), 2**31 - 1) for _ in range(4)])

    return [
        {
            "scales": [scale() for _ in range(params.rq_lanes)],
            "thresholds": [threshold() for _ in range(params.rq_lanes)],
            "address": address,
        }
        for address in range(params.param_words)
    ]


@pytest.mark.parametrize("in_par, rq_lanes", CONFIGS)
def test_read_back(in_par, rq_lanes, seed):
    params, rng = params_of(in_par, rq_lanes), random.Random(seed)
    words = random_words(params, rng)
    dut = ParameterMemory(params)

    async def bench(ctx):
        await source(dut.i, rng.sample(words, len(words)), 0.3, seed)(ctx)
        await ctx.tick()
        # A new address in every cycle. `scales` answers after SCALES_LATENCY cycles, `thresholds` after one.
        latency = ParameterMemory.SCALES_LATENCY
        addresses = [rng.randrange(params.param_words) for _ in range(100)]
        threshold_addrs = [rng.randrange(params.param_words) for _ in range(100)]
        for n in range(100):
            ctx.set(dut.address, addresses[n])
            ctx.set(dut.threshold_addr, threshold_addrs[n])
            if n >= latency:
                assert as_dict(ctx.get(dut.scales)) == words[addresses[n - latency]]["scales"], (
                    f"read {n} (seed {seed})"
                )
            if n >= 1:
                assert as_dict(ctx.get(dut.thresholds)) == words[threshold_addrs[n - 1]]["thresholds"], (
                    f"read {n} (seed {seed})"
                )
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("in_par, rq_lanes", CONFIGS)
def test_thresholds_of_a_slice(in_par, rq_lanes, seed):
    # 8 for every slice, in the order of the channels, whatever the order in which its phases arrive.
    params, rng = params_of(in_par, rq_lanes), random.Random(seed)
    words = random_words(params, rng)
    for order in (words, words[::-1]):
        dut = ParameterMemory(params)

        async def bench(ctx, dut=dut, order=order):
            await source(dut.i, order)(ctx)
            await ctx.tick()  # the last one is written
            for slice_ in range(params.max_slices):
                first, got = slice_ * params.rq_phases, []
                for phase in range(params.rq_phases):
                    ctx.set(dut.threshold_addr, first + phase)
                    await ctx.tick()
                    got += as_dict(ctx.get(dut.thresholds))
                expected = [value for word in words[first : first + params.rq_phases] for value in word["thresholds"]]
                assert len(got) == LANES and got == expected, f"slice {slice_} (seed {seed})"

        simulate(dut, bench)


def test_takes_a_word_every_cycle(seed):
    # Words of the next layer are written while this one's are read: other addresses do not change.
    params, rng = params_of(2, 1), random.Random(seed)
    first, second = random_words(params, rng), random_words(params, rng)
    dut = ParameterMemory(params)
    half = params.param_words // 2

    async def bench(ctx):
        await source(dut.i, first)(ctx)
        ctx.set(dut.address, 3)
        ctx.set(dut.threshold_addr, 3)
        await ticks(ctx, ParameterMemory.SCALES_LATENCY + 1)
        for word in second[half:]:
            ctx.set(dut.i.payload, word)
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.i.ready), "always ready"
            assert as_dict(ctx.get(dut.scales)) == first[3]["scales"]
            assert as_dict(ctx.get(dut.thresholds)) == first[3]["thresholds"]
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for address in range(params.param_words):
            ctx.set(dut.address, address)
            ctx.set(dut.threshold_addr, address)
            await ticks(ctx, ParameterMemory.SCALES_LATENCY)
            word = (first if address < half else second)[address]
            assert as_dict(ctx.get(dut.scales)) == word["scales"], f"address {address} (seed {seed})"
            assert as_dict(ctx.get(dut.thresholds)) == word["thresholds"], f"address {address} (seed {seed})"

    simulate(dut, bench)
