"""Instructions with what they depend on, put into an order and tied together by tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gen.network.instruction import UNITS, Instruction
from hw.interface.instructions import Unit

__all__ = ["order", "tie"]


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
    for instruction in instructions:
        if instruction.unit is Unit.COMPUTE:
            instruction.key = instruction.pass_number, _PASS
        elif instruction.unit is Unit.STORE:
            instruction.key = instruction.pass_number, _STORE
        elif instruction.unit is Unit.WEIGHTS:
            soon = 0 < instruction.pass_number <= WEIGHTS_AHEAD
            instruction.key = (0, _LOAD) if soon else (max(instruction.pass_number - WEIGHTS_AHEAD, 0), _BEFORE)
        else:
            first = min(instruction.pass_number - 1, 0)
            instruction.key = max(((need.pass_number, _LOAD) for need in instruction.needs), default=(first, _LOAD))
    return sorted(instructions, key=lambda instruction: instruction.key)  # stable


def tie(program: Sequence[Instruction]) -> None:
    """Choose the tokens: set ``take`` and ``give`` so that every instruction waits for all that it needs.

    A unit executes in order, so of all that an instruction needs of another unit the last one is enough, and nothing
    has to be waited for that an earlier instruction of the same unit waited for. What is left pairs off in order: for
    each two units the n-th give belongs to the n-th take, and no token is left over.
    """
    place = {id(instruction): n for n, instruction in enumerate(program)}
    waited: dict[tuple[Any, Any], int] = {}
    take: dict[int, set[str]] = {}
    give: dict[int, set[str]] = {}
    for n, instruction in enumerate(program):
        latest: dict[Any, int] = {}
        for need in instruction.needs:
            if place[id(need)] >= n:
                raise AssertionError(f"instruction {n} needs a later one")
            if need.unit is not instruction.unit:
                latest[need.unit] = max(latest.get(need.unit, -1), place[id(need)])
        for unit, giver in latest.items():
            if giver > waited.get((unit, instruction.unit), -1):
                waited[unit, instruction.unit] = giver
                take.setdefault(n, set()).add(UNITS[unit])
                give.setdefault(giver, set()).add(UNITS[instruction.unit])
    for n, instruction in enumerate(program):
        instruction.take = tuple(name for name in UNITS.values() if name in take.get(n, ()))
        instruction.give = tuple(name for name in UNITS.values() if name in give.get(n, ()))
