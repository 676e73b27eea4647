"""Instructions that must be refused: every reserved bit, and what is just beyond every limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hw.interface.instructions import BODY_OFFSET, INSTRUCTION_BYTES, ErrorCode, Header, Opcode, Transfer, item_bytes
from hw.interface.layouts import LayerRegisters
from hw.params import HwParams
from verification.scenarios.short_program import ShortProgram, with_field

__all__ = ["bad_instructions_of"]

#: What is wrong, the code and the instruction at which the run must be stopped, the instruction's text.
Bad = tuple[str, Any, int, bytes]


def bad_instructions_of(program: ShortProgram) -> Iterator[Bad]:
    """Yield instructions that the engine must refuse to carry out, in the place of a good one.

    Parameters
    ----------
    program
        A good one, with each kind of instruction but for that which stores logits.
    """
    at: dict[Any, int] = {Opcode(text[0] & 15): number for number, text in enumerate(program.instructions)}
    yield from _opcodes(program)
    yield from _reserved(program, at)
    yield from _tokens(program, at)
    yield from _layers(program, at[Opcode.COMPUTE])
    yield from _ranges(program, at)


def _opcodes(program: ShortProgram) -> Iterator[Bad]:
    opcodes: Any = Opcode  # an enumeration of Amaranth's
    for opcode in sorted(set(range(16)) - {one.value for one in opcodes}):
        text = with_field(program.instructions[1], "opcode", opcode)
        yield f"opcode {opcode}", ErrorCode.OPCODE, 1, text


def _reserved(program: ShortProgram, at: dict[Any, int]) -> Iterator[Bad]:
    """Every bit that no field takes, in a transfer and in a layer."""
    sizes: dict[Any, int] = {Opcode.LOAD_MAP: Transfer.size, Opcode.COMPUTE: LayerRegisters(program.params).size}
    for opcode, size in sizes.items():
        number = at[opcode]
        bits = [*range(Header.size, BODY_OFFSET), *range(BODY_OFFSET + size, 8 * INSTRUCTION_BYTES)]
        for bit in bits:
            word = int.from_bytes(program.instructions[number], "little") ^ 1 << bit
            yield f"bit {bit} of {opcode.name}", ErrorCode.OPCODE, number, word.to_bytes(INSTRUCTION_BYTES, "little")


def _tokens(program: ShortProgram, at: dict[Any, int]) -> Iterator[Bad]:
    own: dict[Any, tuple[str, ...]] = {
        Opcode.LOAD_MAP: ("load",),
        Opcode.LOAD_PARAMETERS: ("load",),
        Opcode.LOAD_WEIGHTS: ("load", "compute", "store"),
        Opcode.COMPUTE: ("compute",),
        Opcode.STORE_MAP: ("store",),
    }
    for opcode, units in own.items():
        for unit in units:
            for way in ("take", "give"):
                text = with_field(program.instructions[at[opcode]], f"{way}.{unit}", 1)
                yield f"{opcode.name} that would {way} a token of {unit}", ErrorCode.TOKENS, at[opcode], text


def _layers(program: ShortProgram, number: int) -> Iterator[Bad]:
    text = program.instructions[number]
    layer = LayerRegisters(program.params)
    opcodes: Any = Opcode
    pooling = opcodes.POOL.value

    def bits(name: str) -> tuple[int, int]:
        return BODY_OFFSET + layer[name].offset, (1 << layer[name].width) - 1

    def value(name: str) -> int:
        offset, mask = bits(name)
        return int.from_bytes(text, "little") >> offset & mask

    def changed(**values: int) -> bytes:
        word = int.from_bytes(text, "little")
        for name, new in values.items():
            offset, mask = bits(name)
            word = word & ~(mask << offset) | new << offset
        return word.to_bytes(INSTRUCTION_BYTES, "little")

    for mode in (4, 5, 6, 7):
        yield f"gate mode {mode}", ErrorCode.LAYER, number, changed(mode=mode, cond_entries=1)
    for mode in (0, 1, 3):
        yield f"gate mode {mode} without a path", ErrorCode.LAYER, number, changed(mode=mode, cond_entries=0)
    for bank in range(4):
        other = changed(ifmap_bank=bank, ofmap_bank=bank)
        yield f"ofmap in the ifmap's bank {bank}", ErrorCode.LAYER, number, other
        free = (bank + 1) % 4
        shared = changed(ifmap_bank=bank, ofmap_bank=free, residual_bank=bank, residual_enable=1)
        yield f"residual in the ifmap's bank {bank}", ErrorCode.LAYER, number, shared
    yield "COMPUTE that pools", ErrorCode.LAYER, number, changed(pool=1)
    base = {"mode": 2, "residual_enable": 0}
    for what, values in (
        ("no pool", {**base, "pool": 0}),
        *((f"gate mode {mode}", {**base, "pool": 1, "mode": mode}) for mode in (0, 1, 3)),
        ("a residual", {**base, "pool": 1, "residual_enable": 1}),
        ("logits", {**base, "pool": 1, "logits": 1}),
    ):
        yield f"POOL with {what}", ErrorCode.LAYER, number, with_field(changed(**values), "opcode", pooling)


def _ranges(program: ShortProgram, at: dict[Any, int]) -> Iterator[Bad]:
    params = program.params

    def changed(what: str, code: Any, opcode: Any, **values: int) -> Bad:
        text = program.instructions[at[opcode]]
        for name, value in values.items():
            text = with_field(text, name, value)
        return f"{opcode.name}: {what}", code, at[opcode], text

    transfers = (Opcode.LOAD_MAP, Opcode.LOAD_PARAMETERS, Opcode.LOAD_WEIGHTS, Opcode.STORE_MAP)
    beat = params.axi_bytes
    for opcode in transfers:
        yield changed("nothing", ErrorCode.RANGE, opcode, count=0)
        address = program.result if opcode is Opcode.STORE_MAP else program.reads[at[opcode]][0]
        for bit in range((beat - 1).bit_length()):
            odd = address + (1 << bit)
            yield changed("odd address", ErrorCode.ADDRESS, opcode, count=1, address=odd)
        size = item_bytes(opcode, params)
        if opcode is not Opcode.STORE_MAP:
            items = 4096 // size
            top = (1 << 32) - 4096
            yield changed(
                "beyond the address space", ErrorCode.RANGE, opcode, address=top, count=items + 1, bank_addr=0
            )
    yield from _spaces(params, changed)
    first, stop = program.result, program.result + len(program.expected)
    words = 2 * beat // params.in_par
    store = Opcode.STORE_MAP
    yield changed("below the window", ErrorCode.RANGE, store, address=first - beat, count=words)
    yield changed("across the window's end", ErrorCode.RANGE, store, address=stop - beat, count=words)
    yield changed("behind the window", ErrorCode.RANGE, store, address=stop, count=words)
    for bit in range(first.bit_length(), 32):
        yield changed(
            f"far above the window, bit {bit}", ErrorCode.RANGE, store, address=first + (1 << bit), count=words
        )


def _spaces(params: HwParams, changed: Callable[..., Bad]) -> Iterator[Bad]:
    """What a transfer counts within: a bank, the parameter memory, or nothing."""
    for opcode, depth in (
        (Opcode.LOAD_MAP, params.bank_words),
        (Opcode.STORE_MAP, params.bank_words),
        (Opcode.LOAD_PARAMETERS, params.param_words),
    ):
        yield changed("beyond its memory", ErrorCode.RANGE, opcode, bank_addr=depth - 3, count=4)
        yield changed("behind its memory", ErrorCode.RANGE, opcode, bank_addr=depth, count=1)
        for bit in range(depth.bit_length(), 16):
            yield changed(f"word bit {bit}", ErrorCode.RANGE, opcode, bank_addr=1 << bit, count=1)
        for bit in range(depth.bit_length(), 20):
            yield changed(f"count bit {bit}", ErrorCode.RANGE, opcode, bank_addr=0, count=1 << bit)
    for bit in range(16):
        yield changed(f"word bit {bit}", ErrorCode.RANGE, Opcode.LOAD_WEIGHTS, bank_addr=1 << bit, count=1)
    for bank in (1, 2):
        yield changed(f"bank {bank}", ErrorCode.RANGE, Opcode.LOAD_WEIGHTS, bank=bank)
