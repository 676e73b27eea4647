"""A lane of the MAC array: sums and decisions of whole jobs, at their cycles, with every operand at its extremes."""

import random
from collections import namedtuple

import pytest

from hw.datapath.lane import Lane, tree_levels
from hw.interface.layouts import GateMode
from hw.params import LANES, HwParams
from tests.hw.helpers import simulate

#: The end of a job: the cycle of its last step, that step's control, and the sum the job comes to.
End = namedtuple("End", "cycle control psum")


def params_of(in_par, slots=4):
    return HwParams(in_par=in_par, rq_lanes=1, ring_entries=32, psum_slots=slots)


def pack(values):
    """Codes of one chunk, or weights of one lane, as their bits."""
    return sum((value % 256) << (8 * k) for k, value in enumerate(values))


def wrap(value):
    return (value + 2**31) % 2**32 - 2**31


def plan_jobs(rng, params, weights, count, gap, chunk, longest=6):
    """Lay jobs out over the cycles: (act, control, weight address) or None; and the jobs' ends.

    A slot's conditional job comes after its base job's end: here after some cycles more than the lane needs.
    """
    steps, ends, psums = [], [], {}
    decisions = {}  # parity and forced decisions of a slot's base job, which its conditional job gets too
    ready = []  # slots whose base job ended, and from which cycle on their conditional job may start
    distance = 4 + tree_levels(params)
    while len(ends) < count:
        while rng.random() < gap:
            steps.append(None)
        may = [entry for entry in ready if entry[1] <= len(steps)]
        cond = bool(may) and rng.random() < 0.5
        waiting = [slot for slot, _ in ready]
        slots = [slot for slot in range(params.psum_slots) if slot not in waiting]
        if not cond and not slots:
            steps.append(None)
            continue
        slot = may[0][0] if cond else rng.choice(slots)
        total = psums[slot] if cond else 0
        if not cond:
            decisions[slot] = {"parity": rng.randrange(2), "forced": rng.getrandbits(LANES)}
        length = rng.choice([1, 2, rng.randint(1, longest)])
        for n in range(length):
            act, entry = chunk(rng), rng.randrange(len(weights))
            total += sum(a * w for a, w in zip(act, weights[entry], strict=True))
            control = {
                "valid": 1,
                "first": int(n == 0),
                "last": int(n == length - 1),
                "cond": int(cond),
                "slot": slot,
                **decisions[slot],
            }
            steps.append((act, control, entry))
        psums[slot] = total
        if cond:
            ready.remove(may[0])
        elif rng.random() < 0.6:
            ready.append((slot, len(steps) - 1 + distance))
        ends.append(End(len(steps) - 1, control, total))
    return steps, ends


def tied_thresholds(ends):
    """A threshold for each parity that some base job's psum ties with: others are above and below."""
    return [
        next(
            (end.psum for end in ends[len(ends) // 2 :] if not end.control["cond"] and end.control["parity"] == parity),
            0,
        )
        for parity in range(2)
    ]


def run(params, weights, steps, ends, rng, where, mode=GateMode.GATED, index=0):
    """Check `end`, the sums, the lane's decision and the slot for every job, and silence in all other cycles.

    Returns what became of the decisions: (conditional job, fired) of every job.
    """
    dut = Lane(params, index)
    latency = 4 + tree_levels(params)
    due = {end.cycle + latency: end for end in ends}
    thresholds = tied_thresholds(ends)
    outcomes = []

    async def bench(ctx):
        ctx.set(dut.mode, mode)
        ctx.set(dut.thresholds, thresholds)
        for addr, entry in enumerate(weights):
            ctx.set(dut.write_en, 1)
            ctx.set(dut.write_addr, addr)
            ctx.set(dut.write_data, pack(entry))
            await ctx.tick()
        ctx.set(dut.write_en, 0)
        await ctx.tick()
        before, fires_before = 0, 0
        slots, fired = {}, {}  # what they hold, and the decisions on them
        read, read_slot, psum = False, 0, None  # the two registers of a read; None is anything
        for cycle in range(-Lane.WEIGHT_LEAD, len(steps) + latency + 10):
            step = steps[cycle] if 0 <= cycle < len(steps) else None
            ahead = steps[cycle + Lane.WEIGHT_LEAD] if cycle + Lane.WEIGHT_LEAD < len(steps) else None
            ctx.set(dut.weight_addr, ahead[2] if ahead else rng.randrange(params.ring_entries))
            # Without a step the operands are anything, and so is what comes with `valid` = 0.
            ctx.set(dut.act, pack(step[0]) if step else rng.getrandbits(params.chunk_bits))
            ctx.set(
                dut.control,
                step[1]
                if step
                else {
                    "valid": 0,
                    "first": rng.randrange(2),
                    "last": rng.randrange(2),
                    "cond": rng.randrange(2),
                    "slot": rng.randrange(params.psum_slots),
                    "parity": rng.randrange(2),
                    "forced": rng.getrandbits(LANES),
                },
            )
            others, other_fires = rng.randint(-(2**31), 2**31 - 1), rng.getrandbits(LANES)
            ctx.set(dut.saliency, others)
            ctx.set(dut.fires, other_fires)
            end, stored = ctx.get(dut.end), {}
            assert end.valid == (cycle in due), f"cycle {cycle} {where}"
            if cycle in due:
                job = due[cycle]
                slot, cond, parity = job.control["slot"], job.control["cond"], job.control["parity"]
                assert end.last == 1, f"cycle {cycle} {where}"
                for name in ("slot", "cond", "parity", "forced"):
                    assert end[name] == job.control[name], f"{name} in cycle {cycle} {where}"
                assert ctx.get(dut.saliency_out) == wrap(before + job.psum), f"cycle {cycle} {where}"
                if not cond:
                    above = job.psum > thresholds[parity]
                    fired[slot] = {
                        GateMode.CHANNEL: above,
                        GateMode.FORCED: bool(job.control["forced"] >> index & 1),
                    }.get(mode, True)
                if not cond or fired[slot]:
                    stored = {slot: job.psum}  # from the next cycle on
                outcomes.append((bool(cond), fired[slot]))
            if cycle - 1 in due and not due[cycle - 1].control["cond"]:  # the decision, one cycle later
                job, fires = due[cycle - 1], ctx.get(dut.fires_out)
                above = job.psum > thresholds[job.control["parity"]]
                assert fires >> (LANES - 1) == above, f"cycle {cycle} {where}"
                # The lanes before this one are each a bit lower now.
                assert fires % (1 << (LANES - 1)) == fires_before >> 1, f"cycle {cycle} {where}"
            if psum is not None:
                assert ctx.get(dut.psum) == psum, f"psum in cycle {cycle} {where}"
            if read:
                psum = slots.get(read_slot)
            slots |= stored
            # A job's slot as soon as it is written; other slots now and then.
            read = cycle in due or rng.random() < 0.3
            read_slot = due[cycle].control["slot"] if cycle in due else rng.randrange(params.psum_slots)
            ctx.set(dut.psum_read, int(read))
            ctx.set(dut.psum_slot, read_slot)
            before, fires_before = others, other_fires
            await ctx.tick()
        for slot, expected in slots.items():
            ctx.set(dut.psum_read, 1)
            ctx.set(dut.psum_slot, slot)
            await ctx.tick()
            ctx.set(dut.psum_read, 0)
            await ctx.tick()
            assert ctx.get(dut.psum) == expected, f"slot {slot} at the end {where}"

    simulate(dut, bench, what=where)
    return outcomes


@pytest.mark.parametrize("gap", [0.0, 0.4])
@pytest.mark.parametrize("in_par", [2, 4, 8, 16])
def test_jobs(in_par, gap, seed):
    params, rng = params_of(in_par), random.Random(seed)
    weights = [[rng.randint(-127, 127) for _ in range(in_par)] for _ in range(params.ring_entries)]
    steps, ends = plan_jobs(rng, params, weights, 40, gap, lambda rng: [rng.getrandbits(8) for _ in range(in_par)])
    assert any(end.control["cond"] for end in ends)
    run(params, weights, steps, ends, rng, f"(seed {seed})")


@pytest.mark.parametrize("index", [0, 5, 7])
@pytest.mark.parametrize("mode", [GateMode.CHANNEL, GateMode.FORCED])
def test_decisions(mode, index, seed):
    # A conditional job of a lane that did not fire leaves the base psum in the slot.
    params, rng = params_of(4), random.Random(seed)
    weights = [[rng.randint(-127, 127) for _ in range(4)] for _ in range(params.ring_entries)]
    steps, ends = plan_jobs(rng, params, weights, 80, 0.1, lambda rng: [rng.getrandbits(8) for _ in range(4)])
    outcomes = run(params, weights, steps, ends, rng, f"(seed {seed})", mode, index)
    assert {(True, True), (True, False)} <= set(outcomes), f"conditional jobs of both outcomes (seed {seed})"


@pytest.mark.parametrize("mode", [GateMode.GATED, GateMode.DENSE, GateMode.BASE])
def test_no_decisions_in_other_modes(mode, seed):
    # What lies beside, thresholds or forced bits, holds no conditional job's sum back.
    params, rng = params_of(2), random.Random(seed)
    weights = [[rng.randint(-127, 127) for _ in range(2)] for _ in range(params.ring_entries)]
    steps, ends = plan_jobs(rng, params, weights, 30, 0.1, lambda rng: [rng.getrandbits(8) for _ in range(2)])
    outcomes = run(params, weights, steps, ends, rng, f"(seed {seed})", mode)
    assert (True, True) in outcomes and (True, False) not in outcomes


@pytest.mark.parametrize("excess, fire", [(-1, False), (0, False), (1, True)])
@pytest.mark.parametrize("parity", [0, 1])
def test_tie_does_not_fire(parity, excess, fire):
    # A psum just below, at and just above its threshold; the other slice's threshold would decide otherwise.
    params = params_of(2)
    dut = Lane(params)
    psum = 7 * 200

    async def bench(ctx):
        thresholds = [2**31 - 1 if fire else -(2**31)] * 2
        thresholds[parity] = psum - excess
        ctx.set(dut.mode, GateMode.CHANNEL)
        ctx.set(dut.thresholds, thresholds)
        ctx.set(dut.write_en, 1)
        ctx.set(dut.write_data, pack([7, 0]))
        ctx.set(dut.act, pack([200, 0]))
        for _ in range(4):
            await ctx.tick()
        for cond in range(2):
            ctx.set(dut.control, {"valid": 1, "first": 1, "last": 1, "cond": cond, "slot": 1, "parity": parity})
            await ctx.tick()
            ctx.set(dut.control, {"valid": 0})
            while not ctx.get(dut.end.valid):
                await ctx.tick()
            if not cond:
                await ctx.tick()
                assert ctx.get(dut.fires_out) >> (LANES - 1) == fire
        ctx.set(dut.psum_read, 1)
        ctx.set(dut.psum_slot, 1)
        await ctx.tick()
        ctx.set(dut.psum_read, 0)
        ctx.set(dut.psum_slot, 2)  # without a strobe it means nothing
        await ctx.tick()
        for _ in range(3):
            assert ctx.get(dut.psum) == (2 * psum if fire else psum)
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("in_par", [2, 16])
def test_extreme_codes(in_par, seed):
    params, rng = params_of(in_par), random.Random(seed)
    weights = [[rng.choice([-127, 127])] * in_par for _ in range(params.ring_entries)]
    weights[0], weights[1] = [-127] * in_par, [127] * in_par
    steps, ends = plan_jobs(rng, params, weights, 30, 0.0, lambda rng: [rng.choice([0, 255])] * in_par, longest=20)
    run(params, weights, steps, ends, rng, f"(seed {seed})")


@pytest.mark.parametrize("weight", [-127, 127])
def test_largest_psum(weight):
    # As many steps of 255 * 127 as an int32 holds: one more would leave its range.
    in_par = 16
    params = params_of(in_par)
    count = (2**31 - 1) // (255 * 127 * in_par)
    dut = Lane(params)

    async def bench(ctx):
        ctx.set(dut.write_en, 1)
        ctx.set(dut.write_data, pack([weight] * in_par))
        ctx.set(dut.act, pack([255] * in_par))
        for _ in range(4):
            await ctx.tick()
        ctx.set(dut.control, {"valid": 1, "first": 1, "slot": 1})
        await ctx.tick()
        ctx.set(dut.control, {"valid": 1, "slot": 1})
        for _ in range(count - 2):
            await ctx.tick()
        ctx.set(dut.control, {"valid": 1, "last": 1, "slot": 1})
        await ctx.tick()
        ctx.set(dut.control, {"valid": 0})
        while not ctx.get(dut.end.valid):
            await ctx.tick()
        assert ctx.get(dut.saliency_out) == 255 * weight * in_par * count
        ctx.set(dut.psum_read, 1)
        ctx.set(dut.psum_slot, 1)
        await ctx.tick()
        await ctx.tick()
        assert ctx.get(dut.psum) == 255 * weight * in_par * count

    simulate(dut, bench)


@pytest.mark.parametrize("in_par", [2, 16])
@pytest.mark.parametrize(
    "mode, forced", [(GateMode.GATED, 0), (GateMode.CHANNEL, 0), (GateMode.FORCED, 1), (GateMode.FORCED, 0xFE)]
)
def test_conditional_as_soon_as_the_slot_is_written(mode, forced, in_par, seed):
    # The slot is read one cycle before the accumulator: a conditional job may start four cycles after the base's last.
    params, rng = params_of(in_par), random.Random(seed)
    weights = [[rng.randint(-127, 127) for _ in range(in_par)] for _ in range(params.ring_entries)]
    steps, ends, total = [], [], 0
    for cond in (0, 1):
        act, entry = [rng.getrandbits(8) for _ in range(in_par)], rng.randrange(32)
        total += sum(a * w for a, w in zip(act, weights[entry], strict=True))
        control = {"valid": 1, "first": 1, "last": 1, "cond": cond, "slot": 2, "parity": 1, "forced": forced}
        steps.append((act, control, entry))
        ends.append(End(len(steps) - 1, control, total))
        steps += [None] * 3
    run(params, weights, steps, ends, rng, f"(seed {seed})", mode)


def test_chain_is_one_cycle_late(seed):
    # What a lane gets it hands to the next one a cycle later.
    params, rng = params_of(2), random.Random(seed)
    dut = Lane(params)

    async def bench(ctx):
        before = None
        for _ in range(30):
            now = {
                "weight_addr": rng.randrange(32),
                "act": rng.getrandbits(16),
                "control": {
                    "valid": 1,
                    "first": 1,
                    "last": rng.randrange(2),
                    "cond": 0,
                    "slot": rng.randrange(4),
                    "parity": rng.randrange(2),
                    "forced": rng.getrandbits(LANES),
                },
            }
            for name, value in now.items():
                ctx.set(getattr(dut, name), value)
            if before:
                assert ctx.get(dut.weight_addr_out) == before["weight_addr"]
                assert ctx.get(dut.act_out) == before["act"]
                control = ctx.get(dut.control_out)
                assert {name: control[name] for name in before["control"]} == before["control"]
            before = now
            await ctx.tick()

    simulate(dut, bench)
