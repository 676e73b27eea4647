"""A lane of the MAC array: sums of whole jobs in their slots, at their cycles, with every operand at its extremes."""

import random

import pytest

from hw.lane import Lane, tree_levels
from hw.params import HwParams
from tests.hw.helpers import simulate


def params_of(in_par, slots=4):
    return HwParams(in_par=in_par, rq_lanes=1, ring_entries=32, psum_slots=slots)


def pack(values):
    """Codes of one chunk, or weights of one lane, as their bits."""
    return sum((value % 256) << (8 * k) for k, value in enumerate(values))


def wrap(value):
    return (value + 2**31) % 2**32 - 2**31


def plan_jobs(rng, params, weights, count, gap, chunk, longest=6):
    """Lay jobs out over the cycles: (act, control, weight address) or None; and for each job its last cycle and psum.

    A slot's conditional job comes after its base job's end: here after some cycles more than the lane needs.
    """
    steps, ends, psums = [], [], {}
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
        length = rng.choice([1, 2, rng.randint(1, longest)])
        for n in range(length):
            act, entry = chunk(rng), rng.randrange(len(weights))
            total += sum(a * w for a, w in zip(act, weights[entry], strict=True))
            control = {"valid": 1, "first": int(n == 0), "last": int(n == length - 1), "cond": int(cond), "slot": slot}
            steps.append((act, control, entry))
        psums[slot] = total
        if cond:
            ready.remove(may[0])
        elif rng.random() < 0.6:
            ready.append((slot, len(steps) - 1 + distance))
        ends.append((len(steps) - 1, slot, total, cond))
    return steps, ends


def run(params, weights, steps, ends, rng, where):
    """Check `end`, `saliency_out` and the slot for every job, and silence in all other cycles."""
    dut = Lane(params)
    latency = 4 + tree_levels(params)
    due = {cycle + latency: (slot, psum, cond) for cycle, slot, psum, cond in ends}

    async def bench(ctx):
        for addr, entry in enumerate(weights):
            ctx.set(dut.write_en, 1)
            ctx.set(dut.write_addr, addr)
            ctx.set(dut.write_data, pack(entry))
            await ctx.tick()
        ctx.set(dut.write_en, 0)
        await ctx.tick()
        before = 0
        final = {}
        for cycle in range(-2, len(steps) + latency + 10):
            step = steps[cycle] if 0 <= cycle < len(steps) else None
            ahead = steps[cycle + 2] if cycle + 2 < len(steps) else None
            ctx.set(dut.weight_addr, ahead[2] if ahead else rng.randrange(params.ring_entries))
            # Without a step the operands are anything, and so is what comes with `valid` = 0.
            ctx.set(dut.act, pack(step[0]) if step else rng.getrandbits(params.chunk_bits))
            ctx.set(dut.control, step[1] if step else {
                "valid": 0, "first": rng.randrange(2), "last": rng.randrange(2), "cond": rng.randrange(2),
                "slot": rng.randrange(params.psum_slots)})
            others = rng.randint(-2**31, 2**31 - 1)
            ctx.set(dut.saliency, others)
            end = ctx.get(dut.end)
            assert end.valid == (cycle in due), f"cycle {cycle} {where}"
            if cycle in due:
                slot, psum, cond = due[cycle]
                assert (end.slot, end.cond, end.last) == (slot, cond, 1), f"cycle {cycle} {where}"
                assert ctx.get(dut.saliency_out) == wrap(before + psum), f"cycle {cycle} {where}"
                ctx.set(dut.psum_slot, slot)
                assert ctx.get(dut.psum) == psum, f"slot {slot} in cycle {cycle} {where}"
                final[slot] = psum
            before = others
            await ctx.tick()
        for slot, psum in final.items():
            ctx.set(dut.psum_slot, slot)
            assert ctx.get(dut.psum) == psum, f"slot {slot} at the end {where}"

    simulate(dut, bench, what=where)


@pytest.mark.parametrize("gap", [0.0, 0.4])
@pytest.mark.parametrize("in_par", [2, 4, 8, 16])
def test_jobs(in_par, gap, seed):
    params, rng = params_of(in_par), random.Random(seed)
    weights = [[rng.randint(-127, 127) for _ in range(in_par)] for _ in range(params.ring_entries)]
    steps, ends = plan_jobs(rng, params, weights, 40, gap, lambda rng: [rng.getrandbits(8) for _ in range(in_par)])
    assert any(cond for *_, cond in ends)
    run(params, weights, steps, ends, rng, f"(seed {seed})")


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
        ctx.set(dut.psum_slot, 1)
        assert ctx.get(dut.psum) == ctx.get(dut.saliency_out) == 255 * weight * in_par * count

    simulate(dut, bench)


def test_conditional_as_soon_as_the_slot_is_written(seed):
    # The slot is read one cycle before the accumulator: a conditional job may start three cycles after the base's last.
    params, rng = params_of(4), random.Random(seed)
    weights = [[rng.randint(-127, 127) for _ in range(4)] for _ in range(params.ring_entries)]
    steps, ends, total = [], [], 0
    for cond in (0, 1):
        act, entry = [rng.getrandbits(8) for _ in range(4)], rng.randrange(32)
        total += sum(a * w for a, w in zip(act, weights[entry], strict=True))
        steps.append((act, {"valid": 1, "first": 1, "last": 1, "cond": cond, "slot": 2}, entry))
        ends.append((len(steps) - 1, 2, total, cond))
        steps += [None] * 2
    run(params, weights, steps, ends, rng, f"(seed {seed})")


def test_chain_is_one_cycle_late(seed):
    # What a lane gets it hands to the next one a cycle later.
    params, rng = params_of(2), random.Random(seed)
    dut = Lane(params)

    async def bench(ctx):
        before = None
        for _ in range(30):
            now = {"weight_addr": rng.randrange(32), "act": rng.getrandbits(16),
                   "control": {"valid": 1, "first": 1, "last": rng.randrange(2), "cond": 0, "slot": rng.randrange(4)}}
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
