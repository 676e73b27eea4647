"""Instructions with what they depend on, put into an order and tied together by tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hw.instructions import BODY_OFFSET, INSTRUCTION_BYTES, UNIT_OF, Header, Opcode, Tokens, Transfer, Unit
from hw.layouts import LayerRegisters
from hw.params import LANES, HwParams

from .packing import pack

__all__ = ["Instruction", "UNITS", "item_bytes", "order", "pack_instructions", "tie", "transfer_bytes"]

#: Units that exchange tokens, by the name of their tokens.
UNITS: Mapping[Any, str] = dict(zip((Unit.LOAD, Unit.COMPUTE, Unit.STORE), Tokens.members, strict=True))


@dataclass(eq=False, kw_only=True)
class Instruction:
    """One instruction of a program.

    Attributes
    ----------
    opcode
        A `hw.instructions.Opcode`.
    fields
        Values of `hw.instructions.Transfer`, or of the layer's registers where it computes.
    layer
        Name of the layer that it serves.
    pass_number
        Number of the pass that it serves: for a store the pass before it.
    needs
        Instructions that must have ended before it starts.
    key
        Place in the program: see `order`.
    take, give
        Names of units with which tokens are exchanged, see `tie`.
    """

    opcode: Any
    fields: Mapping[str, int]
    layer: str
    pass_number: int
    needs: list[Instruction] = field(default_factory=list, repr=False) # whose own are without end
    key: tuple[int, int] = (0, 0)
    take: tuple[str, ...] = ()
    give: tuple[str, ...] = ()

    @property
    def unit(self) -> Any:
        """The unit that executes it."""
        return UNIT_OF[self.opcode]


def item_bytes(opcode: Any, params: HwParams) -> int:
    """Return the bytes of what a transfer counts: a bank word, a parameter word, a ring entry, a logit record."""
    sizes: dict[Any, int] = {
        Opcode.LOAD_MAP: params.in_par, Opcode.STORE_MAP: params.in_par,
        Opcode.LOAD_PARAMETERS: params.param_record_bytes, Opcode.LOAD_WEIGHTS: LANES * params.in_par,
        Opcode.STORE_LOGITS: 4 * params.rq_lanes}
    return sizes[opcode]


def transfer_bytes(one: Instruction, params: HwParams) -> int:
    """Return the bytes that an instruction moves over the bus, in whole beats; 0 if it computes."""
    if one.opcode is Opcode.COMPUTE:
        return 0
    size = int(one.fields["count"]) * item_bytes(one.opcode, params)
    return -(-size // params.axi_bytes) * params.axi_bytes


#: Ranks of what happens at a pass: weights are asked for before it is dispatched, its results stored after that, and
#: what becomes free with it is loaded anew.
_BEFORE, _PASS, _STORE, _LOAD = range(4)

#: Passes by which weights are asked for ahead of their use. The ring holds a few passes' weights at most.
WEIGHTS_AHEAD = 2


def order(instructions: Sequence[Instruction]) -> list[Instruction]:
    """Put instructions into program order.

    Passes and stores come in their own order, weights two passes ahead. A load comes right after the pass or store that
    frees its place: as early as can be, so that in its unit's queue nothing stands behind a load that has longer to
    wait. Only at the beginning everything that the first pass needs comes first, as nothing is computed before. Every
    instruction comes after all that it needs, so shallow queues filled in this order never lock up.

    Parameters
    ----------
    instructions
        In the order of their passes; of one pass in the order in which they are to be executed.
    """
    for one in instructions:
        if one.opcode is Opcode.COMPUTE:
            one.key = one.pass_number, _PASS
        elif one.unit is Unit.STORE:
            one.key = one.pass_number, _STORE
        elif one.unit is Unit.WEIGHTS:
            soon = 0 < one.pass_number <= WEIGHTS_AHEAD
            one.key = (0, _LOAD) if soon else (max(one.pass_number - WEIGHTS_AHEAD, 0), _BEFORE)
        else:
            first = min(one.pass_number - 1, 0)
            one.key = max(((need.pass_number, _LOAD) for need in one.needs), default=(first, _LOAD))
    return sorted(instructions, key=lambda one: one.key) # stable


def tie(program: Sequence[Instruction]) -> None:
    """Choose the tokens: set ``take`` and ``give`` so that every instruction waits for all that it needs.

    A unit executes in order, so of all that an instruction needs of another unit the last one is enough, and nothing
    has to be waited for that an earlier instruction of the same unit waited for. What is left pairs off in order: for
    each two units the n-th give belongs to the n-th take, and no token is left over.
    """
    place = {id(one): n for n, one in enumerate(program)}
    waited: dict[tuple[Any, Any], int] = {}
    take: dict[int, set[str]] = {}
    give: dict[int, set[str]] = {}
    for n, one in enumerate(program):
        latest: dict[Any, int] = {}
        for need in one.needs:
            if place[id(need)] >= n:
                raise AssertionError(f"instruction {n} needs a later one")
            if need.unit is not one.unit:
                latest[need.unit] = max(latest.get(need.unit, -1), place[id(need)])
        for unit, giver in latest.items():
            if giver > waited.get((unit, one.unit), -1):
                waited[unit, one.unit] = giver
                take.setdefault(n, set()).add(UNITS[unit])
                give.setdefault(giver, set()).add(UNITS[one.unit])
    for n, one in enumerate(program):
        one.take = tuple(name for name in UNITS.values() if name in take.get(n, ()))
        one.give = tuple(name for name in UNITS.values() if name in give.get(n, ()))


def pack_instructions(program: Sequence[Instruction], params: HwParams) -> np.ndarray:
    """Return the program's bytes, (n, 64) uint8."""
    words = np.zeros((len(program), INSTRUCTION_BYTES), dtype=np.uint8)
    tokens = {way: {name: np.array([name in getattr(one, way) for one in program]) for name in UNITS.values()}
              for way in ("take", "give")}
    header = pack(Header, {"opcode": np.array([one.opcode.value for one in program]), **tokens}, len(program))
    words[:, :header.shape[1]] = header
    body = BODY_OFFSET // 8
    for layout, chosen in ((Transfer, [one.opcode is not Opcode.COMPUTE for one in program]),
                           (LayerRegisters(params), [one.opcode is Opcode.COMPUTE for one in program])):
        rows = np.flatnonzero(chosen).tolist()
        if rows:
            values = {name: np.array([program[row].fields.get(name, 0) for row in rows]) for name in layout.members}
            packed = pack(layout, values, len(rows))
            words[rows, body:body + packed.shape[1]] = packed
    return words
