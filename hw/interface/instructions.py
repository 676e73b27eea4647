"""The instructions of the engine: one description for hardware, packer, disassembler, C header and documentation.

An instruction is 64 bytes in memory, lowest byte first: a header of 8 bytes, then a body at bit 64, either a transfer
or the registers of a layer. Bits that no field takes are 0. A program is an array of them, in an order in which no
instruction needs a later one; it is dispatched in this order to four units, each of which runs its own instructions
in order and side by side with the others. Tokens put instructions of different units in order.
"""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

from hw.interface.axi import BusTransfer
from hw.interface.layouts import CounterLayout, LayerRegisters
from hw.params import LANES

__all__ = [
    "INSTRUCTION_BYTES",
    "BODY_OFFSET",
    "INDEX_BITS",
    "TOKEN_BITS",
    "Opcode",
    "Unit",
    "UNIT_OF",
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


class Opcode(enum.Enum, shape=4):
    """What an instruction does. No opcode is 0, so empty memory is no program."""

    #: Reads a part of a map from memory into an activation bank.
    LOAD_MAP = 1
    #: Reads parameter words from memory.
    LOAD_PARAMETERS = 2
    #: Reads weight ring entries from memory; waits for room in the ring.
    LOAD_WEIGHTS = 3
    #: Runs one pass of one layer.
    COMPUTE = 4
    #: Writes a part of a map from an activation bank to memory.
    STORE_MAP = 5
    #: Writes logit records to memory in the order in which they leave the core.
    STORE_LOGITS = 6


class Unit(enum.Enum, shape=2):
    """Units that execute instructions side by side."""

    LOAD = 0
    COMPUTE = 1
    STORE = 2
    #: Takes and gives no tokens: the weight ring is order enough.
    WEIGHTS = 3


#: The unit that executes an opcode.
UNIT_OF = {
    Opcode.LOAD_MAP: Unit.LOAD,
    Opcode.LOAD_PARAMETERS: Unit.LOAD,
    Opcode.LOAD_WEIGHTS: Unit.WEIGHTS,
    Opcode.COMPUTE: Unit.COMPUTE,
    Opcode.STORE_MAP: Unit.STORE,
    Opcode.STORE_LOGITS: Unit.STORE,
}


class ErrorCode(enum.Enum, shape=8):
    """Why the engine stopped."""

    #: It did not.
    NONE = 0
    #: No such opcode, or a bit is set that no field takes.
    OPCODE = 1
    #: A token for or from the instruction's own unit, a token of a unit that has none, or more tokens than are counted.
    TOKENS = 2
    #: A gate mode that a program cannot run (forced), one but BASE without a conditional path, an ofmap or a residual
    #: in the ifmap's bank.
    LAYER = 3
    #: A memory address that is no multiple of the bus width; or, told at the start with index 0, a PROGRAM_ADDRESS
    #: that is no multiple of 64.
    ADDRESS = 4
    #: A transfer of nothing, beyond a bank, beyond the parameter memory or the address space; a store outside of the
    #: window that the host opened.
    RANGE = 5
    #: SLVERR on a read.
    READ_SLAVE = 6
    #: DECERR on a read.
    READ_DECODE = 7
    #: SLVERR on a write.
    WRITE_SLAVE = 8
    #: DECERR on a write.
    WRITE_DECODE = 9
    #: No instruction was completed for as many cycles as register WATCHDOG says.
    WATCHDOG = 10
    #: A program without instructions, or with more than can be numbered (65,535); told at the start, with index 0.
    LENGTH = 11


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


#: Body of all instructions but `Opcode.COMPUTE`.
Transfer = data.StructLayout(
    {
        "address": unsigned(32),  # in memory, in bytes; a multiple of the bus width
        "count": unsigned(24),  # bank words, parameter words, ring entries or logit records
        "bank_addr": unsigned(16),  # first word in the bank, or first parameter word; otherwise 0
        "bank": unsigned(2),  # activation bank of a map; otherwise 0
    }
)


#: Parameters of a channel in memory, 16 bytes; the fields are those of `hw.interface.layouts.ParameterWord`.
ChannelParameters = data.StructLayout(
    {
        "multiplier": signed(16),
        "offset": signed(48),
        "threshold": signed(32),
        "reserved": unsigned(32),
    }
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
