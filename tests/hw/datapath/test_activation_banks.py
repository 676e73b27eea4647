"""The activation banks: loading and reading back, roles while a layer runs, and granule writes."""

import random

import pytest

from hw.datapath.activation_banks import ActivationBanks
from hw.params import HwParams
from tests.hw.helpers import GAPS, monitor, simulate, sink, source, ticks, until

CONFIGS = [(2, 1), (4, 1), (4, 4), (8, 2)]


def params_of(in_par, rq_lanes):
    return HwParams(in_par=in_par, rq_lanes=rq_lanes, bank_words=16)


def random_words(params, rng):
    """A word for every address of every bank."""
    return [
        {"data": rng.getrandbits(params.chunk_bits), "addr": addr, "bank": bank}
        for bank in range(4)
        for addr in range(params.bank_words)
    ]


async def load(ctx, dut, words):
    await source(dut.load, words)(ctx)
    await ctx.tick()  # the last one is on its way


async def read_back(ctx, dut, addr, bank):
    ctx.set(dut.read.payload, {"addr": addr, "bank": bank})
    ctx.set(dut.read.valid, 1)
    await until(ctx, dut.read.ready)
    ctx.set(dut.read.valid, 0)
    ctx.set(dut.word.ready, 1)
    while not ctx.get(dut.word.valid):
        await ctx.tick()
    word = ctx.get(dut.word.payload)
    await ctx.tick()
    ctx.set(dut.word.ready, 0)
    return word


@pytest.mark.parametrize("in_par, rq_lanes", CONFIGS)
@pytest.mark.parametrize("i_gap, o_gap", GAPS)
def test_load_and_read_back(in_par, rq_lanes, i_gap, o_gap, seed):
    params, rng = params_of(in_par, rq_lanes), random.Random(seed)
    words = random_words(params, rng)
    dut, got = ActivationBanks(params), []
    order = rng.sample(words, len(words))

    async def loader(ctx):
        await source(dut.load, rng.sample(words, len(words)), i_gap, seed)(ctx)
        await ctx.tick()
        reads = [{"addr": word["addr"], "bank": word["bank"]} for word in order]
        await source(dut.read, reads, i_gap, seed + 1)(ctx)

    simulate(dut, loader, sink(dut.word, got, len(words), o_gap, seed), background=[monitor(dut.word, seed)])
    assert got == [word["data"] for word in order], f"seed {seed}"


def test_reads_wait_for_their_consumer(seed):
    # Nobody takes words: no more reads are accepted than words can wait, and none is lost.
    params, rng = params_of(2, 1), random.Random(seed)
    words = random_words(params, rng)
    dut, got = ActivationBanks(params), []

    async def bench(ctx):
        await load(ctx, dut, words)
        accepted = 0
        ctx.set(dut.read.valid, 1)
        for _ in range(40):
            ctx.set(dut.read.payload, {"addr": accepted % 16, "bank": 0})
            accepted += ctx.get(dut.read.ready)
            await ctx.tick()
        assert accepted == ActivationBanks.READ_DEPTH
        ctx.set(dut.read.valid, 0)
        await sink(dut.word, got, accepted)(ctx)

    simulate(dut, bench, background=[monitor(dut.word, seed)])
    assert got == [word["data"] for word in words[: ActivationBanks.READ_DEPTH]]


@pytest.mark.parametrize("ifmap, residual, ofmap", [(0, 1, 2), (3, 0, 1), (1, 2, 2), (2, 3, 3)])
def test_engine_reads(ifmap, residual, ofmap, seed):
    # An address a cycle; the data READ_LATENCY cycles later.
    params, rng = params_of(4, 1), random.Random(seed)
    words = random_words(params, rng)
    dut = ActivationBanks(params)
    latency = ActivationBanks.READ_LATENCY

    async def bench(ctx):
        await load(ctx, dut, words)
        ctx.set(dut.layer, {"ifmap_bank": ifmap, "residual_bank": residual, "ofmap_bank": ofmap, "residual_enable": 1})
        ctx.set(dut.running, 1)
        await ctx.tick()
        addresses = [(rng.randrange(16), rng.randrange(16)) for _ in range(60)]
        for n in range(60):
            ctx.set(dut.ifmap_addr, addresses[n][0])
            ctx.set(dut.residual_addr, addresses[n][1])
            if n >= latency:
                first, second = addresses[n - latency]
                assert ctx.get(dut.ifmap) == words[16 * ifmap + first]["data"], f"read {n} (seed {seed})"
                assert ctx.get(dut.residual) == words[16 * residual + second]["data"], f"read {n} (seed {seed})"
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("in_par, rq_lanes", CONFIGS)
def test_granules_leave_the_rest(in_par, rq_lanes, seed):
    params, rng = params_of(in_par, rq_lanes), random.Random(seed)
    words = random_words(params, rng)
    dut = ActivationBanks(params)
    model = {(word["bank"], word["addr"]): word["data"].to_bytes(in_par, "little") for word in words}

    async def bench(ctx):
        await load(ctx, dut, words)
        ctx.set(dut.layer, {"ifmap_bank": 0, "residual_bank": 1, "ofmap_bank": 2, "residual_enable": 1})
        ctx.set(dut.running, 1)
        await ctx.tick()
        for _ in range(40):
            enable, addr, sub = rng.random() < 0.7, rng.randrange(16), rng.randrange(params.word_subs)
            codes = [rng.getrandbits(8) for _ in range(rq_lanes)]
            ctx.set(dut.write_en, enable)
            ctx.set(dut.write, {"codes": codes, "sub": sub, "addr": addr})
            if enable:
                word = bytearray(model[2, addr])
                word[sub * rq_lanes : (sub + 1) * rq_lanes] = codes
                model[2, addr] = bytes(word)
            await ctx.tick()
        ctx.set(dut.write_en, 0)
        await ticks(ctx, 3)  # "in the bank three cycles later"
        ctx.set(dut.running, 0)
        await ticks(ctx, 2)
        for bank, addr in model:
            assert (await read_back(ctx, dut, addr, bank)).to_bytes(in_par, "little") == model[bank, addr], (
                f"bank {bank}, address {addr} (seed {seed})"
            )

    simulate(dut, bench)


def test_write_latency(seed):
    # In the bank three cycles later: a read whose address enters one cycle after the write meets it there, one that
    # enters with it does not.
    params, rng = params_of(2, 2), random.Random(seed)
    for distance, new in ((0, False), (1, True), (2, True)):
        dut = ActivationBanks(params)

        async def bench(ctx, dut=dut, distance=distance, new=new):
            old, code = rng.getrandbits(15), [1, 0x80]  # as 16 bits more than `old` can be
            await load(ctx, dut, [{"data": old, "addr": 3, "bank": 2}])
            ctx.set(dut.layer, {"residual_bank": 2, "ofmap_bank": 2, "residual_enable": 1})
            ctx.set(dut.running, 1)
            await ctx.tick()
            ctx.set(dut.write_en, 1)
            ctx.set(dut.write, {"codes": code, "addr": 3})
            ctx.set(dut.residual_addr, 0)
            for _ in range(distance):
                await ctx.tick()
                ctx.set(dut.write_en, 0)
            ctx.set(dut.residual_addr, 3)
            for _ in range(ActivationBanks.READ_LATENCY):
                await ctx.tick()
                ctx.set(dut.write_en, 0)
            assert ctx.get(dut.residual) == (0x8001 if new else old), f"distance {distance}"

        simulate(dut, bench)


def test_load_waits_for_the_ofmap(seed):
    # While the layer runs its ofmap's bank takes no load; the others do, even those that are read.
    params, rng = params_of(2, 1), random.Random(seed)
    words = random_words(params, rng)
    dut = ActivationBanks(params)

    async def bench(ctx):
        await load(ctx, dut, words)
        ctx.set(dut.layer, {"ifmap_bank": 0, "residual_bank": 1, "ofmap_bank": 2, "residual_enable": 1})
        ctx.set(dut.running, 1)
        await ctx.tick()
        for bank in range(4):
            ctx.set(dut.load.payload, {"data": 0xABCD, "addr": 5, "bank": bank})
            ctx.set(dut.load.valid, 1)
            for _ in range(3):
                assert ctx.get(dut.load.ready) == (bank != 2), f"bank {bank}"
                await ctx.tick()
        ctx.set(dut.load.payload, {"data": 0x1234, "addr": 6, "bank": 2})
        await ctx.tick()
        assert not ctx.get(dut.load.ready)
        ctx.set(dut.running, 0)
        await until(ctx, dut.load.ready)
        ctx.set(dut.load.valid, 0)
        await ticks(ctx, 2)
        for bank in range(4):
            expected = words[16 * 2 + 5]["data"] if bank == 2 else 0xABCD
            assert await read_back(ctx, dut, 5, bank) == expected, f"bank {bank}"
        assert await read_back(ctx, dut, 6, 2) == 0x1234

    simulate(dut, bench)


@pytest.mark.parametrize("enable", [0, 1])
@pytest.mark.parametrize("logits", [0, 1])
def test_roles(enable, logits):
    # Reads wait where the ifmap or an enabled residual is; loads only where an ofmap is written, which logits are not.
    params = params_of(2, 1)
    dut = ActivationBanks(params)

    async def bench(ctx):
        ctx.set(
            dut.layer,
            {"ifmap_bank": 3, "residual_bank": 0, "ofmap_bank": 1, "residual_enable": enable, "logits": logits},
        )
        for running in (0, 1, 0):
            ctx.set(dut.running, running)
            await ctx.tick()
            for bank in range(4):
                ctx.set(dut.read.payload, {"bank": bank})
                ctx.set(dut.load.payload, {"bank": bank})
                busy = running and (bank == 3 or (bank == 0 and enable))
                assert ctx.get(dut.read.ready) == (not busy), f"bank {bank}"
                assert ctx.get(dut.load.ready) == (not (running and bank == 1 and not logits)), f"bank {bank}"

    simulate(dut, bench)
