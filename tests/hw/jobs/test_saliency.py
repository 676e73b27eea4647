"""The saliency comparator: ties, int32 extremes, modes, and decisions in order under backpressure."""

import random

import pytest

from hw.interface.layouts import GateMode
from hw.jobs.saliency import SaliencyComparator
from hw.params import LANES
from tests.hw.helpers import INT32_MAX, INT32_MIN, SMALL, as_dict, monitor, simulate, watch

LATENCY = 3


#: Modes in which decisions are made, and leave.
DECIDING = (GateMode.GATED, GateMode.CHANNEL, GateMode.FORCED)


def fires(mode, job):
    """A bit for each channel. Gated: greater than K, a tie does not fire; dense always, base never.

    In channel mode the lanes have decided, in forced mode whoever gave the job its decisions.
    """
    return {
        GateMode.GATED: 0xFF * (job["saliency"] > job["threshold"]),
        GateMode.DENSE: 0xFF,
        GateMode.BASE: 0,
        GateMode.CHANNEL: job["fires"],
        GateMode.FORCED: job["forced"],
    }[mode]


def run(mode, jobs, gap=0.0, o_gap=0.0, seed=0):
    """Play jobs {cond, pixel, saliency, threshold, fires, forced}. At most a decision of each psum slot is out.

    Returns the log of every cycle and, by cycle, the job whose end entered then.
    """
    dut, rng, log, entered = SaliencyComparator(SMALL), random.Random(seed), [], {}

    async def bench(ctx):
        ctx.set(dut.layer, {"mode": mode})
        cycle, out = 0, 0  # decisions issued and not taken

        async def tick():
            nonlocal cycle, out
            ctx.set(dut.mask.ready, rng.random() >= o_gap)
            _, _, taken = await ctx.tick().sample(dut.mask_taken)
            out -= taken
            cycle += 1

        async def drain():
            while out:
                await tick()

        places = {}  # which pixel was issued into a slot
        for job in jobs:
            while not job["cond"] and mode in DECIDING and out == SMALL.psum_slots:
                await tick()
            if job["cond"]:
                slot = rng.choice(sorted(places)) if places else None
                job["pixel"] = places.get(slot)
                if slot is None:
                    continue
            else:
                slot = rng.randrange(SMALL.psum_slots)
                out += mode in DECIDING
                places[slot] = job["pixel"]
                ctx.set(dut.issue, 1)
                ctx.set(dut.issue_slot, slot)
                ctx.set(dut.pixel, job["pixel"])
                await tick()
                ctx.set(dut.issue, 0)
                ctx.set(dut.pixel, {"slice": rng.randrange(4), "row": rng.randrange(16)})
            while rng.random() < gap:
                await tick()
            job["slot"] = slot
            parity = job["pixel"]["slice"] % 2
            # The other slice's threshold would decide otherwise.
            other = INT32_MIN if job["saliency"] <= job["threshold"] else INT32_MAX
            for n in range(2):
                ctx.set(dut.contexts[n].thresholds, [job["threshold"] if n == parity else other] * LANES)
            ctx.set(
                dut.i,
                {
                    "valid": 1,
                    "last": 1,
                    "cond": int(job["cond"]),
                    "slot": slot,
                    "parity": parity,
                    "forced": job["forced"],
                },
            )
            ctx.set(dut.saliency, job["saliency"])
            entered[cycle] = job
            await tick()
            ctx.set(dut.fires, job["fires"])  # one cycle later
            ctx.set(
                dut.i,
                {
                    "valid": 0,
                    "last": 1,
                    "cond": rng.randrange(2),
                    "slot": rng.randrange(4),
                    "parity": rng.randrange(2),
                    "forced": rng.getrandbits(LANES),
                },
            )
            ctx.set(dut.saliency, INT32_MAX)
        await drain()
        for _ in range(10):
            await tick()

    simulate(
        dut,
        bench,
        background=[
            monitor(dut.mask, seed),
            watch(
                log,
                end=dut.end,
                decided=dut.decided,
                fired=dut.fired,
                valid=dut.mask.valid,
                ready=dut.mask.ready,
                record=dut.mask.payload,
                taken=dut.mask_taken,
            ),
        ],
        what=f"(seed {seed})",
    )
    return log, entered


def check(mode, jobs, gap=0.0, o_gap=0.0, seed=0):
    log, entered = run(mode, jobs, gap, o_gap, seed)
    decisions = []
    for cycle, row in enumerate(log):
        where = f"cycle {cycle} (seed {seed})"
        job = entered.get(cycle - LATENCY)
        end = as_dict(row["end"])
        decided = job is not None and not job["cond"] and mode in DECIDING
        assert end["valid"] == (job is not None), where
        assert row["decided"] == decided, where
        assert row["taken"] == (row["valid"] and row["ready"]), where
        if job is None:
            assert not row["fired"], where
            continue
        bits = 0 if job["cond"] else fires(mode, job)
        fire = bits != 0
        assert end == {
            "valid": 1,
            "base": int(not job["cond"]),
            "fire": int(fire),
            "slot": job["slot"],
            "parity": job["pixel"]["slice"] % 2,
        }, where
        assert row["fired"] == (decided and fire), where
        if decided:
            place = {name: job["pixel"][name] for name in ("slice", "col", "row", "image")}
            decisions.append({"fire": bits} | place)
    assert [as_dict(row["record"]) for row in log if row["taken"]] == decisions, f"seed {seed}"
    return decisions


def random_pixel(rng, slice_=None):
    return {
        "image": rng.randrange(4),
        "row": rng.randrange(16),
        "col": rng.randrange(16),
        "slice": rng.randrange(16) if slice_ is None else slice_,
    }


def random_bits(rng):
    """Decisions of 8 channels: none, one, all or any."""
    return rng.choice([0, 0, 1 << rng.randrange(LANES), 0xFF, rng.getrandbits(LANES)])


def random_jobs(rng, count):
    jobs = []
    for _ in range(count):
        threshold = rng.choice([INT32_MIN, -1, 0, 1, INT32_MAX, rng.randint(INT32_MIN, INT32_MAX)])
        saliency = rng.choice([threshold, threshold + 1, threshold - 1, rng.randint(INT32_MIN, INT32_MAX)])
        jobs.append(
            {
                "cond": rng.random() < 0.3,
                "pixel": random_pixel(rng),
                "saliency": min(max(saliency, INT32_MIN), INT32_MAX),
                "threshold": threshold,
                "fires": random_bits(rng),
                "forced": random_bits(rng),
            }
        )
    return jobs


def test_tie_does_not_fire():
    values = [
        (saliency, threshold)
        for threshold in (-5, -1, 0, 1, 2**16, INT32_MIN + 1, INT32_MAX - 1)
        for saliency in (threshold - 1, threshold, threshold + 1)
    ]
    rng = random.Random(0)
    decisions = check(
        GateMode.GATED,
        [
            {
                "cond": False,
                "pixel": random_pixel(rng),
                "saliency": saliency,
                "threshold": threshold,
                "fires": random_bits(rng),
                "forced": random_bits(rng),
            }
            for saliency, threshold in values
        ],
    )
    assert [decision["fire"] for decision in decisions] == [0, 0, 0xFF] * 7


def test_extreme_thresholds():
    # The saliency is never -2^31 itself, so K = -2^31 always fires; K = 2^31 - 1 never does.
    rng = random.Random(0)
    saliencies = [INT32_MIN + 1, INT32_MIN + 2, -1, 0, 1, INT32_MAX - 1, INT32_MAX]
    for threshold, fire in ((INT32_MIN, 0xFF), (INT32_MAX, 0)):
        decisions = check(
            GateMode.GATED,
            [
                {
                    "cond": False,
                    "pixel": random_pixel(rng),
                    "saliency": saliency,
                    "threshold": threshold,
                    "fires": random_bits(rng),
                    "forced": random_bits(rng),
                }
                for saliency in saliencies
            ],
        )
        assert {decision["fire"] for decision in decisions} == {fire}


@pytest.mark.parametrize("mode", list(GateMode))
@pytest.mark.parametrize("gap, o_gap", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.9), (0.5, 0.7)])
def test_random(mode, gap, o_gap, seed):
    check(mode, random_jobs(random.Random(seed), 80), gap, o_gap, seed)


@pytest.mark.parametrize(
    "mode, source, other", [(GateMode.CHANNEL, "fires", "forced"), (GateMode.FORCED, "forced", "fires")]
)
def test_one_channel_is_enough(mode, source, other):
    # The slice fires if any channel does, and the record says which; saliency and threshold do not matter.
    rng = random.Random(0)
    words = [1 << n for n in range(LANES)] + [0, 0xFF, 0xA5, 0x5A]
    jobs = [
        {
            "cond": False,
            "pixel": random_pixel(rng),
            "saliency": saliency,
            "threshold": 0,
            source: word,
            other: 0xFF ^ word,
        }
        for word in words
        for saliency in (-1, 1)
    ]
    decisions = check(mode, jobs)
    assert [decision["fire"] for decision in decisions] == [word for word in words for _ in range(2)]


def test_holds_a_decision_of_every_slot():
    # Nobody takes decisions: one for each slot waits, then all leave in order.
    dut = SaliencyComparator(SMALL)
    slots = SMALL.psum_slots

    async def bench(ctx):
        for n in range(slots):
            ctx.set(dut.issue, 1)
            ctx.set(dut.issue_slot, n)
            ctx.set(dut.pixel, {"col": n, "row": 2 * n, "slice": n, "image": n % 4})
            await ctx.tick()
        ctx.set(dut.issue, 0)
        for n in range(slots):  # one a cycle
            ctx.set(dut.i, {"valid": 1, "last": 1, "slot": n})
            ctx.set(dut.saliency, n % 2)
            await ctx.tick()
        ctx.set(dut.i, {"valid": 0})
        for _ in range(20):
            assert not ctx.get(dut.mask_taken)
            await ctx.tick()
        ctx.set(dut.mask.ready, 1)
        got = []
        for _ in range(20):
            if ctx.get(dut.mask.valid):
                got.append(as_dict(ctx.get(dut.mask.payload)))
            await ctx.tick()
        assert got == [
            {"fire": 0xFF * (n % 2), "slice": n, "col": n, "row": 2 * n, "image": n % 4} for n in range(slots)
        ]

    simulate(dut, bench, background=[monitor(dut.mask)])
