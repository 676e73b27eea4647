"""Transfers cut into bursts: contiguous, complete, within AXI's rules, and no more of them than needed."""

import random

import pytest

from hw.bus.burst_splitter import BurstSplitter
from hw.interface.axi import MAX_BURST, PAGE_BYTES
from hw.params import HwParams
from tests.hw.bus_model import check_burst
from tests.hw.helpers import GAPS, as_dict, monitor, simulate, sink, source, watch

PARAMS = {bits: HwParams(in_par=4, rq_lanes=1, axi_bits=bits) for bits in (32, 64, 128)}


def bursts_of(address, beats, size):
    """Walk over a transfer beat by beat; a new burst starts at every multiple of the longest one."""
    found = []
    for n in range(beats):
        place = address + n * size
        if n == 0 or place % min(MAX_BURST * size, PAGE_BYTES) == 0:
            found.append({"address": place, "length": 0, "last": 0})
        found[-1]["length"] += 1
    found[-1]["last"] = 1
    return found


def run(transfers, params, *, gaps=(0.0, 0.0), seed=0):
    """Send transfers through, compare the bursts, return a log of both sides, cycle by cycle."""
    dut = BurstSplitter(params)
    expected = [burst for address, beats in transfers for burst in bursts_of(address, beats, params.axi_bytes)]
    got, log = [], []
    simulate(
        dut,
        source(dut.i, [{"address": address, "beats": beats} for address, beats in transfers], gaps[0], seed),
        sink(dut.o, got, len(expected), gaps[1], seed),
        background=[
            monitor(dut.o, seed),
            watch(log, i_valid=dut.i.valid, i_ready=dut.i.ready, o_valid=dut.o.valid, o_ready=dut.o.ready),
        ],
        what=f"(seed {seed})",
    )
    for burst in got:
        check_burst(burst, params, seed)
    assert [as_dict(burst) for burst in got] == expected, f"seed {seed}"
    return log


@pytest.mark.parametrize("bits", PARAMS)
def test_corners(bits):
    """Starts and ends just before, at and after the multiples of a burst and of a page."""
    params = PARAMS[bits]
    size = params.axi_bytes
    span = MAX_BURST * size
    offsets = {n + shift for n in (0, span, PAGE_BYTES) for shift in (-size, 0, size)}
    starts = sorted(0x8000_0000 + offset for offset in offsets)
    transfers = [(start, beats) for start in starts for beats in (1, 2, 63, 64, 65, 127, 128, 129)]
    transfers += [(0, 1), (0, MAX_BURST), (0xFFFF_F000, PAGE_BYTES // size), (0xFFFF_FFFF - size + 1, 1)]
    run(transfers, params)


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("bits", PARAMS)
def test_random(bits, gaps, seed):
    rng = random.Random(seed)
    params = PARAMS[bits]
    transfers = []
    for _ in range(60):
        beats = rng.choice([rng.randint(1, 5), rng.randint(1, 130), rng.randint(1, 600)])
        transfers.append((params.axi_bytes * rng.randrange(((1 << 32) // params.axi_bytes) - beats), beats))
    run(transfers, params, gaps=gaps, seed=seed)


@pytest.mark.parametrize("bits", PARAMS)
def test_longest_transfer(bits):
    """The first bursts of one as long as it can be written down."""
    params = PARAMS[bits]
    dut = BurstSplitter(params)
    bursts = []

    async def bench(ctx):
        ctx.set(dut.i.payload, {"address": 0, "beats": (1 << 30) - 1})
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)
        while len(bursts) < 20:
            _, _, valid, burst = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                bursts.append(as_dict(burst))

    simulate(dut, bench)
    size = MAX_BURST * params.axi_bytes
    assert bursts == [{"address": n * size, "length": MAX_BURST, "last": 0} for n in range(20)]


def test_cycles(seed):
    """Two cycles to the first burst, two from each to the next, and the next transfer right after the last one."""
    params = PARAMS[64]
    transfers = [(0, 5 * MAX_BURST), (8, 1), (8, MAX_BURST)]
    log = run(transfers, params, seed=seed)
    i_times = [n for n, entry in enumerate(log) if entry["i_valid"] and entry["i_ready"]]
    o_times = [n for n, entry in enumerate(log) if entry["o_valid"]]
    start = i_times[0]
    assert [n - start for n in o_times] == [2, 4, 6, 8, 10, 13, 16, 18]
    assert [n - start for n in i_times] == [0, 11, 14]


def test_reference_by_hand():
    assert bursts_of(0xFF0, 5, 8) == [
        {"address": 0xFF0, "length": 2, "last": 0},
        {"address": 0x1000, "length": 3, "last": 1},
    ]
