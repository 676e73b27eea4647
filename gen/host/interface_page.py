"""The page docs/interface.md: registers, instructions and formats in memory, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hw.interface.axi import MAX_BURST, OUTSTANDING, PAGE_BYTES
from hw.interface.described import DescribedLayout, member_docs
from hw.interface.instructions import (
    BODY_OFFSET,
    INSTRUCTION_BYTES,
    TOKEN_BITS,
    UNIT_OF,
    ChannelParameters,
    ErrorCode,
    Header,
    Opcode,
    Tokens,
    Transfer,
)
from hw.interface.layouts import GateMode, LayerRegisters
from hw.interface.registers import ADDRESS_BITS, COUNTERS, REGISTERS, register
from hw.params import HwParams

__all__ = ["interface_page"]

_HEAD = """\
<!-- Made by `python -m gen.interface` from the tables in hw/interface; not to be edited. -->

# Registers and instructions

How the parts work together is in [system.md](system.md). `python -m gen.interface` writes this page and a C header with
the same content, `build/interface/cdgate.h`; with `--config NAME` both are for another configuration, and the page lies
beside the header. `python -m gen.disasm` prints programs.

## Ports

`clk` is the only clock. `rst` is synchronous and must be high for at least four cycles. `m_axi` is an AXI4 master with
addresses of 32 bits and one ID, 0: INCR bursts of whole beats, at most {beats} of them, never across a multiple of
{page} bytes; up to {outstanding} reads and {outstanding} writes are outstanding. `s_axil` is an AXI4-Lite slave with \
addresses of {address_bits} bits and
data of 32. It answers SLVERR to an address without a register, to one that is no multiple of 4, to a write of less than
32 bits and to a write to a register that is read only; such a write does nothing. `interrupt` is a level.

## Registers

Addresses are in bytes, registers have 32 bits; writes of less are refused. `ro` is read only, `rw` read and write, `wo`
write only: a 1 acts. `w1c` is cleared bit by bit by writing ones.
"""

_RUN = """\
### How a host runs a program

`python -m gen.program` (`make program`) writes what a host needs; `gen/host/driver.py` is such a host, in Python. The
numbers are in `build/network/network.json`: `program`, `store_window` and `regions`, which has name, address and size
in bytes of each part of memory.

1. Write program, weights and parameters into memory: `build/network/memory.bin`, from address 0 on. Write the images,
   laid out as [below](#formats-in-memory), to the region `input` (in the file there are photographs).
2. Set `PROGRAM_ADDRESS` and `PROGRAM_LENGTH` to `address` and `instructions` of `program`, `STORE_BASE` and `STORE_END`
   to the two numbers of `store_window`.
3. Clear what is left in `INTERRUPT` by writing ones. Enable the causes that shall raise the interrupt line in
   `INTERRUPT_ENABLE`: after `rst` it is 0, and none does.
4. Write `CONTROL.START`. If it is refused, `INTERRUPT.REFUSED` comes up, and `REFUSAL` says why.
5. Wait for the interrupt, or until `STATUS.DONE` or `STATUS.ERROR` is set. The line stays up until the causes in
   `INTERRUPT` are cleared.
6. Read the logits from the region `logits`. For the next images only the input has to be written, and the start bit.

After an error read `ERROR_CODE` and `ERROR_INDEX`, write `CONTROL.RESET`, and wait until nothing of `STATUS` is set.

## Counters

64 bits each in two registers. They count from the start bit on, and stand from the end of a run that ended well to the
next start; after an error a pass that is still under way may go on counting. A soft reset clears all but those of
bytes, which only a start clears. A counter must not be counting while its halves are read; during a run `_LOW` alone is
right as long as the counter is below 2^32.
"""

_INSTRUCTIONS = f"""\
## Instructions

An instruction is {INSTRUCTION_BYTES} bytes at a multiple of {INSTRUCTION_BYTES}: a header, then from bit {BODY_OFFSET}
on a transfer, or for `COMPUTE` and `POOL` the registers of a layer. Bit n is bit n % 8 of byte n / 8. Bits that no
field takes must be 0.
"""

_TOKENS = f"""\
A unit executes its instructions in order. An instruction starts when it can take a token from each unit in `take`, and
gives one to each unit in `give` when it has ended. Between any two of load, compute and store up to
{(1 << TOKEN_BITS) - 1} tokens are kept. Weights take and give none.

### Header
"""

_LAYER = """\
### Registers of a layer

Widths are those of the configuration `{config}`, with which an instruction has {size} bits in use. Addresses and steps
are in words of an activation bank, unless noted. A field called `_last` holds a count minus one.
"""

_MEMORY = """\
## Formats in memory

All numbers are little-endian. A transfer starts at a multiple of the bus width; what it counts lies without gaps.
"""

#: What is in memory: name, what it is counted in, contents.
_FORMATS = (
    (
        "map",
        "bank words of `in_par` bytes",
        (
            "Images one after the other, of each the rows, of each the pixels, of each the channels, the lowest first. "
            "A pixel has all channels of its slices of 8. In a bank it is the same."
        ),
    ),
    (
        "input",
        "the same",
        (
            "A map whose pixels are the patches that the first layer reads: of each tap row, of each tap column, the "
            "colours, three or one, then zeros up to whole words; padding is in the patches."
        ),
    ),
    (
        "weights",
        "ring entries of 8 x `in_par` bytes",
        (
            "Slice by slice the base path's entries, then the conditional path's; of each by tap row, tap column and "
            "chunk. Byte `lane * in_par + k` is the weight of output channel `8 * slice + lane` and input channel "
            "`in_par * chunk + k`."
        ),
    ),
    ("parameters", "parameter words of 16 x `rq_lanes` bytes", "Channel by channel the record below."),
    (
        "logits",
        "records of 4 x `rq_lanes` bytes",
        ("int32; of each batch slice by slice, of each image by image 8 classes."),
    ),
)


def _table(heads: Sequence[str], rows: Iterator[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
    yield ""


def _registers() -> Iterator[Sequence[Any]]:
    counters = {f"{name.upper()}_{half}" for name, _ in COUNTERS for half in ("LOW", "HIGH")}
    for entry in REGISTERS:
        if entry.name in counters:
            continue
        init = f"{entry.init:#x}" if entry.access == "rw" else ""
        yield f"`{entry.address:#04x}`", f"`{entry.name}`", "", entry.access, init, entry.doc
        for field in entry.fields:
            top = field.offset + field.width - 1
            bits = f"{top}:{field.offset}" if field.width > 1 else str(field.offset)
            yield "", f"`.{field.name}`", bits, "", "", field.doc


def _counters() -> Iterator[Sequence[Any]]:
    for name, text in COUNTERS:
        address = register(f"{name.upper()}_LOW").address
        yield f"`{address:#05x}`", f"`{name.upper()}_LOW`, `_HIGH`", text[:1].upper() + text[1:] + "."


def _opcodes() -> Iterator[Sequence[Any]]:
    opcodes: Any = Opcode
    units: dict[Any, Any] = UNIT_OF
    docs = member_docs(opcodes)
    for opcode in opcodes:
        yield opcode.value, f"`{opcode.name}`", units[opcode].name.lower(), docs[opcode.name]


def _members(enum: Any) -> Iterator[Sequence[Any]]:
    docs = member_docs(enum)
    for member in enum:
        yield member.value, f"`{member.name}`", docs[member.name]


def _fields(layout: DescribedLayout, offset: int = 0) -> Iterator[Sequence[Any]]:
    for group in layout.groups:
        if group.heading:
            yield "", "", f"*{group.heading}*"
        for name, described in group.fields.items():
            field = layout[name]
            low, top = offset + field.offset, offset + field.offset + field.width - 1
            text = described.doc[:1].upper() + described.doc[1:] + "."
            yield f"{top}:{low}" if field.width > 1 else low, f"`{name}`", text


def _header() -> Iterator[Sequence[Any]]:
    opcode = Header["opcode"]
    yield f"{opcode.offset + opcode.width - 1}:{opcode.offset}", "`opcode`", "See above."
    for way, verb in (("take", "Takes a token from"), ("give", "Gives a token to")):
        for name, field in Tokens:
            yield Header[way].offset + field.offset, f"`{way}.{name}`", f"{verb} {name}."


def interface_page(config: str, params: HwParams) -> str:
    """Return the text of the page.

    Parameters
    ----------
    config
        Name of the configuration whose widths are shown.
    params
        What it is.
    """
    bits = ("bits", "field", "meaning")
    layer = LayerRegisters(params)
    lines = [
        _HEAD.format(beats=MAX_BURST, page=PAGE_BYTES, outstanding=OUTSTANDING, address_bits=ADDRESS_BITS),
        *_table(("address", "register", "bits", "access", "reset", "meaning"), _registers()),
        _RUN,
        *_table(("address", "registers", "what is counted"), _counters()),
        _INSTRUCTIONS,
        *_table(("opcode", "name", "unit", "what it does"), _opcodes()),
        _TOKENS,
        *_table(bits, _header()),
        "### Transfer\n",
        *_table(bits, _fields(Transfer, BODY_OFFSET)),
        _LAYER.format(config=config, size=BODY_OFFSET + layer.size),
        *_table(bits, _fields(layer, BODY_OFFSET)),
        "### Gate modes\n",
        *_table(("value", "mode", "meaning"), _members(GateMode)),
        "### Error codes\n",
        *_table(("code", "name", "meaning"), _members(ErrorCode)),
        _MEMORY,
        *_table(("what", "counted in", "contents"), iter(_FORMATS)),
        *_table(("bits", "parameter of a channel", "meaning"), _fields(ChannelParameters)),
    ]
    return "\n".join(lines).rstrip() + "\n"
