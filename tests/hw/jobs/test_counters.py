"""Counters: every cycle of a pass in exactly one of them."""

import random

from hw.interface.layouts import IdleCause
from hw.jobs.counters import Counters
from tests.hw.helpers import as_dict, simulate


def expected(events):
    """Count by the definition: a cycle is a base step, a conditional step, or idle for its cause."""
    counts = {"cycles": 0, "base_steps": 0, "cond_steps": 0, "decisions": 0, "fired": 0, "idle": [0] * len(IdleCause)}
    for event in events:
        counts["decisions"] += event["decided"]
        counts["fired"] += event["fired"]
        if not event["running"]:
            continue
        counts["cycles"] += 1
        if event["step"]:
            counts["cond_steps" if event["step_cond"] else "base_steps"] += 1
        else:
            counts["idle"][event["cause"].value] += 1
    return counts


def run(passes):
    """Run passes one after the other, each from a clear; return the counts after each."""
    dut = Counters()
    got = []

    async def bench(ctx):
        for batch in passes:
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            for _ in range(2):
                await ctx.tick()
            assert as_dict(ctx.get(dut.counts)) == expected([]), "cleared"
            for event in batch:
                for name, value in event.items():
                    ctx.set(getattr(dut, name), value)
                await ctx.tick()
            for name in ("running", "step", "step_cond", "decided", "fired"):
                ctx.set(getattr(dut, name), 0)
            for _ in range(3):  # registered twice, then counted
                await ctx.tick()
            got.append(as_dict(ctx.get(dut.counts)))
            for _ in range(5):
                await ctx.tick()
            assert as_dict(ctx.get(dut.counts)) == got[-1], "the counts stand"

    simulate(dut, bench)
    return got


def random_event(rng, running):
    decided = int(rng.random() < 0.3)
    return {
        "running": running,
        "step": rng.randrange(2),
        "step_cond": rng.randrange(2),
        "cause": rng.choice(list(IdleCause)),
        "decided": decided,
        "fired": decided and rng.randrange(2),
    }


def test_each_event_alone():
    quiet = {"running": 1, "step": 0, "step_cond": 0, "cause": IdleCause.START, "decided": 0, "fired": 0}
    passes = [[quiet | {"cause": cause}] for cause in IdleCause]
    passes += [[quiet | {"step": 1}], [quiet | {"step": 1, "step_cond": 1}]]
    # `step_cond` means nothing without a step, a step nothing outside of the pass.
    passes += [[quiet | {"step_cond": 1}], [quiet | {"running": 0, "step": 1}]]
    passes += [[quiet | {"decided": 1}], [quiet | {"decided": 1, "fired": 1}], [quiet | {"running": 0, "decided": 1}]]
    for events, got in zip(passes, run(passes), strict=True):
        assert got == expected(events), events


def test_sum_law(seed):
    rng = random.Random(seed)
    passes = []
    for _ in range(5):
        cycles = rng.randint(1, 200)
        passes.append([random_event(rng, 1) for _ in range(cycles)] + [random_event(rng, 0) for _ in range(5)])
    for events, got in zip(passes, run(passes), strict=True):
        assert got == expected(events), f"seed {seed}"
        steps = got["base_steps"] + got["cond_steps"]
        assert got["cycles"] == steps + sum(got["idle"]) == len(events) - 5, f"seed {seed}"
        assert got["fired"] <= got["decisions"]


def test_running_with_pauses(seed):
    rng = random.Random(seed)
    events = [random_event(rng, rng.randrange(2)) for _ in range(300)]
    assert run([events]) == [expected(events)], f"seed {seed}"
