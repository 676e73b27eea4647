"""Predicts the cycles of a program: an event model of the four units, the ring of weights and the shared memory.

Time passes from event to event; in between every transfer flows at its share of the bandwidth. The array's work is
known by slice: the steps that the masks leave. What it waits for follows from the same rules as in the engine: a slice
starts when its weights are in the ring, weights are asked for as the ring has room, an instruction starts when all that
it needs has ended. What a pass costs beside its steps is in three constants, measured once on the Verilog.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hw.instructions import INSTRUCTION_BYTES, Unit
from hw.params import LANES

from .network import NetworkProgram, PassInfo
from .schedule import Instruction, transfer_bytes

__all__ = ["PassCycles", "Prediction", "SliceSteps", "predict", "slice_steps"]

#: Cycles from a pass's start to its first step, if its weights are there.
START = 40
#: Cycles from a pass's last step to its end: the last decision, its conditional job, requantisation.
END = 45
#: Cycles from a slice's last step to its weights' place in the ring being free.
RETIRE = 35
#: Cycles that an instruction takes beside the latency of the memory: to be fetched and checked; until its first beat.
FETCH, LEAD = 20, 14
#: Instructions that may wait for a unit.
QUEUE = 4

#: The units, in the order in which they are looked at.
_UNITS: tuple[Any, ...] = (Unit.LOAD, Unit.COMPUTE, Unit.STORE, Unit.WEIGHTS)


@dataclass(frozen=True, kw_only=True)
class SliceSteps:
    """Steps of a pass by slice: (slices,) int64 each."""

    base: np.ndarray
    conditional: np.ndarray

    @property
    def total(self) -> int:
        """All of them."""
        return int(self.base.sum() + self.conditional.sum())


@dataclass(frozen=True, kw_only=True)
class PassCycles:
    """A pass: its layer, the cycle of its first step and the cycle in which the next pass's steps begin."""

    layer: str
    first_step: int
    cycles: int


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a run takes.

    Attributes
    ----------
    cycles
        From the start bit to the end of the last instruction.
    passes
        By pass; their cycles add up to all.
    """

    cycles: int
    passes: Sequence[PassCycles]

    def layers(self) -> dict[str, int]:
        """Return cycles by layer, as reports count them: from its first step to the next layer's."""
        found: dict[str, int] = {}
        for one in self.passes:
            found[one.layer] = found.get(one.layer, 0) + one.cycles
        return found


def _valid_taps(size: int, kernel: int, stride: int, pad: int, count: int) -> np.ndarray:
    start = np.arange(count) * stride - pad
    return np.minimum(start + kernel, size) - np.maximum(start, 0)


def slice_steps(program: NetworkProgram, decisions: Mapping[str, np.ndarray] | None) -> list[SliceSteps]:
    """Count the steps of every pass by slice.

    Parameters
    ----------
    program
        The program.
    decisions
        By layer, (N, slices or channels, rows, columns) bool: what fires. None counts every decision as 1; in base mode
        they are not looked at.
    """
    return [_pass_steps(program, one, decisions) for one in program.passes]


def _pass_steps(program: NetworkProgram, one: PassInfo, decisions: Mapping[str, np.ndarray] | None) -> SliceSteps:
    geometry, layer = one.geometry, program.network.layer(one.layer)
    if geometry.hold:
        steps = one.images * geometry.tap_rows * geometry.tap_cols * geometry.chunks
        base = np.full(geometry.slices, steps)
        return SliceSteps(base=base, conditional=np.zeros_like(base))
    sizes = next(shape.in_size for segment in program.segments for shape in segment.layers if shape.name == one.layer)
    pad = 0 if geometry.patches else layer.pad
    in_rows, in_cols = (geometry.in_rows, geometry.in_cols) if geometry.patches else sizes
    rows = _valid_taps(in_rows, geometry.tap_rows, geometry.stride, pad, one.rows[1])[one.rows[0]:]
    cols = _valid_taps(in_cols, geometry.tap_cols, geometry.stride, pad, geometry.out_cols)
    if geometry.patches: # every pixel of patches holds all its taps
        rows = np.ones(one.rows[1] - one.rows[0], dtype=np.int64)
    taps = rows[:, None] * cols[None, :]
    base = np.full(geometry.slices, one.images * int(taps.sum()) * geometry.group_chunks)
    others = geometry.chunks - geometry.group_chunks
    if not layer.gated or one.instruction.fields["cond_entries"] == 0:
        return SliceSteps(base=base, conditional=np.zeros_like(base))
    if decisions is None:
        return SliceSteps(base=base, conditional=base // geometry.group_chunks * others)
    images = slice(one.first_image, one.first_image + one.images)
    fires = np.asarray(decisions[one.layer])[images, :, slice(*one.rows)]
    jobs = fires.reshape(one.images, geometry.slices, -1, *taps.shape).any(axis=2)
    return SliceSteps(base=base, conditional=(jobs * taps).sum((0, 2, 3)) * others)


class _Transfers:
    """Transfers under way, and the bandwidth that they share."""

    def __init__(self, bandwidth: float, bus: int):
        self.bandwidth = bandwidth if bandwidth else 2 * bus
        self.bus = bus
        self.left: dict[Any, float] = {} # by unit

    def rates(self) -> dict[Any, float]:
        """Return bytes a cycle by unit: equal shares of the memory, readers within the width of their channel."""
        if not self.left:
            return {}
        share = self.bandwidth / len(self.left)
        readers = [unit for unit in self.left if unit is not Unit.STORE]
        read = min(share, self.bus / len(readers)) if readers else 0.0
        found = dict.fromkeys(readers, read)
        if Unit.STORE in self.left:
            found[Unit.STORE] = min(self.bus, self.bandwidth - read * len(readers))
        return found


class _Model:
    def __init__(self, program: NetworkProgram, steps: Sequence[SliceSteps], bandwidth: float, latency: int):
        self.program, self.params = program, program.params
        self.steps, self.latency = steps, latency
        self.transfers = _Transfers(bandwidth, self.params.axi_bytes)
        self.entry = LANES * self.params.in_par
        self.now = 0.0
        self.timers: list[tuple[float, str, object]] = []
        self.ended: set[int] = set()
        self.waiting: dict[Any, deque[Instruction]] = {unit: deque() for unit in _UNITS}
        self.current: dict[Any, Instruction | None] = dict.fromkeys(_UNITS)
        self.next_dispatch = 0
        self.fetched = 0 # instructions whose fetch has ended
        # Weights, in entries since the run began.
        self.loaded = 0.0
        self.freed = 0
        # The pass under way.
        self.number = -1
        self.slice = 0
        self.array_ready = False
        self.running = False
        self.opened = 0 # entries up to the slice under way
        self.first_steps: list[float] = []

    def _after(self, cycles: float, what: str, item: object = None) -> None:
        self.timers.append((self.now + cycles, what, item))

    # Dispatch.

    def _dispatch(self) -> None:
        instructions = self.program.instructions
        while self.next_dispatch < self.fetched:
            one = instructions[self.next_dispatch]
            if len(self.waiting[one.unit]) == QUEUE:
                return
            self.waiting[one.unit].append(one)
            self.next_dispatch += 1
            if self.fetched < len(instructions):
                self._after(FETCH + self.latency + INSTRUCTION_BYTES // self.params.axi_bytes, "fetched")

    def _begin(self) -> None:
        """Start what can start."""
        for unit in _UNITS:
            if self.current[unit] is None and self.waiting[unit]:
                one = self.waiting[unit][0]
                if all(id(need) in self.ended for need in one.needs):
                    self.waiting[unit].popleft()
                    self.current[unit] = one
                    if unit is Unit.COMPUTE:
                        self.number += 1
                        self.slice = 0
                        self._after(START, "slice")
                    else:
                        self._after(LEAD + (0 if unit is Unit.STORE else self.latency), "flow", one)

    def _end(self, one: Instruction) -> None:
        self.ended.add(id(one))
        self.current[one.unit] = None

    # The array.

    def _entries(self) -> tuple[int, int]:
        geometry = self.program.passes[self.number].geometry
        fields = self.program.passes[self.number].instruction.fields
        return geometry.base_entries, int(fields["cond_entries"])

    def _try_slice(self) -> None:
        """Start the slice whose turn it is, if its weights are in."""
        if self.running or self.current[Unit.COMPUTE] is None or not self.array_ready:
            return
        base, cond = self._entries()
        steps = self.steps[self.number]
        # The requantiser takes some cycles a pixel, which can be more than its steps.
        geometry = self.program.passes[self.number].geometry
        pixels = geometry.images * geometry.out_rows * geometry.out_cols
        work = max(int(steps.base[self.slice] + steps.conditional[self.slice]), pixels * self.program.params.rq_phases)
        need = self.opened + base + (cond if steps.conditional[self.slice] else 0)
        if self.loaded + 1e-6 < need:
            return
        self.running = True
        if self.slice == 0:
            self.first_steps.append(self.now)
        self._after(work, "slice end")

    # Time.

    def _weights_limit(self) -> float:
        """Return the bytes that the ring has room for, beyond what is in."""
        return (self.freed + self.params.ring_entries - self.loaded) * self.entry

    def _step(self) -> bool:
        """Go on to the next event; return whether there was one."""
        weights_held = Unit.WEIGHTS in self.transfers.left and self._weights_limit() < 1e-6
        held = self.transfers.left.pop(Unit.WEIGHTS) if weights_held else None
        rates = self.transfers.rates()
        horizon = min((when for when, _, _ in self.timers), default=math.inf) - self.now
        for unit, rate in rates.items():
            horizon = min(horizon, self.transfers.left[unit] / rate)
        if Unit.WEIGHTS in rates:
            horizon = min(horizon, self._weights_limit() / rates[Unit.WEIGHTS])
            if not self.running and self.current[Unit.COMPUTE] is not None and self.array_ready:
                base, cond = self._entries()
                conditional = self.steps[self.number].conditional[self.slice]
                need = self.opened + base + (cond if conditional else 0)
                if need > self.loaded:
                    horizon = min(horizon, (need - self.loaded) * self.entry / rates[Unit.WEIGHTS])
        if held is not None:
            self.transfers.left[Unit.WEIGHTS] = held
        if math.isinf(horizon):
            return False
        horizon = max(horizon, 0.0)
        self.now += horizon
        for unit, rate in rates.items():
            moved = rate * horizon
            self.transfers.left[unit] -= moved
            if unit is Unit.WEIGHTS:
                self.loaded += moved / self.entry
        for unit in list(self.transfers.left):
            if self.transfers.left[unit] < 1e-6:
                del self.transfers.left[unit]
                one = self.current[unit]
                assert one is not None
                if unit is Unit.STORE:
                    self._after(self.latency, "done", one)
                else:
                    self._end(one)
        due = [timer for timer in self.timers if timer[0] <= self.now + 1e-6]
        self.timers = [timer for timer in self.timers if timer[0] > self.now + 1e-6]
        for _, what, item in due:
            self._event(what, item)
        return True

    def _event(self, what: str, item: object) -> None:
        if what == "fetched":
            self.fetched += 1
        elif what == "flow":
            assert isinstance(item, Instruction)
            self.transfers.left[item.unit] = transfer_bytes(item, self.params)
        elif what == "done":
            assert isinstance(item, Instruction)
            self._end(item)
            if item.unit is Unit.COMPUTE:
                self.array_ready = False
        elif what == "slice":
            self.array_ready = True
        elif what == "free":
            assert isinstance(item, int)
            self.freed = item
        elif what == "slice end":
            self.running = False
            self.opened += sum(self._entries())
            self._after(RETIRE, "free", self.opened)
            self.slice += 1
            if self.slice == len(self.steps[self.number].base):
                self.array_ready = False
                self._after(END, "done", self.current[Unit.COMPUTE])

    def run(self) -> Prediction:
        self._after(FETCH + self.latency, "fetched")
        while len(self.ended) < len(self.program.instructions):
            self._dispatch()
            self._begin()
            self._try_slice()
            if not self._step():
                raise AssertionError(f"program locks up after {len(self.ended)} instructions")
        marks = [0.0, *self.first_steps[1:], self.now]
        rounded = [round(mark) for mark in marks]
        passes = [PassCycles(layer=one.layer, first_step=round(first), cycles=rounded[n + 1] - rounded[n])
                  for n, (one, first) in enumerate(zip(self.program.passes, self.first_steps, strict=True))]
        return Prediction(cycles=rounded[-1], passes=passes)


def predict(program: NetworkProgram, steps: Iterable[SliceSteps], bandwidth: float = 8,
            latency: int = 40) -> Prediction:
    """Predict the cycles of a run.

    Parameters
    ----------
    program
        The program.
    steps
        By pass, from `slice_steps`.
    bandwidth
        Bytes a cycle that reads and writes share; 0 for no limit but the bus.
    latency
        Cycles from an address to its first beat, or to the response.

    Raises
    ------
    AssertionError
        If the program locks up.
    """
    return _Model(program, list(steps), bandwidth, latency).run()
