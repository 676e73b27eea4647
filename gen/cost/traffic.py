"""What a program moves over the bus, by layer: counted from its instructions, without running it."""

from __future__ import annotations

from gen.network.instruction import COUNTER_OF, transfer_bytes
from gen.network.program import NetworkProgram
from hw.interface.instructions import INSTRUCTION_BYTES

__all__ = ["traffic"]


def traffic(program: NetworkProgram) -> dict[str, dict[str, int]]:
    """Count the bytes of a program's transfers, in whole beats.

    Returns
    -------
    dict
        By layer, and for all together (with the instructions, under ``""``): bytes by the names of the counters.
    """
    found = {layer.name: dict.fromkeys(COUNTER_OF.values(), 0) for layer in program.network.layers}
    for instruction in program.instructions:
        if instruction.opcode in COUNTER_OF:
            found[instruction.layer][COUNTER_OF[instruction.opcode]] += transfer_bytes(instruction, program.params)
    found[""] = {name: sum(layer[name] for layer in found.values()) for name in COUNTER_OF.values()}
    found[""]["instructions_read"] = INSTRUCTION_BYTES * len(program.instructions)
    return found
