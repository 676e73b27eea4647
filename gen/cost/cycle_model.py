"""Predicts the cycles of a program: an event model of the units, the ring of weights, the bus and the memory.

The array's work is known by slice: the steps that the masks leave. What it waits for follows from the same rules as in
the engine: a slice starts when its weights are in the ring, a burst of weights is asked for when the ring has room, an
instruction starts when all that it needs has ended, bursts of several clients go in turn, answers come in order. What
a pass and a transfer cost beside that is in a few constants, measured on the Verilog.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gen.cost.memory_model import Burst, Memory, split
from gen.cost.prediction import PassCycles, Prediction
from gen.cost.steps import SliceSteps, slice_steps
from gen.network.instruction import Instruction, transfer_bytes
from gen.network.program import NetworkProgram
from hw.interface.axi import OUTSTANDING
from hw.interface.instructions import INSTRUCTION_BYTES, QUEUE_DEPTH, Opcode, Unit
from hw.params import LANES

__all__ = ["SliceSteps", "predict", "slice_steps"]

#: From the start of a pass to its first step, beside the cycles in which the first slice's thresholds are read: its
#: context, the first pixel, choice and preparation of the first job.
START = 15
#: From a pass's last step to the start of the next one, beside the adder tree's levels and the requantiser's cycles for
#: a pixel: the last decision, the ofmap's last write, the end of the pass, the next instruction's tokens. If the last
#: pixels fire it takes some 25 cycles more, else none; this is the mean.
END = 43
#: The same two of a pooling pass, which chooses no job and decides nothing. At its end a word is written.
POOL_START, POOL_END = 9, 9
#: From the last step of a slice, or of its base path, to its place in the ring being known as free.
RETIRE = 31
#: From a slice's weights being in the ring to its first step, where it waited for them.
WAKE = 10
#: From an instruction's start to its first burst being offered to the bus; and from a burst to the next one.
REQUEST, NEXT = 5, 3
#: From the memory's last beat of a transfer to the end of its instruction.
ARRIVE = 9
#: From an instruction's last beat to the request for the next one, and to its dispatch: joined, taken, checked.
FETCH, CHECK = 9, 18
#: Conditional jobs of a slice, on average, that are left when its last base job ends; and base jobs of the next slice
#: that are chosen before the last of them.
EARLY = 2
#: From the last end of an instruction to the end of the run.
STOP = 3

#: The units, and the clients of the bus that read, in turn.
_UNITS: tuple[Any, ...] = (Unit.LOAD, Unit.COMPUTE, Unit.STORE, Unit.WEIGHTS)
_READERS = ("fetch", "weights", "load")


class _Model:
    """The state of a run. Time goes from event to event; after each, everything that can happen happens."""

    def __init__(self, program: NetworkProgram, steps: Sequence[SliceSteps], bandwidth: float, latency: int):
        params = program.params
        self.program, self.params, self.steps, self.latency = program, params, steps, latency
        self.memory = Memory(bandwidth, params.axi_bytes)
        self.entry = LANES * params.in_par
        self.start = START + params.rq_phases
        self.end = END + params.in_par.bit_length() - 1 + params.rq_phases
        self.pool_start = POOL_START + params.rq_phases
        self.pool_end = POOL_END + params.word_subs
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.order = itertools.count()
        # Instructions.
        self.ended: set[int] = set()
        self.waiting: dict[Any, deque[Instruction]] = {unit: deque() for unit in _UNITS}
        self.current: dict[Any, Instruction | None] = dict.fromkeys(_UNITS)
        self.dispatched = 0
        self.at_hand = False  # an instruction waits for its unit
        self.checked = False  # it is known to be one
        self.arrived = False  # the next one is there
        self.changed = False  # an instruction was dispatched or has ended
        # Bursts that a client has still to ask for, and when it offers the next one.
        self.bursts: dict[str, deque[Burst]] = {client: deque() for client in (*_READERS, "store")}
        self.offered = dict.fromkeys(self.bursts, 0.0)
        self.turn = 0
        self.address_free = 0.0  # when the next address can go
        # The ring, in bytes.
        self.room = params.ring_entries * self.entry
        self.loaded = 0
        # The pass under way.
        self.number = -1
        self.computed = 0  # passes whose last step is done
        self.slice = 0
        self.waits = False  # its next slice may start
        self.offered_since = 0.0  # when the array was ready for the slice
        self.base_since = 0.0  # when the slice's base path could start
        self.late = 0  # cycles that it takes more as it waited for weights
        self.opened = 0  # bytes of weights up to it
        self.first_steps: list[float] = []
        self.weight_waits: list[float] = []  # by pass

    @property
    def now(self) -> float:
        return self.memory.now

    def _after(self, cycles: float, action: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self.events, (self.now + cycles, next(self.order), action, args))

    def _wake(self) -> None:
        """Do nothing but let happen what has become possible."""

    # Instructions.

    def _request_instruction(self) -> None:
        if self.dispatched + self.at_hand < len(self.program.instructions):
            self.bursts["fetch"].append(Burst("fetch", INSTRUCTION_BYTES, True, math.inf))
            self.offered["fetch"] = self.now + FETCH
            self._after(FETCH, self._wake)

    def _take_instruction(self) -> None:
        """Take the instruction that has come, unless the last one still waits for its unit."""
        if self.arrived and not self.at_hand:
            self.arrived, self.at_hand, self.checked = False, True, False
            self._after(CHECK, self._check)
            self._request_instruction()

    def _check(self) -> None:
        self.checked = True

    def _dispatch(self) -> None:
        if self.at_hand and self.checked:
            instruction = self.program.instructions[self.dispatched]
            if len(self.waiting[instruction.unit]) < QUEUE_DEPTH:
                self.waiting[instruction.unit].append(instruction)
                self.changed = True
                self.dispatched += 1
                self.at_hand = False

    def _begin(self) -> None:
        """Start what can start."""
        self.changed = False
        for unit in _UNITS:
            if self.current[unit] is None and self.waiting[unit]:
                instruction = self.waiting[unit][0]
                if all(id(need) in self.ended for need in instruction.needs):
                    self.waiting[unit].popleft()
                    self.current[unit] = instruction
                    self._after(1, self._wake)  # its place in the queue is free
                    if unit is Unit.COMPUTE:
                        self.number += 1
                        self.slice = 0
                        pools = instruction.opcode is Opcode.POOL
                        self._after(self.pool_start if pools else self.start, self._offer_slice)
                    elif instruction.opcode is not Opcode.STORE_LOGITS or instruction.pass_number < self.computed:
                        self._transfer(
                            instruction
                        )  # logits that are still to come are stored as they come, see `_end_slice`

    def _transfer(self, instruction: Instruction) -> None:
        client = {Unit.LOAD: "load", Unit.WEIGHTS: "weights", Unit.STORE: "store"}[instruction.unit]
        # A word of a map is moved in a cycle.
        rate = self.params.in_par if instruction.opcode in (Opcode.LOAD_MAP, Opcode.STORE_MAP) else math.inf
        sizes = split(instruction.fields["address"], transfer_bytes(instruction, self.params), self.params.axi_bytes)
        self.bursts[client].extend(Burst(client, size, n == len(sizes) - 1, rate) for n, size in enumerate(sizes))
        self.offered[client] = self.now + REQUEST
        self._after(REQUEST, self._wake)

    def _end(self, unit: Any) -> None:
        instruction = self.current[unit]
        assert instruction is not None
        self.ended.add(id(instruction))
        self.current[unit] = None
        self.changed = True

    # The bus.

    def _arbitrate(self) -> None:
        """Let the next client in turn ask for its burst."""
        if self.now >= self.address_free and len(self.memory.reads) < OUTSTANDING:
            for n in range(len(_READERS)):
                client = _READERS[(self.turn + n) % len(_READERS)]
                if self._offers(client):
                    self._ask(client, self.memory.reads, self.latency + 1)
                    self.turn = (self.turn + n + 1) % len(_READERS)
                    self.address_free = self.now + 3
                    if any(self.bursts[other] for other in _READERS if other != client):
                        self._after(3, self._wake)
                    break
        if len(self.memory.writes) < OUTSTANDING and self._offers("store"):
            self._ask("store", self.memory.writes, 2)

    def _offers(self, client: str) -> bool:
        bursts = self.bursts[client]
        return (
            bool(bursts) and self.offered[client] <= self.now and (client != "weights" or self.room >= bursts[0].size)
        )

    def _ask(self, client: str, queue: deque[Burst], delay: float) -> None:
        burst = self.bursts[client].popleft()
        if client == "weights":
            self.room -= burst.size
        self.memory.add(queue, burst, self.now + delay)
        self.offered[client] = self.now + NEXT
        self._after(NEXT, self._wake)

    def _moved(self, burst: Burst) -> None:
        """A burst is complete."""
        if burst.client == "fetch":
            self.arrived = True
        elif burst.client == "weights":
            self._after(ARRIVE, self._load_weights, burst.size)
        if burst.last and burst.client != "fetch":
            unit = {"load": Unit.LOAD, "weights": Unit.WEIGHTS, "store": Unit.STORE}[burst.client]
            # A store waits for the memory's response, which takes the latency from the burst's address.
            asked = burst.ready + self.latency - self.now if burst.client == "store" else 0.0
            self._after(ARRIVE + max(asked, 0.0), self._end, unit)

    def _load_weights(self, size: int) -> None:
        self.loaded += size

    # The array.

    def _offer_slice(self) -> None:
        self.waits, self.base_since, self.offered_since = True, -1.0, self.now
        if self.slice == 0:
            self.weight_waits.append(0.0)

    def _try_slice(self) -> None:
        """Start the slice whose turn it is, if its weights are in."""
        if not self.waits:
            return
        instruction, steps = self.program.passes[self.number], self.steps[self.number]
        base, jobs = int(steps.base[self.slice]), int(steps.jobs[self.slice])
        base_end = self.opened + instruction.geometry.base_entries * self.entry
        end = base_end + instruction.instruction.fields["cond_entries"] * self.entry
        if self.base_since < 0 and self.loaded >= base_end:
            self.base_since = self.now
            if self.slice == 0:
                self.first_steps.append(self.now + self.late)
        if self.base_since < 0 or jobs and self.loaded < end:
            self.late = WAKE
            return
        # The requantiser takes some cycles a pixel, which can be more than its steps.
        pixels = instruction.images * instruction.geometry.out_rows * instruction.geometry.out_cols
        work = max(base + int(steps.conditional[self.slice]), pixels * self.params.rq_phases)
        if instruction.geometry.pool:
            work = int(steps.pool[self.slice])
        # While conditional weights were to come, the base path went on until pixels that fire had taken all slots.
        ahead = base * min(1.0, (self.params.psum_slots - EARLY) / jobs) if jobs else float(base)
        done = int(min(self.now - self.base_since, ahead))
        work -= done
        self.weight_waits[-1] += max(self.now - self.offered_since - done, 0.0)
        # What is left to do when the base path is through.
        left = int(min(EARLY, jobs) * steps.conditional[self.slice] / jobs) if jobs else 0
        left = work if done >= base else min(left, work)
        self.waits = False
        self._after(work - left + self.late + RETIRE, self._free, base_end - self.opened)
        self._after(work + self.late + RETIRE, self._free, end - base_end)
        self._after(work + self.late, self._end_slice)
        self.opened = end
        self.late = 0

    def _end_slice(self) -> None:
        info = self.program.passes[self.number]
        self.slice += 1
        if self.slice < info.geometry.slices:
            self._offer_slice()
            return
        self.computed += 1
        self._after(self.pool_end if info.geometry.pool else self.end, self._end, Unit.COMPUTE)
        store = self.current[Unit.STORE]
        if store is not None and store.opcode is Opcode.STORE_LOGITS and store.pass_number == self.number:
            self._after(self.end, self._end, Unit.STORE)

    def _free(self, size: int) -> None:
        self.room += size

    def run(self) -> Prediction:
        """Go through the whole program."""
        self._request_instruction()
        self._after(0, self._wake)
        instructions = self.program.instructions
        while len(self.ended) < len(instructions):
            time = min(self.events[0][0] if self.events else math.inf, self.memory.next())
            if math.isinf(time):
                raise AssertionError(f"program locks up after {len(self.ended)} instructions")
            for _, burst in self.memory.advance(time):
                self._moved(burst)
            while self.events and self.events[0][0] <= self.now:
                _, _, action, args = heapq.heappop(self.events)
                action(*args)
            self._take_instruction()
            self._dispatch()
            self._take_instruction()
            if self.changed:
                self._begin()
            self._try_slice()
            self._arbitrate()
        marks = [0, *map(round, self.first_steps[1:]), round(self.now) + STOP]
        passes = [
            PassCycles(
                layer=instruction.layer,
                first_step=round(self.first_steps[n]),
                cycles=marks[n + 1] - marks[n],
                waits=round(self.weight_waits[n]),
            )
            for n, instruction in enumerate(self.program.passes)
        ]
        return Prediction(cycles=marks[-1], passes=passes)


def predict(
    program: NetworkProgram, steps: Iterable[SliceSteps], bandwidth: float = 8, latency: int = 40
) -> Prediction:
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
