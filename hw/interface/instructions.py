"""The instructions of the engine: one description for hardware, packer, disassembler, C header and documentation.

An instruction is 64 bytes in memory, lowest byte first: a header of 8 bytes, then a body at bit 64, either a transfer
or the registers of a layer. Bits that no field takes are 0. A program is an array of them, in an order in which no
instruction needs a later one; it is dispatched in this order to four units, each of which runs its own instructions
in order and side by side with the others. Tokens put instructions of different units in order.
"""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

from hw.interface.axi import BusTransfer
from hw.interface.described import DescribedLayout, Field, Group, Member
from hw.interface.layouts import CounterLayout, LayerRegisters
from hw.params import BANK_BITS, LANES

__all__ = [
    "INSTRUCTION_BYTES",
    "BODY_OFFSET",
    "INDEX_BITS",
    "TOKEN_BITS",
    "QUEUE_DEPTH",
    "Opcode",
    "Unit",
    "UNIT_OF",
    "PASSES",
    "ErrorCode",
    "Tokens",
    "Header",
    "Transfer",
    "ChannelParameters",
    "ParameterRecord",
    "TransferInstruction",
    "LayerInstruction",
    "PassRecord",
    "item_bytes",
]


#: Size of an instruction in memory, in bytes.
INSTRUCTION_BYTES = 64

#: First bit of an instruction's body.
BODY_OFFSET = 64

#: Width of the number of an instruction in its program, in bits.
INDEX_BITS = 16

#: Width of a count of tokens, in bits.
TOKEN_BITS = 8

#: Instructions that may wait for a unit.
QUEUE_DEPTH = 4


class Opcode(enum.Enum, shape=4):
    """What an instruction does. No opcode is 0, so empty memory is no program."""

    LOAD_MAP = Member(1, "Reads a part of a map from memory into an activation bank.")
    LOAD_PARAMETERS = Member(2, "Reads parameter words from memory.")
    LOAD_WEIGHTS = Member(3, "Reads weight ring entries from memory; waits for room in the ring.")
    COMPUTE = Member(4, "Runs one pass of one layer.")
    STORE_MAP = Member(5, "Writes a part of a map from an activation bank to memory.")
    STORE_LOGITS = Member(6, "Writes logit records to memory in the order in which they leave the core.")
    POOL = Member(7, "Runs one pass of a max-pooling, from an activation bank to another.")


class Unit(enum.Enum, shape=2):
    """Units that execute instructions side by side."""

    LOAD = Member(0, "Maps and parameters from memory into the core.")
    COMPUTE = Member(1, "Passes of the core.")
    STORE = Member(2, "Maps and logits from the core to memory.")
    WEIGHTS = Member(3, "Entries of the weight ring. Takes and gives no tokens: the weight ring is order enough.")


#: The unit that executes an opcode.
UNIT_OF = {
    Opcode.LOAD_MAP: Unit.LOAD,
    Opcode.LOAD_PARAMETERS: Unit.LOAD,
    Opcode.LOAD_WEIGHTS: Unit.WEIGHTS,
    Opcode.COMPUTE: Unit.COMPUTE,
    Opcode.STORE_MAP: Unit.STORE,
    Opcode.STORE_LOGITS: Unit.STORE,
    Opcode.POOL: Unit.COMPUTE,
}

#: Opcodes of passes, whose body are the registers of a layer.
PASSES = (Opcode.COMPUTE, Opcode.POOL)


class ErrorCode(enum.Enum, shape=8):
    """Why the engine stopped."""

    NONE = Member(0, "It did not.")
    OPCODE = Member(1, "No such opcode, or a bit is set that no field takes.")
    TOKENS = Member(
        2,
        "A token for or from the instruction's own unit, a token of a unit that has none, or more tokens "
        "than are counted.",
    )
    LAYER = Member(
        3,
        "A gate mode that a program cannot run (forced), one but BASE without a conditional path, an ofmap "
        "or a residual in the ifmap's bank; a pass that is not of the opcode's kind, or a pooling one with a gate mode "
        "but BASE, a residual or logits.",
    )
    ADDRESS = Member(
        4,
        "A memory address that is no multiple of the bus width; or, told at the start with index 0, a "
        "PROGRAM_ADDRESS that is no multiple of 64.",
    )
    RANGE = Member(
        5,
        "A transfer of nothing, beyond a bank, beyond the parameter memory or the address space; a store "
        "outside of the window that the host opened.",
    )
    READ_SLAVE = Member(6, "SLVERR on a read.")
    READ_DECODE = Member(7, "DECERR on a read.")
    WRITE_SLAVE = Member(8, "SLVERR on a write.")
    WRITE_DECODE = Member(9, "DECERR on a write.")
    WATCHDOG = Member(10, "No instruction was completed for as many cycles as register WATCHDOG says.")
    LENGTH = Member(
        11,
        "A program without instructions, or with more than can be numbered (65,535); told at the start, with index 0.",
    )
    READ_LAST = Member(12, "RLAST at a beat that is not the last of its burst, or missing at the last one.")


#: A token for each of the three units that have some.
Tokens = data.StructLayout({"load": 1, "compute": 1, "store": 1})


#: First 64 bits of an instruction. It starts when a token from each unit in ``take`` is there, and gives one to each
#: unit in ``give`` when it has ended: a load when the last word is in its memory, a pass when its ofmap is complete, a
#: store when memory has acknowledged it.
Header = data.StructLayout(
    {
        "opcode": unsigned(4),  # `Opcode`
        "take": Tokens,
        "give": Tokens,
    }
)


#: Body of all instructions but those of `PASSES`.
Transfer = DescribedLayout(
    Group(
        address=Field(unsigned(32), "in memory, in bytes; a multiple of the bus width"),
        count=Field(unsigned(24), "bank words, parameter words, ring entries or logit records"),
        bank_addr=Field(unsigned(16), "first word in the bank, or first parameter word; otherwise 0"),
        bank=Field(unsigned(BANK_BITS), "activation bank of a map; otherwise 0"),
    ),
)


#: Parameters of a channel in memory, 16 bytes; the fields are those of `hw.interface.layouts.ParameterWord`.
ChannelParameters = DescribedLayout(
    Group(
        multiplier=Field(signed(16), "M, signed"),
        offset=Field(signed(48), "B with the rounding term `1 << (S - 1)` added, signed"),
        threshold=Field(signed(32), "K of the slice or of the channel, signed"),
        reserved=Field(unsigned(32), "not looked at"),
    ),
)


def ParameterRecord(params):
    """A parameter word in memory: its channels, the lowest first."""
    return data.ArrayLayout(ChannelParameters, params.rq_lanes)


#: A transfer as the units get it.
TransferInstruction = data.StructLayout(
    {
        "opcode": unsigned(4),
        "take": Tokens,
        "give": Tokens,
        "transfer": Transfer,
        "beats": BusTransfer.members["beats"],
        "index": INDEX_BITS,
    }
)


def LayerInstruction(params):
    """A pass as the compute unit gets it."""
    return data.StructLayout(
        {
            "take": Tokens,
            "give": Tokens,
            "layer": LayerRegisters(params),
            "index": INDEX_BITS,
        }
    )


def item_bytes(opcode, params):
    """Return the bytes of what a transfer counts: a bank word, a parameter word, a ring entry, a logit record."""
    sizes = {
        Opcode.LOAD_MAP: params.in_par,
        Opcode.STORE_MAP: params.in_par,
        Opcode.LOAD_PARAMETERS: params.param_record_bytes,
        Opcode.LOAD_WEIGHTS: LANES * params.in_par,
        Opcode.STORE_LOGITS: 4 * params.rq_lanes,
    }
    return sizes[opcode]


#: What `System.pass_o` says of a pass: number of its instruction, and the counters up to its first step.
PassRecord = data.StructLayout({"index": INDEX_BITS, "counters": CounterLayout})
