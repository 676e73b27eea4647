"""The scheduler between walker, slice table and a model of everything behind it: which job runs when, and why none."""

import random
from collections import deque

import pytest
from amaranth import *

from hw.interface.layouts import GateMode, IdleCause
from hw.jobs.pixel_walker import PixelWalker
from hw.jobs.scheduler import Scheduler
from hw.jobs.slice_table import SliceTable
from hw.params import LANES, HwParams
from tests.hw.helpers import SMALL, Conv, as_dict, monitor, simulate

#: Modes in which each base job's decision leaves.
DECIDING = (GateMode.GATED, GateMode.CHANNEL, GateMode.FORCED)


class FrontEnd(Elaboratable):
    """Walker, slice table and scheduler, wired as in the core."""

    def __init__(self, params):
        self.walker, self.table, self.scheduler = PixelWalker(params), SliceTable(params), Scheduler(params)

    def elaborate(self, platform):
        m = Module()
        m.submodules.walker, m.submodules.table, m.submodules.scheduler = self.walker, self.table, self.scheduler
        walker, table, scheduler = self.walker, self.table, self.scheduler
        m.d.comb += [
            walker.layer.eq(scheduler.layer),
            table.layer.eq(scheduler.layer),
            walker.begin.eq(scheduler.begin),
            table.begin.eq(scheduler.begin),
            table.open.eq(walker.open),
            walker.can_open.eq(table.can_open),
            scheduler.pixel.payload.eq(walker.o.payload),
            scheduler.pixel.valid.eq(walker.o.valid),
            walker.o.ready.eq(scheduler.pixel.ready),
            table.issue.eq(scheduler.issue),
            table.issue_last.eq(walker.o.p.last),
            table.end.eq(scheduler.end),
            scheduler.contexts.eq(table.contexts),
            scheduler.newest.eq(table.newest),
            scheduler.oldest.eq(table.oldest),
            scheduler.base_ready.eq(table.base_ready),
            scheduler.cond_ready.eq(table.cond_ready),
        ]
        return m


def steps_of(job, conv):
    """Expand a job by the words of its fields, as (ifmap address, ring address)."""
    steps, weight, row_addr = [], job["weight_addr"], job["tap_addr"]
    for _ in range(job["tap_rows"] + 1):
        addr = row_addr
        for _ in range(job["tap_cols"] + 1):
            chunk = job["chunk_first"]
            if conv.hold:
                weight = job["weight_addr"]
            for _ in range(job["chunks"] + 1):
                steps.append(((addr + chunk) % conv.params.bank_words, weight % conv.params.ring_entries))
                weight += 1
                chunk = job["skip_to"] if chunk == job["skip_at"] else (chunk + 1) % conv.params.bank_words
            addr += conv.chunks
        weight += job["row_inc"] - 1
        row_addr += conv.size[1] * conv.chunks
    return steps


class Model:
    """Plays ring, MAC array, comparator and requantiser; asserts the scheduler's contract in every cycle."""

    def __init__(
        self,
        params,
        convs,
        seed,
        *,
        fire=0.4,
        latency=20,
        release_delay=3,
        weight_rate=1.0,
        mask_rate=1.0,
        forced_rate=0.7,
    ):
        self.params, self.convs, self.rng = params, convs, random.Random(seed)
        self.front = FrontEnd(params)
        self.fire, self.latency, self.release_delay = fire, latency, release_delay
        self.weight_rate, self.mask_rate, self.forced_rate = weight_rate, mask_rate, forced_rate
        self.where = f"(seed {seed})"
        self.loaded = self.freed = self.first_entry = 0
        self.most_in_flight = self.steps = self.cycles = self.preferred = 0
        self.stalls = []

    async def bench(self, ctx):
        for conv in self.convs:
            await self.layer(ctx, conv)
            self.first_entry += conv.slices * (conv.entries(False) + conv.entries(True))

    async def layer(self, ctx, conv):
        rng, dut, table, walker = self.rng, self.front.scheduler, self.front.table, self.front.walker
        total = self.first_entry + conv.slices * (conv.entries(False) + conv.entries(True))
        decides, slots = conv.mode in DECIDING, self.params.psum_slots
        takes = conv.mode is GateMode.FORCED
        pixels = deque(conv.pixels())
        in_flight = {}  # slot: [pixel, state]
        chosen = deque()  # base jobs that were chosen and have not come
        fired = deque()  # (slot, cycle of its end), not yet run
        before = {}  # by slot of a base job: the fired slots that had to be chosen first
        ends, releases, decisions = deque(), deque(), 0
        out = 0  # decisions issued, not taken
        record = None  # decisions on offer, in every mode; None if there are none now
        forced = {}  # by slot: the decisions that its base job took along
        cycle = left = idle = 0  # left: steps of the job under way
        first_step = None
        ctx.set(dut.layer, conv.registers())
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        while idle < 30:
            where = f"in cycle {cycle} {self.where}"
            if self.loaded < total and self.loaded - self.freed < self.params.ring_entries:
                self.loaded += rng.random() < self.weight_rate
            ctx.set(table.loaded, self.loaded % (1 << self.params.ring_ptr_bits))
            ctx.set(dut.o.ready, left <= 1)
            end, cond, fires = None, False, False
            if ends and ends[0][0] <= cycle:
                _, end, cond = ends.popleft()
                drawn = rng.random() < self.fire
                fires = (
                    not cond
                    and {
                        GateMode.GATED: drawn,
                        GateMode.CHANNEL: drawn,
                        GateMode.DENSE: True,
                        GateMode.BASE: False,
                        GateMode.FORCED: forced.get(end) != 0,
                    }[conv.mode]
                )
                decisions += decides and not cond
                parity = in_flight[end][0]["slice"] % 2
            ctx.set(
                dut.end,
                {
                    "valid": int(end is not None),
                    "base": int(not cond),
                    "fire": int(fires),
                    "slot": end or 0,
                    "parity": parity if end is not None else rng.randrange(2),
                },
            )
            back = releases.popleft()[1] if releases and releases[0][0] <= cycle else None
            ctx.set(dut.release, back is not None)
            ctx.set(dut.release_slot, rng.randrange(slots) if back is None else back)
            taken = decisions > 0 and rng.random() < self.mask_rate
            ctx.set(dut.mask_taken, int(taken))

            if record is None and rng.random() < self.forced_rate:
                record = rng.getrandbits(LANES) if rng.random() < self.fire else 0
            ctx.set(dut.mask.valid, record is not None)
            ctx.set(dut.mask.payload, {"fire": rng.getrandbits(LANES) if record is None else record})

            issue, slot = ctx.get(dut.issue), ctx.get(dut.issue_slot)
            given = record is not None and ctx.get(dut.mask.ready)
            assert given == bool(takes and issue), f"a record for each base job in forced mode {where}"
            cond_ready, oldest = ctx.get(dut.cond_ready), ctx.get(dut.oldest)
            job = as_dict(ctx.get(dut.o.payload)) if ctx.get(dut.o.valid) and left <= 1 else None
            stall = ctx.get(dut.stall)
            _, _, free_en, free_entries = await ctx.tick().sample(table.free_en, table.free_entries)
            self.freed += free_entries if free_en else 0
            left = max(left - 1, 0)

            if issue:
                pixel = pixels.popleft()
                assert slot not in in_flight and slot < slots, f"slot {slot} is taken {where}"
                assert self.loaded >= self.first_entry + conv.ring_start(pixel["slice"], True), f"weights {where}"
                assert not decides or out < slots, f"no place for the decision {where}"
                in_flight[slot] = [pixel, "base"]
                chosen.append(slot)
                out += decides
                if takes:
                    forced[slot], record = record, None
                # Conditional jobs that waited with their weights in go first. A slot that fires is at the queue's head
                # two cycles later.
                before[slot] = [
                    number
                    for number, since in fired
                    if cond_ready and since <= cycle - 2 and in_flight[number][0]["slice"] % 2 == oldest
                ]
                self.preferred += len(before[slot])
            self.most_in_flight = max(self.most_in_flight, len(in_flight))
            if job:
                number = job["slot"]
                pixel, state = in_flight[number]
                if job["cond"]:
                    assert fired and fired[0][0] == number and state == "fired", f"slot {number} did not fire {where}"
                    fired.popleft()
                    end_ptr = self.first_entry + conv.ring_start(pixel["slice"] + 1, False)
                    assert self.loaded >= end_ptr, f"weights {where}"
                else:
                    assert chosen.popleft() == number and state == "base", where
                    late = set(before[number]) & {slot for slot, _ in fired}
                    assert not late, f"the conditional jobs of {late} go before slot {number}'s base job {where}"
                in_flight[number][1] = "cond" if job["cond"] else "first"
                assert job["parity"] == pixel["slice"] % 2, f"parity of {pixel} {where}"
                assert not takes or job["forced"] == forced[number], f"forced decisions of slot {number} {where}"
                expected = conv.steps(
                    pixel["image"], pixel["row"], pixel["col"], pixel["slice"], bool(job["cond"]), self.first_entry
                )
                assert steps_of(job, conv) == expected, f"{pixel} {where}"
                left = len(expected)
                self.steps += left
                first_step = cycle if first_step is None else first_step
                last_step = cycle + left
                ends.append((cycle + left + self.latency, number, bool(job["cond"])))
            elif left == 0 and first_step is not None and pixels:
                self.stalls.append(IdleCause(stall))
            if end is not None:
                if fires:
                    assert in_flight[end][1] == "first", where
                    in_flight[end][1] = "fired"
                    fired.append((end, cycle))
                else:
                    in_flight[end][1] = "complete"
                    releases.append((cycle + rng.randint(1, self.release_delay), end))
                    releases = deque(sorted(releases))
            if back is not None:
                assert in_flight.pop(back)[1] == "complete", where
            if taken:
                decisions -= 1
                out -= 1
            done = ctx.get(walker.done) and not in_flight and not out
            idle = idle + 1 if done else 0
            if done:
                assert ctx.get(dut.empty) and not ctx.get(dut.o.valid) and not pixels and not fired, where
            cycle += 1
        assert ctx.get(table.idle), self.where
        self.cycles += last_step - first_step

    def run(self):
        simulate(self.front, self.bench, background=[monitor(self.front.scheduler.o)], what=self.where)
        return self


def cases(params):
    return {
        "G 4, branch 1": Conv(params=params, size=(3, 3)),
        "G 4, branch 2": Conv(params=params, size=(2, 4), branch=2, images=2),
        "G 2": Conv(params=params, size=(3, 3), groups=2, slices=2, chunks=2, branch=2),
        "one pixel": Conv(params=params, size=(1, 1), slices=6, groups=2, chunks=2),
        "dense": Conv(params=params, size=(2, 3), groups=2, slices=2, chunks=2, mode=GateMode.DENSE),
        "channel": Conv(params=params, size=(2, 3), groups=2, slices=4, chunks=2, mode=GateMode.CHANNEL),
        "forced": Conv(params=params, size=(3, 3), groups=2, slices=4, chunks=2, branch=2, mode=GateMode.FORCED),
        "base": Conv(params=params, size=(3, 3), groups=2, slices=2, chunks=2, mode=GateMode.BASE),
        "1x1, stride 2": Conv(params=params, size=(4, 4), kernel=1, pad=0, stride=2, groups=1, mode=GateMode.BASE),
        "classifier": Conv(
            params=params, size=(4, 4), kernel=4, pad=0, hold=True, groups=1, chunks=2, images=4, mode=GateMode.BASE
        ),
    }


@pytest.mark.parametrize("name", cases(SMALL))
def test_layer(name, seed):
    Model(SMALL, [cases(SMALL)[name]], seed).run()


@pytest.mark.parametrize(
    "weight_rate, mask_rate, fire", [(1.0, 1.0, 1.0), (0.3, 1.0, 0.5), (1.0, 0.05, 0.3), (0.4, 0.2, 0.0)]
)
def test_layers_in_turn(weight_rate, mask_rate, fire, seed):
    # Slots that get lost in one layer would be missing in the next.
    layers = cases(SMALL)
    convs = [layers[name] for name in ("G 2", "forced", "one pixel", "dense", "channel", "G 4, branch 1", "classifier")]
    model = Model(SMALL, convs, seed, weight_rate=weight_rate, mask_rate=mask_rate, fire=fire, release_delay=6).run()
    assert model.most_in_flight == SMALL.psum_slots
    assert model.preferred, "no conditional job met a base job"


@pytest.mark.parametrize(
    "forced_rate, mask_rate, fire", [(1.0, 1.0, 0.5), (0.02, 1.0, 0.5), (0.3, 0.05, 1.0), (1.0, 1.0, 0.0)]
)
def test_forced(forced_rate, mask_rate, fire, seed):
    # Records that come seldom, that all fire or never; a layer that takes none stands between two that do.
    layers = cases(SMALL)
    convs = [layers[name] for name in ("forced", "base", "forced")]
    model = Model(SMALL, convs, seed, forced_rate=forced_rate, mask_rate=mask_rate, fire=fire).run()
    if forced_rate < 0.1:
        assert IdleCause.INPUT in model.stalls


@pytest.mark.parametrize("slots", [2, 3, 5, 16])
def test_slots(slots, seed):
    params = HwParams(
        in_par=2, rq_lanes=1, bank_words=256, ring_entries=64, psum_slots=slots, max_slices=16, max_map=16
    )
    model = Model(params, [cases(params)["G 2"], cases(params)["G 4, branch 2"]], seed, latency=60).run()
    assert model.most_in_flight == slots


def test_efficiency(seed):
    # Decisions 20 cycles late, the poster's sparsity: the more slots, the fewer cycles without a step.
    found = {}
    for slots in (4, 6, 8, 12):
        params = HwParams(in_par=16, bank_words=256, ring_entries=128, psum_slots=slots)
        conv = Conv(params=params, size=(6, 6))
        model = Model(params, [conv], seed, fire=0.28, latency=20).run()
        found[slots] = model.steps / model.cycles
    print("efficiency by psum slots:", ", ".join(f"{slots}: {value:.3f}" for slots, value in found.items()))
    assert found[4] > 0.85 and found[8] > 0.97 and found[12] > 0.98, found
    assert found[4] < found[8]


def test_no_bubble_between_jobs(seed):
    # With slots and weights enough there is no cycle without a step, from the first to the last.
    params = HwParams(in_par=2, rq_lanes=1, bank_words=256, ring_entries=128, psum_slots=16)
    conv = Conv(params=params, size=(4, 4), chunks=8, groups=2, slices=2, mode=GateMode.DENSE)
    model = Model(params, [conv], seed, latency=10).run()
    assert IdleCause.DECISION not in model.stalls
    assert model.steps == sum(
        len(conv.steps(p["image"], p["row"], p["col"], p["slice"], cond))
        for p in conv.pixels()
        for cond in (False, True)
    )
