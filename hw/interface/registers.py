"""The registers behind ``s_axil``: one description for hardware, driver, C header and documentation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hw.interface.described import member_docs
from hw.interface.layouts import IdleCause, Refusal

__all__ = ["ADDRESS_BITS", "IDENTITY", "BitField", "Register", "REGISTERS", "COUNTERS", "register"]


#: Width of an address of ``s_axil``, in bits; addresses are in bytes, registers have 32 bits.
ADDRESS_BITS = 10

#: What the register of that name reads: "CDG1".
IDENTITY = 0x43444731


@dataclass(frozen=True)
class BitField:
    """Bits of a register.

    Parameters
    ----------
    name : :class:`str`
    offset, width : :class:`int`
        Lowest bit, and number of bits.
    doc : :class:`str`
        What it means, a sentence.
    """

    name: str
    offset: int
    width: int
    doc: str


@dataclass(frozen=True)
class Register:
    """A register of 32 bits.

    Parameters
    ----------
    name : :class:`str`
    address : :class:`int`
        In bytes.
    access : :class:`str`
        ``"ro"`` read only, ``"rw"`` read and write, ``"wo"`` write only (a 1 acts, reads as 0), ``"w1c"`` read, and
        cleared bit by bit by writing ones.
    doc : :class:`str`
        What it means, a sentence.
    fields : tuple of :class:`BitField`
        Empty if the register is one number.
    init : :class:`int`
        Value after reset, of a ``"rw"`` register.
    """

    name: str
    address: int
    access: str
    doc: str
    fields: tuple[BitField, ...] = ()
    init: int = 0


_IDLE = tuple(
    (f"idle_{cause.lower()}", f"idle cycles of the MAC array, cause: {cause.lower()}")
    for cause in member_docs(IdleCause)
)

#: Counters of the last run, or of the one under way: name, and what is counted. Each is 64 bits wide in two registers,
#: ``NAME_LOW`` and ``NAME_HIGH``. They stand from the end of a run that ended well to the next start. A soft reset
#: clears those of the core, which are all but those of bytes.
COUNTERS = (
    ("cycles", "cycles from the one after the start bit to the last instruction's end"),
    ("base_steps", "MAC steps of base paths"),
    ("cond_steps", "MAC steps of conditional paths"),
    ("decisions", "decisions made by the saliency comparator"),
    ("fired", "of these, those that fired"),
    *_IDLE[:-1],
    ("weights_read", "bytes of weights read"),
    ("parameters_read", "bytes of parameters read"),
    ("maps_read", "bytes of maps read"),
    ("instructions_read", "bytes of instructions read"),
    ("maps_written", "bytes of maps written"),
    ("logits_written", "bytes of logits written"),
    _IDLE[-1],  # it came later than the others, whose addresses stay
)

_COUNTERS_ADDRESS = 0x80


def _registers() -> Iterator[Register]:
    refusals: Any = Refusal
    yield Register("IDENTITY", 0x00, "ro", f"{IDENTITY:#010x}.")
    yield Register(
        "CONFIGURATION",
        0x04,
        "ro",
        "What the engine was generated with.",
        (
            BitField("IN_PAR", 0, 8, "Input channels of a chunk."),
            BitField("RQ_LANES", 8, 4, "Channels requantised in a cycle."),
            BitField("AXI_BYTES", 12, 5, "Bytes of a beat of `m_axi`."),
            BitField("BANK_LOG2", 17, 5, "Binary logarithm of the words of an activation bank."),
            BitField("RING_LOG2", 22, 4, "Binary logarithm of the entries of the weight ring."),
        ),
    )
    yield Register(
        "CONTROL",
        0x08,
        "wo",
        "Acts on what is written.",
        (
            BitField("START", 0, 1, "Starts the program; refused while the engine is busy or stopped by an error."),
            BitField(
                "RESET",
                1,
                1,
                "Soft reset: abandons the run, waits for the bus to come to rest, clears everything but "
                "the rw registers, the contents of memories, and the counters of bytes, which the next "
                "start clears.",
            ),
        ),
    )
    yield Register(
        "STATUS",
        0x0C,
        "ro",
        "State of the engine.",
        (
            BitField("BUSY", 0, 1, "A run is under way."),
            BitField("DONE", 1, 1, "The last run ended well."),
            BitField("ERROR", 2, 1, "The last run was stopped: see ERROR_CODE."),
            BitField("DRAINING", 3, 1, "After an error or a soft reset: transactions on the bus are being completed."),
        ),
    )
    yield Register(
        "INTERRUPT",
        0x10,
        "w1c",
        "Causes of the interrupt that came up.",
        (
            BitField("DONE", 0, 1, "A run ended well."),
            BitField("ERROR", 1, 1, "A run was stopped."),
            BitField("REFUSED", 2, 1, "A start was refused: see REFUSAL."),
        ),
    )
    yield Register(
        "INTERRUPT_ENABLE",
        0x14,
        "rw",
        "Causes that raise the interrupt line; bits as in INTERRUPT.",
        (
            BitField("DONE", 0, 1, "A run ended well."),
            BitField("ERROR", 1, 1, "A run was stopped."),
            BitField("REFUSED", 2, 1, "A start was refused."),
        ),
    )
    yield Register("PROGRAM_ADDRESS", 0x18, "rw", "Byte address of the first instruction, a multiple of 64.")
    yield Register("PROGRAM_LENGTH", 0x1C, "rw", "Number of instructions.")
    yield Register("STORE_BASE", 0x20, "rw", "First byte of the window of memory that stores may write.")
    yield Register("STORE_END", 0x24, "rw", "Byte after the last one of that window.", init=0xFFFF_FFFF)
    yield Register(
        "WATCHDOG",
        0x28,
        "rw",
        "Cycles without a completed instruction after which a run is stopped; 0 "
        "stops every run at once, no value turns it off.",
        init=1 << 26,
    )
    yield Register("ERROR_CODE", 0x2C, "ro", "Why the last run was stopped.")
    yield Register(
        "ERROR_INDEX",
        0x30,
        "ro",
        "Number of the instruction that it was stopped at; 0 if the start itself "
        "was at fault (codes ADDRESS and LENGTH).",
    )
    yield Register(
        "REFUSAL",
        0x34,
        "ro",
        f"Why the last start was refused: {', '.join(f'{code.value} {code.value.doc}' for code in refusals)} "
        "(which takes a soft reset).",
    )
    for number, (name, text) in enumerate(COUNTERS):
        address = _COUNTERS_ADDRESS + 8 * number
        yield Register(f"{name.upper()}_LOW", address, "ro", f"Bits 31 to 0 of: {text}.")
        yield Register(f"{name.upper()}_HIGH", address + 4, "ro", "Bits 63 to 32 of it.")


#: All registers, by ascending address.
REGISTERS = tuple(_registers())


def register(name: str) -> Register:
    """Return the register called ``name``; :exc:`KeyError` if there is none."""
    for entry in REGISTERS:
        if entry.name == name:
            return entry
    raise KeyError(name)
