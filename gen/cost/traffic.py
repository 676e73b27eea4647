"""What a program moves over the bus, by layer: counted from its instructions, without running it."""

from __future__ import annotations

from gen.network.instruction import transfer_bytes
from gen.network.program import NetworkProgram
from hw.interface.instructions import INSTRUCTION_BYTES, Opcode

__all__ = ["traffic"]

#: Counter of `hw.interface.registers.COUNTERS` that an opcode's bytes are counted by.
_COUNTERS = {
    Opcode.LOAD_MAP: "maps_read",
    Opcode.LOAD_PARAMETERS: "parameters_read",
    Opcode.LOAD_WEIGHTS: "weights_read",
    Opcode.STORE_MAP: "maps_written",
    Opcode.STORE_LOGITS: "logits_written",
}


def traffic(program: NetworkProgram) -> dict[str, dict[str, int]]:
    """Count the bytes of a program's transfers, in whole beats.

    Returns
    -------
    dict
        By layer, and for all together (with the instructions, under ``""``): bytes by the names of the counters.
    """
    found = {layer.name: dict.fromkeys(_COUNTERS.values(), 0) for layer in program.network.layers}
    for one in program.instructions:
        if one.opcode in _COUNTERS:
            found[one.layer][_COUNTERS[one.opcode]] += transfer_bytes(one, program.params)
    found[""] = {name: sum(layer[name] for layer in found.values()) for name in _COUNTERS.values()}
    found[""]["instructions_read"] = INSTRUCTION_BYTES * len(program.instructions)
    return found
