# amaranth: UnusedElaboratable=no
"""Widths changed either way against a reference in Python, and the rate at which words pass."""

import pytest

from hw.bus.gearbox import Gearbox
from tests.hw.helpers import GAPS, monitor, simulate, sink, source, watch

WIDTHS = [(8, 8), (8, 16), (16, 8), (8, 32), (64, 128), (128, 64), (16, 256), (256, 16), (1, 4), (4, 1), (24, 96)]


def join(words, in_bits, out_bits):
    """Return the words out as (data, last, mask of the bits that are defined)."""
    joined, parts = [], []
    for value, last in words:
        parts.append(value)
        if last or len(parts) == out_bits // in_bits:
            data = sum(part << in_bits * n for n, part in enumerate(parts))
            joined.append((data, last, (1 << in_bits * len(parts)) - 1))
            parts = []
    return joined


def cut(words, in_bits, out_bits):
    """Return the words out, likewise."""
    mask, parts = (1 << out_bits) - 1, in_bits // out_bits
    return [
        (value >> out_bits * n & mask, int(last and n == parts - 1), mask)
        for value, last in words
        for n in range(parts)
    ]


def reference(words, in_bits, out_bits):
    """Return what comes out when `words` go in."""
    return join(words, in_bits, out_bits) if out_bits >= in_bits else cut(words, in_bits, out_bits)


def check(got, expected, message):
    """Assert that the bits that are defined are right."""
    found = [(int(word.data) & mask, int(word.last), mask) for word, (_, _, mask) in zip(got, expected, strict=True)]
    assert found == expected, message


def run(words, in_bits, out_bits, *, gaps=(0.0, 0.0), seed=0):
    """Send words through a gearbox, compare what comes out, return a log of both sides, cycle by cycle."""
    dut = Gearbox(in_bits, out_bits)
    expected = reference(words, in_bits, out_bits)
    got, log = [], []
    items = [{"data": value, "last": last} for value, last in words]
    simulate(
        dut,
        source(dut.i, items, gaps[0], seed),
        sink(dut.o, got, len(expected), gaps[1], seed),
        background=[
            monitor(dut.o, seed),
            watch(log, i_valid=dut.i.valid, i_ready=dut.i.ready, o_valid=dut.o.valid, o_ready=dut.o.ready),
        ],
        what=f"(seed {seed})",
    )
    check(got, expected, f"{in_bits} to {out_bits} (seed {seed})")
    return log


def whole(count, in_bits, out_bits, rng):
    """Return random words in, without a partly filled word out; the last one has `last`."""
    total = count * max(1, out_bits // in_bits)
    return [(rng.getrandbits(in_bits), int(n == total - 1)) for n in range(total)]


def times(log, side):
    """Return the cycles in which a word passed."""
    return [cycle for cycle, entry in enumerate(log) if entry[f"{side}_valid"] and entry[f"{side}_ready"]]


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("in_bits, out_bits", WIDTHS)
def test_random(in_bits, out_bits, gaps, seed, rng):
    words = [(rng.getrandbits(in_bits), int(rng.random() < 0.2)) for _ in range(60)] + [(0, 1)]
    run(words, in_bits, out_bits, gaps=gaps, seed=seed)


@pytest.mark.parametrize("in_bits, out_bits", WIDTHS)
def test_corners(in_bits, out_bits, seed):
    """All zeros, all ones, a single bit anywhere, words that end after every possible number of parts."""
    parts = max(1, out_bits // in_bits)
    ones = (1 << in_bits) - 1
    words = [(0, 0)] * parts + [(ones, 0)] * parts
    words += [(1 << n, 1) for n in (0, in_bits // 2, in_bits - 1)]
    for length in range(1, parts + 1):
        words += [(ones, int(n == length - 1)) for n in range(length)]
    run(words, in_bits, out_bits, seed=seed)


@pytest.mark.parametrize("in_bits, out_bits", WIDTHS)
def test_word_a_cycle_on_the_narrow_side(in_bits, out_bits, rng):
    log = run(whole(20, in_bits, out_bits, rng), in_bits, out_bits)
    i_times, o_times = times(log, "i"), times(log, "o")
    narrow = i_times if in_bits <= out_bits else o_times
    assert narrow == list(range(narrow[0], narrow[0] + len(narrow)))
    parts = max(1, out_bits // in_bits)
    latency = 2 if in_bits <= out_bits else 1
    assert o_times[0] == i_times[parts - 1] + latency, "cycles from a word's last part to the word"


def test_word_that_is_held_is_not_overwritten(rng):
    """Two parts of the next word are taken before the one on offer is, and wait."""
    dut = Gearbox(8, 32)

    async def bench(ctx):
        values = [rng.getrandbits(8) for _ in range(4)]
        ctx.set(dut.i.valid, 1)
        for value in values:
            ctx.set(dut.i.p.data, value)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
        for value in (~values[0] & 0xFF, ~values[1] & 0xFF):
            ctx.set(dut.i.p.data, value)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
        ctx.set(dut.i.p.data, values[0])
        for _ in range(10):
            assert not ctx.get(dut.i.ready)
            assert ctx.get(dut.o.valid)
            assert ctx.get(dut.o.p.data) == int.from_bytes(bytes(values), "little")
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("in_bits, out_bits", [(8, 32), (32, 8), (8, 8)])
def test_nothing_comes_from_nothing(in_bits, out_bits):
    dut = Gearbox(in_bits, out_bits)

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.p.last, 1)
        for _ in range(5):
            assert not ctx.get(dut.o.valid)
            assert ctx.get(dut.i.ready)
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("in_bits, out_bits", [(8, 24), (24, 8), (8, 12), (0, 8), (8, 0), (64, 160)])
def test_widths_wrong(in_bits, out_bits):
    with pytest.raises(ValueError) as error:
        Gearbox(in_bits, out_bits)
    assert str(error.value) == f"widths must have a ratio that is a power of two, not {in_bits} and {out_bits}"


def test_reference_by_hand():
    """The reference itself, on words short enough to check by eye."""
    assert reference([(0x1, 0), (0x2, 0), (0x3, 1)], 4, 8) == [(0x21, 0, 0xFF), (0x3, 1, 0xF)]
    assert reference([(0x21, 0), (0x43, 1)], 8, 4) == [(1, 0, 15), (2, 0, 15), (3, 0, 15), (4, 1, 15)]
