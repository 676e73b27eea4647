"""The MAC array: psums and decisions of all lanes, the slice's sum, and the ring rewritten under way."""

import random

import pytest

from hw.datapath.lane import Lane, tree_levels
from hw.datapath.mac_array import MacArray
from hw.interface.layouts import GateMode
from hw.params import LANES, HwParams
from tests.hw.helpers import as_dict, simulate


def params_of(in_par, slots=4):
    return HwParams(in_par=in_par, rq_lanes=1, ring_entries=16, psum_slots=slots)


def pack(values):
    return sum((value % 256) << (8 * k) for k, value in enumerate(values))


def wrap(value):
    return (value + 2**31) % 2**32 - 2**31


def latency_of(params):
    """Cycles from a job's last chunk to its end: a lane's, and one for each lane before the last."""
    return 4 + tree_levels(params) + LANES - 1


class Driver:
    """Feeds steps to the array and checks the end of each job at its cycle."""

    def __init__(self, params, seed, draw_code, draw_weight, gap, mode=GateMode.GATED):
        self.params, self.rng, self.gap = params, random.Random(seed), gap
        self.where = f"(seed {seed})"
        self.draw_code, self.draw_weight = draw_code, draw_weight
        self.mode = mode
        self.dut = MacArray(params)
        self.entries = [None] * params.ring_entries  # lanes x in_par weights
        self.psums = {}  # by slot, as of the last job that was begun
        self.decisions = {}  # by slot, parity and forced decisions of its base job, and of its conditional one
        self.outcomes = []  # fires word of every conditional job
        self.ended = {}  # by slot, cycle of its last end
        self.waiting = []  # (slot, cycle from which its conditional job may start)

    def draw_entry(self):
        return [[self.draw_weight(self.rng) for _ in range(self.params.in_par)] for _ in range(LANES)]

    async def write(self, ctx, addr):
        self.entries[addr] = entry = self.draw_entry()
        self.dut_write(ctx, addr, entry)
        await ctx.tick()
        ctx.set(self.dut.write_en, 0)

    def dut_write(self, ctx, addr, entry):
        ctx.set(self.dut.write_en, 1)
        ctx.set(self.dut.write_addr, addr)
        ctx.set(self.dut.write_data, pack([weight for lane in entry for weight in lane]))

    def plan(self, jobs):
        """Steps by cycle, ends by cycle, and which entry is rewritten in which cycle."""
        rng, params = self.rng, self.params
        steps, ends, rewrites = [], {}, {}
        last_use = [0] * params.ring_entries
        while len(ends) < jobs:
            while rng.random() < self.gap:
                steps.append(None)
            now = len(steps)
            may = [entry for entry in self.waiting if entry[1] <= now]
            # The lanes write one after the other: a slot is used again only after its job has left the last one.
            waiting = [slot for slot, _ in self.waiting]
            free = [slot for slot in range(params.psum_slots) if slot not in waiting and self.ended.get(slot, -1) < now]
            cond = bool(may) and rng.random() < 0.6
            if not cond and not free:
                steps.append(None)
                continue
            slot = may[0][0] if cond else rng.choice(free)
            total = list(self.psums[slot]) if cond else [0] * LANES
            if not cond:
                forced = rng.choice([0, 0xFF, rng.getrandbits(LANES), rng.getrandbits(LANES)])
                self.decisions[slot] = {"parity": rng.randrange(2), "forced": forced}
            length = rng.choice([1, 2, rng.randint(1, 9)])
            for n in range(length):
                cycle = len(steps)
                addr = rng.randrange(params.ring_entries)
                # Rewrite it some time after its last reader, all lanes of it, and before this one.
                if rng.random() < 0.3 and cycle - last_use[addr] > LANES + 10:
                    written = cycle - 5
                    if written not in rewrites:
                        self.entries[addr] = self.draw_entry()
                        rewrites[written] = (addr, self.entries[addr])
                last_use[addr] = cycle
                act = [self.draw_code(rng) for _ in range(params.in_par)]
                for lane in range(LANES):
                    total[lane] += sum(a * w for a, w in zip(act, self.entries[addr][lane], strict=True))
                control = {
                    "valid": 1,
                    "first": int(n == 0),
                    "last": int(n == length - 1),
                    "cond": int(cond),
                    "slot": slot,
                    **self.decisions[slot],
                }
                steps.append((act, control, addr))
            self.psums[slot] = total
            self.ended[slot] = len(steps) - 1 + latency_of(params)
            if cond:
                self.waiting.remove(may[0])
            elif rng.random() < 0.6:
                self.waiting.append((slot, len(steps) - 1 + latency_of(params)))
            ends[len(steps) - 1 + latency_of(params)] = (control, total)
        return steps, ends, rewrites

    def run(self, jobs):
        async def bench(ctx):
            await self.bench(ctx, jobs)

        simulate(self.dut, bench, what=self.where)

    async def bench(self, ctx, jobs):
        dut, rng, params = self.dut, self.rng, self.params
        for addr in range(params.ring_entries):
            await self.write(ctx, addr)
        await ctx.tick()
        steps, ends, rewrites = self.plan(jobs)
        thresholds = self.tied_thresholds(ends)
        ctx.set(dut.mode, self.mode)
        ctx.set(dut.thresholds, thresholds)
        slots, fired = {}, {}  # what they hold, and the decisions on them, a bit for each lane
        read, psums = None, None  # a slot that is being read; what the last read gave
        due = None  # the decisions of the cycle before
        for cycle in range(-Lane.WEIGHT_LEAD, len(steps) + latency_of(params) + 10):
            step = steps[cycle] if 0 <= cycle < len(steps) else None
            ahead = steps[cycle + Lane.WEIGHT_LEAD] if cycle + Lane.WEIGHT_LEAD < len(steps) else None
            ctx.set(dut.weight_addr, ahead[2] if ahead else rng.randrange(params.ring_entries))
            ctx.set(dut.act, pack(step[0]) if step else rng.getrandbits(params.chunk_bits))
            ctx.set(
                dut.control,
                step[1]
                if step
                else {
                    "valid": 0,
                    "last": 1,
                    "first": 1,
                    "cond": rng.randrange(2),
                    "slot": rng.randrange(params.psum_slots),
                    "parity": rng.randrange(2),
                    "forced": rng.getrandbits(LANES),
                },
            )
            if cycle in rewrites:
                self.dut_write(ctx, *rewrites[cycle])
            else:
                ctx.set(dut.write_en, 0)
            end = ctx.get(dut.end)
            assert end.valid == (cycle in ends), f"cycle {cycle} {self.where}"
            if due is not None:
                assert ctx.get(dut.fires) == due, f"cycle {cycle} {self.where}"
            due = None
            if cycle in ends:
                control, total = ends[cycle]
                for name in ("slot", "cond", "parity", "forced"):
                    assert end[name] == control[name], f"{name} in cycle {cycle} {self.where}"
                assert ctx.get(dut.saliency) == wrap(sum(total)), f"cycle {cycle} {self.where}"
                slot = control["slot"]
                if control["cond"]:
                    self.outcomes.append(fired[slot])
                else:
                    above = sum(
                        (psum > threshold) << n
                        for n, (psum, threshold) in enumerate(zip(total, thresholds[control["parity"]], strict=True))
                    )
                    due = above
                    fired[slot] = {GateMode.CHANNEL: above, GateMode.FORCED: control["forced"]}.get(self.mode, 0xFF)
                    slots[slot] = total
                # Of a conditional job only the lanes that fired have a new psum.
                slots[slot] = [total[n] if fired[slot] >> n & 1 else slots[slot][n] for n in range(LANES)]
            # The slot is registered, then what it holds; that stands until the next read.
            if psums is not None:
                assert as_dict(ctx.get(dut.psums)) == psums, f"psums in cycle {cycle} {self.where}"
            if read is not None:
                psums = slots[read]
            read = ends[cycle][0]["slot"] if cycle in ends else None
            ctx.set(dut.psum_read, int(read is not None))
            ctx.set(dut.psum_slot, rng.randrange(params.psum_slots) if read is None else read)
            await ctx.tick()

    def tied_thresholds(self, ends):
        """Thresholds that some base job's psums tie with, in every other lane that of another job."""
        thresholds = []
        for parity in range(2):
            totals = [total for control, total in ends.values() if not control["cond"] and control["parity"] == parity]
            thresholds.append([totals[n % len(totals)][n] if totals else 0 for n in range(LANES)])
        return thresholds


@pytest.mark.parametrize("gap", [0.0, 0.4])
@pytest.mark.parametrize("in_par", [2, 4])
def test_jobs(in_par, gap, seed):
    Driver(params_of(in_par), seed, lambda rng: rng.getrandbits(8), lambda rng: rng.randint(-127, 127), gap).run(60)


@pytest.mark.parametrize("in_par", [2, 8])
@pytest.mark.parametrize("mode", [GateMode.CHANNEL, GateMode.FORCED])
def test_decisions_of_lanes(mode, in_par, seed):
    # Each lane's slot takes the conditional job's sum, or does not, by the lane's own decision.
    driver = Driver(
        params_of(in_par), seed, lambda rng: rng.getrandbits(8), lambda rng: rng.randint(-127, 127), 0.1, mode
    )
    driver.run(60)
    for n in range(LANES):
        assert {word >> n & 1 for word in driver.outcomes} == {0, 1}, f"both outcomes in lane {n} (seed {seed})"


@pytest.mark.parametrize("slots", [2, 5, 16])
def test_slots(slots, seed):
    Driver(params_of(2, slots), seed, lambda rng: rng.getrandbits(8), lambda rng: rng.randint(-127, 127), 0.1).run(40)


@pytest.mark.parametrize("weight", [-127, 127])
def test_extreme_codes(weight, seed):
    Driver(params_of(8), seed, lambda rng: 255, lambda rng: weight, 0.0).run(15)


def test_lanes_are_apart():
    # Each lane with its own weight, so that lanes exchanged show: none is a multiple of another's neighbour.
    driver = Driver(params_of(2), 0, lambda rng: rng.getrandbits(8), None, 0.0)
    driver.draw_entry = lambda: [[n + 1, -(n + 1) // 2] for n in range(LANES)]
    driver.run(20)
