"""Max-pooling: the greatest codes of windows of every size, written granule by granule, whatever the gaps."""

import random
from collections import deque

import pytest

from hw.datapath.max_pool import MaxPool
from hw.params import LANES, HwParams
from tests.hw.helpers import as_dict, simulate, source, ticks, until, watch

#: Granules of a word: 2, 4, 1, 16; words of a slice: 4, 1, 2, 1.
PARAMS = [
    HwParams(in_par=2, rq_lanes=1, bank_words=256, max_slices=16),
    HwParams(),
    HwParams(in_par=4, rq_lanes=4),
    HwParams(in_par=16, rq_lanes=1),
]

#: Cycles from a step to its word.
LATENCY = 6

UNSIGNED, SIGNED = (0, 255, 1, 254, 127, 128), (-128, 127, -1, 0, 126, -127)


def windows(params, registers, pixels, codes):
    """Return the words of all pixels: taps, codes of each tap, address."""
    count = max(1, LANES // params.in_par)
    found = []
    for pixel in pixels:
        flags = pixel["flags"]
        rows = registers["tap_row_last"] + 1 - flags["top"] - flags["bottom"]
        cols = registers["tap_col_last"] + 1 - flags["left"] - flags["right"]
        for number in range(count):
            taps = [[next(codes) for _ in range(params.in_par)] for _ in range(rows * cols)]
            job = {"tap_addr": pixel["tap_addr"], "tap_rows": rows - 1, "tap_cols": cols - 1}
            job["chunk"] = count * pixel["slice"] + number
            job["single"] = {"chunk": 1, "row": int(rows == 1), "col": int(cols == 1)}
            found.append((job, taps, pixel["ofmap_addr"] + number))
    return found


def steps(dut, words, jobs, gap, seed):
    """Background process in the place of the step generator and the banks: a job's words, one a cycle."""
    rng = random.Random(seed)
    queue = deque(words)
    on_way = deque([None] * LATENCY)
    active = []

    async def process(ctx):
        while True:
            step = active.pop(0) if active else None
            ready = not active and (step is not None or rng.random() >= gap)
            ctx.set(dut.job.ready, ready)
            on_way.append(step)
            now, following = on_way.popleft(), on_way[0]
            control = {"valid": 0, "first": rng.randrange(2), "last": rng.randrange(2)}
            ctx.set(dut.control, control if following is None else {"valid": 1, **following[1]})
            garbage = rng.getrandbits(dut.params.chunk_bits)
            ctx.set(dut.word, garbage if now is None else int.from_bytes(bytes(c & 255 for c in now[0]), "little"))
            _, _, valid, payload = await ctx.tick().sample(dut.job.valid, dut.job.payload)
            if valid and ready:
                jobs.append(as_dict(payload))
                taps = queue.popleft()[1] if queue else [[0]]
                active.extend(
                    (codes, {"first": int(n == 0), "last": int(n == len(taps) - 1)}) for n, codes in enumerate(taps)
                )

    return process


def run(params, registers, pixels, codes, gaps=(0.0, 0.0), seed=0):
    """Pool pixels; check jobs and writes, and return the log of all cycles."""
    dut, log, jobs = MaxPool(params), [], []
    words = windows(params, registers, pixels, iter(codes))

    async def bench(ctx):
        ctx.set(dut.layer, {"pool": 1, **registers})
        await ticks(ctx, 2)
        await source(dut.pixel, pixels, gaps[0], seed)(ctx)
        await until(ctx, dut.complete)
        await ticks(ctx, 40)

    signals = {name: getattr(dut, name) for name in ("write_en", "write", "complete")}
    simulate(
        dut,
        bench,
        background=[
            steps(dut, words, jobs, gaps[1], seed),
            watch(log, take=dut.job.valid & dut.job.ready, **signals),
        ],
        what=f"(seed {seed})",
    )
    assert jobs == [job for job, _, _ in words], f"seed {seed}"
    expected = [
        {"codes": [max(tap[n] for tap in taps) & 255 for n in part], "sub": sub, "addr": address}
        for _, taps, address in words
        for sub, part in enumerate(
            range(first, first + params.rq_lanes) for first in range(0, params.in_par, params.rq_lanes)
        )
    ]
    got = [as_dict(row["write"]) for row in log if row["write_en"]]
    for n, (granule, wanted) in enumerate(zip(got, expected, strict=False)):
        assert granule == wanted, f"granule {n} (seed {seed})"
    assert len(got) == len(expected), f"seed {seed}"
    ends = [n for n, row in enumerate(log) if row["complete"]]
    writes = [n for n, row in enumerate(log) if row["write_en"]]
    assert ends[-1] == writes[-1] and set(ends) <= set(writes), f"seed {seed}"
    # A job is known two cycles after it was taken.
    taken = [n for n, row in enumerate(log) if row["take"]]
    for end in ends:
        known = sum(n < end - 1 for n in taken)
        assert known * params.word_subs == sum(n <= end for n in writes), f"cycle {end} (seed {seed})"
    return log


def random_pixels(rng, params, count, pad=True):
    return [
        {
            "tap_addr": rng.randrange(params.bank_words),
            "ofmap_addr": rng.randrange(params.bank_words // 2),
            "slice": rng.randrange(params.max_slices),
            "flags": {name: int(pad and rng.random() < 0.3) for name in ("top", "left")}
            | {name: int(pad and rng.random() < 0.1) for name in ("bottom", "right")},
        }
        for _ in range(count)
    ]


def keep_a_tap(pixels, window):
    """A window of two has a tap in the map in each direction."""
    for pixel in pixels:
        for one, other in (("top", "bottom"), ("left", "right")):
            pixel["flags"][other] &= window > 2 or not pixel["flags"][one]
    return pixels


@pytest.mark.parametrize("params", PARAMS, ids=lambda p: f"{p.in_par}-{p.rq_lanes}")
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("gaps", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.7, 0.7)])
def test_the_greatest_code_of_every_window(params, signed, gaps, seed):
    rng = random.Random(seed)
    corners = SIGNED if signed else UNSIGNED
    for window in (2, 3):
        registers = {"tap_row_last": window - 1, "tap_col_last": window - 1, "signed_output": int(signed)}
        pixels = keep_a_tap(random_pixels(rng, params, 12), window)

        def codes():
            yield from (rng.choice(corners) for _ in range(9 * params.in_par))
            low = -128 if signed else 0
            while True:
                yield rng.choice(corners) if rng.random() < 0.2 else rng.randrange(low, low + 256)

        run(params, registers, pixels, codes(), gaps, seed)


@pytest.mark.parametrize("codes", [UNSIGNED, SIGNED])
def test_corners_in_every_order(codes):
    """Each two corner codes, in both orders, in windows of two taps."""
    params = PARAMS[0]
    flags = {"top": 1, "bottom": 0, "left": 0, "right": 0}
    pairs = [(a, b) for a in codes for b in codes]
    pixels = [{"tap_addr": 0, "ofmap_addr": n, "slice": 0, "flags": flags} for n in range(len(pairs))]
    flat = [code for pair in pairs for _ in range(4) for code in (pair[0], pair[1], pair[1], pair[0])]
    registers = {"tap_row_last": 1, "tap_col_last": 1, "signed_output": int(codes is SIGNED)}
    run(params, registers, pixels, flat)


@pytest.mark.parametrize("params", PARAMS, ids=lambda p: f"{p.in_par}-{p.rq_lanes}")
@pytest.mark.parametrize("window", [2, 3])
def test_a_tap_is_read_in_every_cycle(params, window):
    """Whole windows follow each other without a gap, as long as their words can be written."""
    registers = {"tap_row_last": window - 1, "tap_col_last": window - 1}
    count = max(1, LANES // params.in_par)
    pixels = random_pixels(random.Random(1), params, 8, pad=False)
    log = run(params, registers, pixels, iter(lambda: 7, None))
    taken = [n for n, row in enumerate(log) if row["take"]]
    assert {b - a for a, b in zip(taken, taken[1:], strict=False)} == {window**2 + max(4, params.word_subs) - 4}
    assert len(taken) == 8 * count


def test_steps_of_other_passes_are_nothing_to_it():
    dut, log = MaxPool(PARAMS[1]), []

    async def bench(ctx):
        ctx.set(dut.control, {"valid": 1, "first": 1, "last": 1})
        await ticks(ctx, 30)

    simulate(dut, bench, background=[watch(log, write=dut.write_en, complete=dut.complete, job=dut.job.valid)])
    assert len(log) >= 30 and not any(any(row.values()) for row in log)
