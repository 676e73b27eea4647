"""What a program moves over the bus, by layer: counted from its instructions, without running it."""

from __future__ import annotations

from gen.network import NetworkProgram
from hw.instructions import INSTRUCTION_BYTES, Opcode
from hw.params import LANES

__all__ = ["traffic"]

#: Counter of `hw.registers.COUNTERS` that an opcode's bytes are counted by.
_COUNTERS = {
    Opcode.LOAD_MAP: "maps_read", Opcode.LOAD_PARAMETERS: "parameters_read", Opcode.LOAD_WEIGHTS: "weights_read",
    Opcode.STORE_MAP: "maps_written", Opcode.STORE_LOGITS: "logits_written",
}


def traffic(program: NetworkProgram) -> dict[str, dict[str, int]]:
    """Count the bytes of a program's transfers, in whole beats.

    Returns
    -------
    dict
        By layer, and for all together (with the instructions, under ``""``): bytes by the names of the counters.
    """
    params = program.params
    item = {Opcode.LOAD_MAP: params.in_par, Opcode.STORE_MAP: params.in_par,
            Opcode.LOAD_PARAMETERS: params.param_record_bytes, Opcode.LOAD_WEIGHTS: LANES * params.in_par,
            Opcode.STORE_LOGITS: 4 * params.rq_lanes}
    found = {layer.name: dict.fromkeys(_COUNTERS.values(), 0) for layer in program.network.layers}
    for one in program.instructions:
        if one.opcode in _COUNTERS:
            beats = -(-one.fields["count"] * item[one.opcode] // params.axi_bytes)
            found[one.layer][_COUNTERS[one.opcode]] += beats * params.axi_bytes
    found[""] = {name: sum(layer[name] for layer in found.values()) for name in _COUNTERS.values()}
    found[""]["instructions_read"] = INSTRUCTION_BYTES * len(program.instructions)
    return found
