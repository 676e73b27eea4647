"""The pixel walker against nested loops: order, addresses, border flags, and slices opened in time."""

import itertools
import random

import pytest

from hw.interface.layouts import GateMode
from hw.jobs.pixel_walker import PixelWalker
from tests.hw.helpers import GAPS, SMALL, Conv, as_dict, monitor, simulate, until, watch

CASES = {
    "3x3": Conv(size=(3, 4)),
    "3x3 of one row": Conv(size=(1, 5), slices=2, groups=2),
    "3x3 of one column": Conv(size=(4, 1), slices=2, groups=2, branch=2),
    "3x3 of one pixel": Conv(size=(1, 1), images=2, chunks=2, groups=1, slices=3),
    "stride 2, even": Conv(size=(4, 6), stride=2, images=2, slices=2, groups=2),
    "stride 2, odd": Conv(size=(5, 3), stride=2, images=2, slices=2, groups=2),
    # The first pixel's first tap lies before word 0, and after the last word for the bank's second half.
    "addresses modulo": Conv(size=(3, 3), images=3, bases=(250, 200, 130), image_gap=5, chunks=2, groups=2, slices=2),
    "1x1": Conv(size=(3, 3), kernel=1, pad=0, images=2, groups=1, slices=2, mode=GateMode.BASE),
    "1x1 stride 2": Conv(size=(4, 4), kernel=1, pad=0, stride=2, groups=1, mode=GateMode.BASE),
    "4x4 classifier": Conv(size=(4, 4), kernel=4, pad=0, hold=True, images=4, chunks=2, groups=1, mode=GateMode.BASE),
    "largest slice number": Conv(size=(1, 2), slices=16, groups=1, chunks=1),
    "images at their limit": Conv(size=(2, 2), images=4, slices=2, groups=2, chunks=2),
}


async def start(ctx, dut, conv):
    ctx.set(dut.layer, conv.registers())
    ctx.set(dut.begin, 1)
    await ctx.tick()
    ctx.set(dut.begin, 0)


def run(convs, o_gap=0.0, open_delay=lambda rng: 0, seed=0):
    """Walk over layers, one after the other without a reset. Return what was seen in every cycle."""
    dut, log = PixelWalker(SMALL), []

    async def bench(ctx):
        assert ctx.get(dut.done), "nothing to do after reset"
        for conv in convs:
            await start(ctx, dut, conv)
            while not ctx.get(dut.done):
                await ctx.tick()
            for _ in range(10):  # and then silence
                await ctx.tick()

    async def table(ctx):
        # Allows a slice after a delay; the answer may be withdrawn by nobody but the walker's own `open`.
        rng = random.Random(seed)
        while True:
            ctx.set(dut.can_open, 0)
            for _ in range(open_delay(rng)):
                await ctx.tick()
            ctx.set(dut.can_open, 1)
            await until(ctx, dut.open)

    async def consumer(ctx):
        rng = random.Random(seed + 1)
        while True:
            ctx.set(dut.o.ready, rng.random() >= o_gap)
            await ctx.tick()

    simulate(
        dut,
        bench,
        background=[
            monitor(dut.o, seed),
            table,
            consumer,
            watch(
                log,
                begin=dut.begin,
                done=dut.done,
                open=dut.open,
                can_open=dut.can_open,
                valid=dut.o.valid,
                ready=dut.o.ready,
                payload=dut.o.payload,
            ),
        ],
    )
    return log


def check(convs, log, seed):
    expected = [pixel for conv in convs for pixel in conv.pixels()]
    ends = list(itertools.accumulate((len(list(conv.pixels())) for conv in convs), initial=0))
    got, opened, layer = [], 0, -1
    for cycle, row in enumerate(log):
        where = f"cycle {cycle} (seed {seed})"
        if row["begin"]:
            opened, layer = 0, layer + 1
        else:
            # Not done before the last pixel was taken.
            assert not row["done"] or len(got) == ends[layer + 1], where
        if row["open"]:
            assert row["can_open"] and not row["valid"], where
            opened += 1
        if row["valid"]:
            pixel = as_dict(row["payload"])
            assert opened == pixel["slice"] + 1, f"{where}: the newest slice must be that of the pixel on offer"
            if row["ready"]:
                assert pixel == expected[len(got)], f"pixel {len(got)}, {where}"
                got.append(pixel)
    assert len(got) == len(expected)
    assert opened == convs[-1].slices


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("o_gap", [0.0, 0.6])
def test_order(name, o_gap, seed):
    check([CASES[name]], run([CASES[name]], o_gap, seed=seed), seed)


@pytest.mark.parametrize("o_gap, delay", GAPS)
def test_layers_in_turn(o_gap, delay, seed):
    convs = [CASES[name] for name in ("stride 2, even", "4x4 classifier", "3x3 of one pixel", "addresses modulo")]
    check(convs, run(convs, o_gap, lambda rng: rng.randrange(20) if delay else 0, seed), seed)


def test_waits_for_the_table(seed):
    conv = CASES["3x3 of one pixel"]
    log = run([conv], open_delay=lambda rng: 30, seed=seed)
    check([conv], log, seed)
    assert sum(row["open"] for row in log) == conv.slices
    assert len(log) > 30 * conv.slices


def test_rate():
    # A pixel every two cycles within an image; a new image or slice may cost a few more.
    conv = Conv(size=(4, 8), images=2, slices=2, groups=2, chunks=2)
    log = run([conv])
    taken = [(cycle, as_dict(row["payload"])) for cycle, row in enumerate(log) if row["valid"] and row["ready"]]
    for (cycle, pixel), (after, following) in zip(taken, taken[1:], strict=False):
        if (following["row"], following["col"]) == (0, 0):
            assert after - cycle <= 5
        else:
            assert after - cycle == 2, f"from {pixel} to {following}"
