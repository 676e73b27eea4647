"""The slice table in a random environment: contexts, ready flags, retiring in order, and ring entries freed once."""

import random
from collections import deque
from dataclasses import replace
from itertools import accumulate

import pytest

from hw.interface.layouts import GateMode
from hw.jobs.slice_table import SliceTable
from hw.params import LANES
from tests.hw.helpers import INT32_MAX, INT32_MIN, SMALL, Conv, as_dict, simulate, ticks, until, watch

COUNT_SPACE = 1 << SMALL.ring_ptr_bits

CASES = {
    "branch 1, G 4": Conv(slices=8),
    "branch 2, G 4": Conv(slices=8, branch=2),
    "groups in any order": Conv(slices=8, base_groups=(2, 0, 3, 0)),
    "groups that share a base path": Conv(slices=4, base_groups=(0, 0, 0, 0)),
    "G 8": Conv(slices=8, groups=8, chunks=8, base_groups=(7, 0, 6, 1, 5, 2, 4, 3)),
    "branch 1, G 2": Conv(slices=4, groups=2, chunks=2),
    "branch 2, G 2": Conv(slices=6, groups=2, chunks=4, branch=2),
    "G 1": Conv(slices=3, groups=1, chunks=4, mode=GateMode.BASE),
    "base mode, G 4": Conv(slices=4, mode=GateMode.BASE),
    "one slice": Conv(slices=1, groups=1, chunks=2, mode=GateMode.BASE),
    "sixteen slices": Conv(slices=16, groups=4, kernel=1, pad=0),
}


class Environment:
    """Plays walker, scheduler, comparator and weight ring for one slice table; remembers what must be true."""

    def __init__(self, convs, seed, weight_rate):
        self.params = convs[0].params  # only `in_par` and `rq_lanes` are not SMALL's
        self.dut = SliceTable(self.params)
        self.rng = random.Random(seed)
        self.convs = convs
        self.weight_rate = weight_rate
        self.where = f"(seed {seed})"
        self.loaded = 0  # entries, not modulo
        self.freed = 0
        self.first_entry = 0  # of the layer
        self.thresholds = []  # 8 for each slice
        self.opened = 0  # slices of the layer
        self.overlaps = 0
        self.early = 0  # base paths that were freed before their slice was through

    async def ring(self, ctx):
        # Full entries come only into room, as the ring guarantees.
        total = sum(conv.slices * (conv.entries(False) + conv.entries(True)) for conv in self.convs)
        while True:
            if self.loaded < total and self.loaded - self.freed < SMALL.ring_entries:
                self.loaded += self.rng.random() < self.weight_rate
            ctx.set(self.dut.loaded, self.loaded % COUNT_SPACE)
            _, _, free, entries = await ctx.tick().sample(self.dut.free_en, self.dut.free_entries)
            self.freed += entries if free else 0
            # A slice that fires nowhere may be through before its conditional weights have come; the base path's have.
            ahead = max(conv.entries(True) for conv in self.convs)
            assert self.freed - self.loaded <= ahead, f"entries freed that no slice has waited for {self.where}"

    async def memory(self, ctx):
        # The memory of thresholds answers one cycle after the address.
        while True:
            _, _, addr = await ctx.tick().sample(self.dut.threshold_addr)
            slice_, phase = divmod(addr, self.params.rq_phases)
            channels = self.thresholds[slice_] if slice_ < len(self.thresholds) else [12345] * LANES
            first = phase * self.params.rq_lanes
            ctx.set(self.dut.thresholds, channels[first : first + self.params.rq_lanes])

    def context(self, conv, slice_):
        """What the docstring of `SliceContext` says about a slice."""
        base, cond = conv.path_chunks(slice_, False), conv.path_chunks(slice_, True)
        start = self.first_entry + conv.ring_start(slice_, False)
        expected = {
            "base_first": base[0],
            "base_last": base[-1],
            "base_ptr": start,
            "cond_ptr": start + conv.entries(False),
            "end_ptr": start + conv.entries(False) + conv.entries(True),
            "thresholds": self.thresholds[slice_],
        }
        for name in ("base_ptr", "cond_ptr", "end_ptr"):
            expected[name] %= COUNT_SPACE
        if cond:
            expected["cond_first"] = cond[0]
        return expected

    async def layers(self, ctx):
        for conv in self.convs:
            extremes, draw = [INT32_MIN, INT32_MAX], self.rng.randint
            self.thresholds = [
                [self.rng.choice([*extremes, draw(*extremes), draw(*extremes)]) for _ in range(LANES)]
                for _ in range(conv.slices)
            ]
            ctx.set(self.dut.layer, conv.registers())
            ctx.set(self.dut.begin, 1)
            await ctx.tick()
            ctx.set(self.dut.begin, 0)
            assert ctx.get(self.dut.idle)
            await self.layer(ctx, conv)
            self.first_entry += conv.slices * (conv.entries(False) + conv.entries(True))
            assert self.freed == self.first_entry, f"every entry is freed once {self.where}"
            for _ in range(self.rng.randrange(10)):
                await ctx.tick()

    async def layer(self, ctx, conv):
        dut, rng = self.dut, self.rng
        pixels = rng.randint(1, 9)
        end_rate = rng.choice([0.15, 0.6])
        self.opened, issued = 0, 0
        oldest_late = 0  # cycles since the oldest slice is another
        ready_for = 0  # cycles in which base weights were in and the flag was low
        fresh = [None, None]  # slices opened in the two cycles before: their thresholds are still to come
        in_flight = []  # per slice: [slice, base jobs that have not ended, conditional ones, all issued]
        done = 0  # slices that are through
        frees = deque([0], 6)  # entries that can be free, in the last cycles
        while self.opened < conv.slices or in_flight or not ctx.get(dut.idle):
            can_open = ctx.get(dut.can_open)
            entries_before = self.loaded  # as the flags saw it, or later
            newest, oldest = ctx.get(dut.newest), ctx.get(dut.oldest)
            for slice_, *_ in in_flight if rng.random() < 0.2 else ():
                context = as_dict(ctx.get(dut.contexts[slice_ % 2]))
                expected = self.context(conv, slice_)
                if slice_ in fresh:
                    del expected["thresholds"]
                assert {name: context[name] for name in expected} == expected, f"slice {slice_} {self.where}"
            if in_flight:
                # A slice retires two cycles after its last pixel's end or choice.
                oldest_late = 0 if oldest == in_flight[0][0] % 2 else oldest_late + 1
                assert oldest_late < 3, f"slice {in_flight[0][0]} is the oldest {self.where}"
                assert newest == (self.opened - 1) % 2
                # Flags are never early.
                if ctx.get(dut.base_ready):
                    end = self.first_entry + conv.ring_start(self.opened - 1, True)
                    assert entries_before >= end, f"base weights of slice {self.opened - 1} {self.where}"
                if ctx.get(dut.cond_ready) and oldest == in_flight[0][0] % 2:
                    end = self.first_entry + conv.ring_start(in_flight[0][0] + 1, False)
                    assert entries_before >= end, f"conditional weights of slice {in_flight[0][0]} {self.where}"
            else:
                assert not ctx.get(dut.cond_ready) or not ctx.get(dut.idle), self.where

            # Walker: opens a slice once the last one's pixels are all chosen.
            all_issued = not in_flight or in_flight[-1][3]
            open_now = can_open and all_issued and self.opened < conv.slices and rng.random() < 0.5
            # Scheduler: a base job if the newest slice's weights are in and a slot is free.
            pending = sum(slice_[1] + slice_[2] for slice_ in in_flight)
            wanted = not open_now and bool(in_flight) and not all_issued and pending < SMALL.psum_slots
            issue = wanted and ctx.get(dut.base_ready) and rng.random() < 0.8
            ready_for = (
                ready_for + 1
                if wanted
                and not ctx.get(dut.base_ready)
                and self.loaded >= self.first_entry + conv.ring_start(self.opened - 1, True)
                else 0
            )
            assert ready_for < 3, f"base weights are in, but the flag does not rise {self.where}"
            # Comparator: outcomes of jobs of any slice in flight; those that fire do not complete their pixel.
            outcome = rng.choice([slice_ for slice_ in in_flight if slice_[1] + slice_[2]] or [None])
            end = outcome is not None and rng.random() < end_rate
            base = end and outcome[1] > 0 and (outcome[2] == 0 or rng.random() < 0.5)
            fire = base and rng.random() < 0.4
            ctx.set(dut.open, open_now)
            ctx.set(dut.issue, issue)
            ctx.set(dut.issue_last, (issued == pixels - 1) if issue else rng.randrange(2))
            ctx.set(
                dut.end,
                {
                    "valid": int(end),
                    "base": int(base) if end else rng.randrange(2),
                    "fire": int(fire) if end else rng.randrange(2),
                    "slot": rng.randrange(SMALL.psum_slots),
                    "parity": outcome[0] % 2 if end else rng.randrange(2),
                },
            )
            await ctx.tick()
            fresh = [fresh[1], self.opened if open_now else None]
            if open_now:
                in_flight.append([self.opened, 0, 0, False])
                self.opened += 1
                issued = 0
                assert len(in_flight) <= 2, f"more than two slices in flight {self.where}"
                self.overlaps += len(in_flight) == 2
            if issue:
                in_flight[-1][1] += 1
                issued += 1
                in_flight[-1][3] = issued == pixels
            if end:
                outcome[1 if base else 2] -= 1
                outcome[2] += fire
            # A slice is through when all of its base jobs were chosen and all of its pixels are complete.
            while in_flight and in_flight[0][1] == in_flight[0][2] == 0 and in_flight[0][3]:
                in_flight.pop(0)
                done += 1
            # Its entries can be free then, and the oldest slice's base path before.
            free = self.first_entry + conv.ring_start(done, False)
            if in_flight and in_flight[0][1] == 0 and in_flight[0][3]:
                free += conv.entries(False)
                self.early += self.freed == free
            assert self.freed <= free, f"entries freed that are in use {self.where}"
            frees.append(free)
            assert self.freed >= frees[0], f"entries not freed {self.where}"
        for name in ("open", "issue"):
            ctx.set(getattr(dut, name), 0)
        ctx.set(dut.end, {"valid": 0})
        for _ in range(self.params.rq_phases + 5):  # the context after the last one is prepared, too
            await ctx.tick()
        assert ctx.get(dut.idle)


def run(convs, seed, weight_rate=0.7):
    environment = Environment(convs, seed, weight_rate)
    log, dut = [], environment.dut
    simulate(
        dut,
        environment.layers,
        background=[
            environment.ring,
            environment.memory,
            watch(log, free=dut.free_en, entries=dut.free_entries, idle=dut.idle),
        ],
        what=environment.where,
    )
    ends = list(accumulate(row["entries"] for row in log if row["free"]))
    total = list(accumulate(conv.entries(False) + conv.entries(True) for conv in convs for _ in range(conv.slices)))
    assert ends[-1] == total[-1] and set(total) <= set(ends), f"entries of a slice (seed {seed})"
    return environment


@pytest.mark.parametrize("name", CASES)
def test_layer(name, seed):
    run([CASES[name]], seed)


@pytest.mark.parametrize("in_par, rq_lanes", [(2, 1), (2, 2), (4, 4), (8, 8)])
def test_thresholds(in_par, rq_lanes, seed):
    # Of all 8 channels, whether a word of parameters holds one of them or all. Layers in turn start at slice 0 again.
    params = replace(SMALL, in_par=in_par, rq_lanes=rq_lanes)
    convs = [
        replace(CASES[name], params=params, mode=mode)
        for name, mode in (
            ("one slice", GateMode.BASE),
            ("branch 2, G 4", GateMode.CHANNEL),
            ("sixteen slices", GateMode.GATED),
        )
    ]
    run(convs, seed, 1.0)


@pytest.mark.parametrize("weight_rate", [1.0, 0.5])
def test_layers_in_turn(weight_rate, seed):
    # Without a reset the ring's count passes its end, at another place in each slice.
    convs = [
        CASES[name]
        for name in (
            "branch 2, G 4",
            "one slice",
            "G 1",
            "branch 1, G 2",
            "base mode, G 4",
            "branch 1, G 4",
            "branch 2, G 2",
        )
    ]
    environment = run(convs, seed, weight_rate)
    assert environment.loaded > COUNT_SPACE
    assert environment.overlaps > 3, "no slice began while the last one's decisions were under way"
    assert environment.early, "no base path was free before its slice was through"


def test_two_slices_at_most(seed):
    # Two slices with pixels that have no outcome yet: no third opens, whatever happens to the second.
    dut, conv = SliceTable(SMALL), CASES["branch 1, G 4"]

    async def bench(ctx):
        async def step(**values):
            for name in ("begin", "open", "issue", "issue_last"):
                ctx.set(getattr(dut, name), values.get(name, 0))
            ctx.set(dut.end, values.get("end", {"valid": 0}))
            await ctx.tick()

        ctx.set(dut.layer, conv.registers())
        ctx.set(dut.loaded, SMALL.ring_entries)
        await step(begin=1)
        for _ in range(2):
            while not ctx.get(dut.can_open):
                await step()
            await step(open=1)
            await step()
            await step(issue=1, issue_last=1)
        for _ in range(10):
            assert not ctx.get(dut.can_open) and not ctx.get(dut.free_en)
            await step()
        # The second slice is complete first: it must wait for the oldest.
        await step(end={"valid": 1, "base": 1, "fire": 0, "slot": 1, "parity": 1})
        for _ in range(10):
            assert not ctx.get(dut.can_open) and not ctx.get(dut.free_en)
            await step()
        # A fire completes nothing, but the oldest slice's base path is through.
        await step(end={"valid": 1, "base": 1, "fire": 1, "slot": 0, "parity": 0})
        frees = []
        for _ in range(10):
            assert not ctx.get(dut.can_open)
            frees += [ctx.get(dut.free_entries)] if ctx.get(dut.free_en) else []
            await step()
        assert frees == [conv.entries(False)]
        await step(end={"valid": 1, "base": 0, "fire": 0, "slot": 0, "parity": 0})
        for _ in range(10):
            frees += [ctx.get(dut.free_entries)] if ctx.get(dut.free_en) else []
            await step()
        assert sum(frees) == 2 * (conv.entries(False) + conv.entries(True))
        assert ctx.get(dut.can_open) and ctx.get(dut.idle)

    simulate(dut, bench)


def test_a_pooling_pass_has_no_slices_in_flight():
    """Its slices are opened one after the other, and none is ready for base jobs, in flight or retired."""
    dut, log = SliceTable(SMALL), []

    async def bench(ctx):
        ctx.set(dut.layer, {"pool": 1, "base_entries": 0, "cond_entries": 0})
        ctx.set(dut.begin, 1)
        await ticks(ctx, 1)
        ctx.set(dut.begin, 0)
        for _ in range(5):
            await until(ctx, dut.can_open)
            ctx.set(dut.open, 1)
            await ticks(ctx, 1)
            ctx.set(dut.open, 0)
        await ticks(ctx, 20)

    simulate(dut, bench, background=[watch(log, idle=dut.idle, ready=dut.base_ready, free=dut.free_en)])
    assert all(row["idle"] and not row["free"] for row in log) and not any(row["ready"] for row in log[1:])
