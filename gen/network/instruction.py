"""An instruction of a program, the bytes that it moves, and the bytes that it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gen.layer.packing import pack
from hw.interface.instructions import (
    BODY_OFFSET,
    INSTRUCTION_BYTES,
    PASSES,
    UNIT_OF,
    Header,
    Opcode,
    Tokens,
    Transfer,
    Unit,
    item_bytes,
)
from hw.interface.layouts import LayerRegisters
from hw.params import HwParams

__all__ = ["COUNTER_OF", "Instruction", "UNITS", "pack_instructions", "transfer_bytes"]

#: Units that exchange tokens, by the name of their tokens.
UNITS: Mapping[Any, str] = dict(zip((Unit.LOAD, Unit.COMPUTE, Unit.STORE), Tokens.members, strict=True))


@dataclass(eq=False, kw_only=True)
class Instruction:
    """One instruction of a program.

    Attributes
    ----------
    opcode
        A `hw.interface.instructions.Opcode`.
    fields
        Values of `hw.interface.instructions.Transfer`, or of the layer's registers where it runs a pass.
    layer
        Name of the layer that it serves.
    pass_number
        Number of the pass that it serves: for a store the pass before it.
    needs
        Instructions that must have ended before it starts.
    key
        Place in the program: see `order`.
    take, give
        Names of units with which tokens are exchanged, see `tie`.
    """

    opcode: Any
    fields: Mapping[str, int]
    layer: str
    pass_number: int
    needs: list[Instruction] = field(default_factory=list, repr=False)  # whose own are without end
    key: tuple[int, int] = (0, 0)
    take: tuple[str, ...] = ()
    give: tuple[str, ...] = ()

    @property
    def unit(self) -> Any:
        """The unit that executes it."""
        return UNIT_OF[self.opcode]


#: Counter of `hw.interface.registers.COUNTERS` that a transfer's bytes are counted by.
COUNTER_OF: Mapping[Any, str] = {
    Opcode.LOAD_WEIGHTS: "weights_read",
    Opcode.LOAD_PARAMETERS: "parameters_read",
    Opcode.LOAD_MAP: "maps_read",
    Opcode.STORE_MAP: "maps_written",
    Opcode.STORE_LOGITS: "logits_written",
}


def transfer_bytes(instruction: Instruction, params: HwParams) -> int:
    """Return the bytes that an instruction moves over the bus, in whole beats; 0 if it runs a pass."""
    if instruction.opcode in PASSES:
        return 0
    size = int(instruction.fields["count"]) * item_bytes(instruction.opcode, params)
    return -(-size // params.axi_bytes) * params.axi_bytes


def pack_instructions(program: Sequence[Instruction], params: HwParams) -> np.ndarray:
    """Return the program's bytes, (n, 64) uint8."""
    words = np.zeros((len(program), INSTRUCTION_BYTES), dtype=np.uint8)
    tokens = {
        way: {name: np.array([name in getattr(instruction, way) for instruction in program]) for name in UNITS.values()}
        for way in ("take", "give")
    }
    header = pack(
        Header, {"opcode": np.array([instruction.opcode.value for instruction in program]), **tokens}, len(program)
    )
    words[:, : header.shape[1]] = header
    body = BODY_OFFSET // 8
    for layout, chosen in (
        (Transfer, [instruction.opcode not in PASSES for instruction in program]),
        (LayerRegisters(params), [instruction.opcode in PASSES for instruction in program]),
    ):
        rows = np.flatnonzero(chosen).tolist()
        if rows:
            values = {name: np.array([program[row].fields.get(name, 0) for row in rows]) for name in layout.members}
            packed = pack(layout, values, len(rows))
            words[rows, body : body + packed.shape[1]] = packed
    return words
