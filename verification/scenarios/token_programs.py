"""Programs about tokens and queues: each unit waits for each other one, once and once too often; many transfers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hw.interface.instructions import TOKEN_BITS, Opcode, item_bytes
from verification.scenarios.short_program import ShortProgram, field_of, with_field

__all__ = ["in_parts", "starving", "too_many", "waiting"]

#: The instruction that each unit executes here.
_OF_UNIT: dict[str, Any] = {"load": Opcode.LOAD_MAP, "compute": Opcode.COMPUTE, "store": Opcode.STORE_MAP}

#: Most parts of a transfer: more than a queue holds.
_PARTS = 8


def _plain(program: ShortProgram, opcode: Any) -> bytes:
    """Return the program's instruction of an opcode, without tokens."""
    text = next(text for text in program.instructions if Opcode(text[0] & 15) is opcode)
    for way, unit in itertools.product(("take", "give"), _OF_UNIT):
        text = with_field(text, f"{way}.{unit}", 0)
    return text


def _behind(program: ShortProgram, giver: str, taker: str, takes: int) -> ShortProgram:
    """Return the program with one more instruction that gives a token, and some that take one of that unit."""
    weights = _plain(program, Opcode.LOAD_WEIGHTS)
    more = []
    for unit, field in ((giver, f"give.{taker}"), *((taker, f"take.{giver}") for _ in range(takes))):
        if unit == "compute":
            more.append(weights)
        more.append(with_field(_plain(program, _OF_UNIT[unit]), field, 1))
    return replace(program, instructions=(*program.instructions, *more))


def in_parts(program: ShortProgram) -> ShortProgram:
    """Return the program with every transfer cut into as many as there may be, up to `_PARTS`: queues become full."""
    texts = []
    for text in program.instructions:
        opcode: Any = Opcode(text[0] & 15)
        if opcode is Opcode.COMPUTE:
            texts.append(text)
            continue
        address, count, word = (field_of(text, name) for name in ("address", "count", "bank_addr"))
        size = item_bytes(opcode, program.params)
        parts = next(
            n for n in range(_PARTS, 0, -1) if count % n == 0 and count // n * size % program.params.axi_bytes == 0
        )
        each = count // parts
        for part in range(parts):
            one = with_field(text, "count", each)
            one = with_field(one, "address", address + part * each * size)
            if opcode is not Opcode.LOAD_WEIGHTS:
                one = with_field(one, "bank_addr", word + part * each)
            for unit in _OF_UNIT:
                if part:
                    one = with_field(one, f"take.{unit}", 0)
                if part < parts - 1:
                    one = with_field(one, f"give.{unit}", 0)
            texts.append(one)
    return replace(program, instructions=tuple(texts))


def waiting(program: ShortProgram) -> Iterator[tuple[str, ShortProgram]]:
    """Yield good programs in which one unit waits for another, for each two of them."""
    for giver, taker in itertools.permutations(_OF_UNIT, 2):
        yield f"{taker} that waits for {giver}", _behind(program, giver, taker, 1)


def starving(program: ShortProgram) -> Iterator[tuple[str, ShortProgram]]:
    """Yield programs in which a unit waits once too often, so that the watchdog must end them."""
    for giver, taker in itertools.permutations(_OF_UNIT, 2):
        yield f"{taker} that waits for {giver} once too often", _behind(program, giver, taker, 2)


def too_many(program: ShortProgram) -> Iterator[tuple[str, ShortProgram]]:
    """Yield programs that give a unit more tokens than are counted."""
    load = _plain(program, Opcode.LOAD_PARAMETERS)
    short = with_field(load, "count", 1)
    for taker in ("compute", "store"):
        giving = with_field(short, f"give.{taker}", 1)
        yield f"{1 << TOKEN_BITS} tokens for {taker}", replace(program, instructions=(giving,) * (1 << TOKEN_BITS))
