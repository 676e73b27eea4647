"""The step generator against nested loops: every tap and chunk of every job, back to back."""

import random

import pytest

from hw.interface.layouts import GateMode
from hw.jobs.step_generator import StepGenerator
from tests.hw.helpers import SMALL, Conv, as_dict, simulate, source, watch

CASES = {
    "3x3, G 4, branch 1": Conv(size=(3, 3)),
    "3x3, G 4, branch 2": Conv(size=(3, 3), branch=2),
    "3x3, G 2, two chunks a group": Conv(size=(3, 4), groups=2, images=2),
    "3x3, G 2, branch 2, one chunk a group": Conv(size=(2, 3), groups=2, chunks=2, slices=2, branch=2),
    "3x3, no groups": Conv(size=(3, 3), groups=1, chunks=3, slices=2, mode=GateMode.BASE),
    "3x3 of one pixel": Conv(size=(1, 1), images=2),
    "3x3 of one row": Conv(size=(1, 4), groups=2, slices=2),
    "3x3 of one column": Conv(size=(4, 1), groups=2, slices=2),
    "3x3, stride 2": Conv(size=(5, 4), stride=2, groups=2, slices=2),
    "1x1": Conv(size=(2, 3), kernel=1, pad=0, groups=1, slices=2, mode=GateMode.BASE),
    "1x1, stride 2": Conv(size=(3, 3), kernel=1, pad=0, stride=2, groups=1, chunks=2, slices=2, mode=GateMode.BASE),
    "4x4 with weight_hold": Conv(
        size=(4, 4), kernel=4, pad=0, hold=True, groups=1, chunks=3, slices=3, images=2, mode=GateMode.BASE
    ),
    "addresses modulo": Conv(size=(3, 3), images=2, bases=(240, 0, 0), image_gap=3),
}


def job_of(conv, pixel, cond, slot, first_entry):
    """A job by the words of `Job`'s fields, from the loops: None if the path has no chunk."""
    chunks = conv.path_chunks(pixel["slice"], cond)
    if not chunks:
        return None, []
    params = conv.params
    taps = conv.taps(pixel["image"], pixel["row"], pixel["col"])
    steps = conv.steps(pixel["image"], pixel["row"], pixel["col"], pixel["slice"], cond, first_entry)
    tap_rows, tap_cols = len({tap[0] for tap in taps}), len({tap[1] for tap in taps})
    # A tap row's last entry lies one before its next row's first, but for the taps outside the map.
    outside = 0 if conv.hold else conv.kernel - tap_cols
    base = conv.path_chunks(pixel["slice"], False)
    job = {
        "cond": int(cond),
        "slot": slot,
        "tap_addr": taps[0][2],
        "tap_rows": tap_rows - 1,
        "tap_cols": tap_cols - 1,
        "chunk_first": chunks[0],
        "chunks": len(chunks) - 1,
        "single": {"chunk": int(len(chunks) == 1), "row": int(tap_rows == 1), "col": int(tap_cols == 1)},
        "skip_at": (base[0] - 1) % params.bank_words,
        "skip_to": (base[-1] + 1) % params.bank_words,
        "weight_addr": steps[0][1],
        "row_inc": (1 + outside * len(chunks)) % params.ring_entries,
        "parity": slot % 2,
        "forced": 37 * slot % 256,
    }
    expected = [
        {
            "ifmap": ifmap,
            "weight": weight,
            "first": int(n == 0),
            "last": int(n == len(steps) - 1),
            "cond": int(cond),
            "slot": slot,
            "parity": slot % 2,
            "forced": 37 * slot % 256,
        }
        for n, (ifmap, weight) in enumerate(steps)
    ]
    return job, expected


def run(conv, jobs, gap, seed):
    dut, log = StepGenerator(SMALL), []

    async def layer(ctx):
        ctx.set(dut.layer, conv.registers())

    async def tail(ctx):
        for job in jobs:
            await source(dut.i, [job], gap, rng.random())(ctx)
        await ctx.tick().until(~dut.issue)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(dut.issue) and not ctx.get(dut.control.valid), f"a step without a job (seed {seed})"

    rng = random.Random(seed)
    simulate(
        dut,
        layer,
        tail,
        background=[
            watch(
                log,
                issue=dut.issue,
                issue_cond=dut.issue_cond,
                ifmap=dut.ifmap_addr,
                weight=dut.weight_addr,
                control=dut.control,
                valid=dut.i.valid,
                ready=dut.i.ready,
            )
        ],
        what=f"(seed {seed})",
    )
    return log


def steps_of(log):
    return [
        {"ifmap": row["ifmap"], "weight": row["weight"]}
        | {name: as_dict(row["control"])[name] for name in ("first", "last", "cond", "slot", "parity", "forced")}
        for row in log
        if row["control"].valid
    ]


def check(conv, gap, seed, shuffle=True):
    rng = random.Random(seed)
    first_entry = rng.randrange(SMALL.ring_entries)  # the ring carries on where the last layer ended
    todo = [(pixel, cond) for pixel in conv.pixels() for cond in (False, True)]
    if shuffle:
        rng.shuffle(todo)
    jobs, expected = [], []
    for pixel, cond in todo[:60]:
        job, steps = job_of(conv, pixel, cond, rng.randrange(SMALL.psum_slots), first_entry)
        if job:
            jobs.append(job)
            expected += steps
    log = run(conv, jobs, gap, seed)
    got = steps_of(log)
    for n, (step, wanted) in enumerate(zip(got, expected, strict=False)):
        assert step == wanted, f"step {n} (seed {seed})"
    assert len(got) == len(expected), f"seed {seed}"
    for before, row in zip(log, log[1:], strict=False):
        # The outputs are those of the step issued in the cycle before.
        assert row["control"].valid == before["issue"]
        if before["issue"]:
            assert row["control"].cond == before["issue_cond"]
    return log, expected, jobs


@pytest.mark.parametrize("name", CASES)
def test_steps(name, seed):
    log, expected, jobs = check(CASES[name], 0.0, seed)
    # Jobs without a bubble: the first step comes in the cycle after its job, the last one `steps` cycles later.
    issued = [cycle for cycle, row in enumerate(log) if row["issue"]]
    first = next(cycle for cycle, row in enumerate(log) if row["valid"] and row["ready"]) + 1
    assert issued == list(range(first, first + len(expected)))


@pytest.mark.parametrize("gap", [0.3, 0.9])
@pytest.mark.parametrize("name", ["3x3, G 4, branch 1", "3x3, G 2, two chunks a group", "1x1", "4x4 with weight_hold"])
def test_gaps(name, gap, seed):
    check(CASES[name], gap, seed)


def test_order_of_one_pixel():
    # Written out: the corner of a 2 x 2 map, two chunks, both of the base path; entries 8 to 11 and 14 to 17 of 18.
    conv = Conv(size=(2, 2), groups=1, chunks=2, slices=1, mode=GateMode.BASE)
    corner = next(conv.pixels())
    job, _ = job_of(conv, corner, False, 2, 0)
    log = run(conv, [job], 0.0, 0)
    assert [(step["ifmap"], step["weight"]) for step in steps_of(log)] == [
        (0, 8),
        (1, 9),
        (2, 10),
        (3, 11),
        (4, 14),
        (5, 15),
        (6, 16),
        (7, 17),
    ]
    assert [(step["first"], step["last"]) for step in steps_of(log)] == [(1, 0)] + [(0, 0)] * 6 + [(0, 1)]
    assert {step["slot"] for step in steps_of(log)} == {2}


def test_shortest_jobs():
    # One step a job: a new one in every cycle.
    conv = Conv(size=(2, 3), kernel=1, pad=0, groups=1, chunks=1, slices=1, mode=GateMode.BASE)
    jobs = [job_of(conv, pixel, False, n % SMALL.psum_slots, 0)[0] for n, pixel in enumerate(conv.pixels())]
    log = run(conv, jobs, 0.0, 0)
    assert [step["ifmap"] for step in steps_of(log)] == list(range(6))
    assert all(step["first"] and step["last"] for step in steps_of(log))


def test_ready_only_when_the_next_step_is_free(seed):
    # `ready` beside a job's last step, and not before: the job that is offered would overwrite it.
    conv = CASES["3x3, G 4, branch 1"]
    log, _, _ = check(conv, 0.0, seed, shuffle=False)
    for before, row in zip(log, log[1:], strict=False):
        if before["issue"]:
            assert before["ready"] == row["control"].last
