"""What a program does for each layer: tiles, bytes, steps and predicted cycles; as a table and for JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from gen.cost.cycle_model import Prediction
from gen.cost.steps import SliceSteps
from gen.network.instruction import transfer_bytes
from gen.network.program import NetworkProgram
from hw.interface.instructions import Opcode

__all__ = ["LayerRow", "layer_rows", "layer_table"]

#: The sums by what is moved, as the engine's counters are called.
_COUNTERS: dict[Any, str] = {
    Opcode.LOAD_WEIGHTS: "weights_read",
    Opcode.LOAD_PARAMETERS: "parameters_read",
    Opcode.LOAD_MAP: "maps_read",
    Opcode.STORE_MAP: "maps_written",
    Opcode.STORE_LOGITS: "logits_written",
}


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """A layer in a program.

    Attributes
    ----------
    layer
        Its name.
    batch, images, rows
        Images whose maps are in the banks together (0: the layer is computed in tiles of rows), and the most images
        and rows of one pass.
    passes
        Number of passes.
    ring_entries
        Entries of the weight ring that go through it in one pass.
    weights_read, parameters_read, maps_read, maps_written, logits_written
        Bytes on the bus.
    base_steps, conditional_steps
        Steps of the MAC array.
    predicted_cycles
        From its first step to the next layer's.
    """

    layer: str
    batch: int
    images: int
    rows: int
    passes: int
    ring_entries: int
    weights_read: int
    parameters_read: int
    maps_read: int
    maps_written: int
    logits_written: int
    base_steps: int
    conditional_steps: int
    predicted_cycles: int


def layer_rows(program: NetworkProgram, steps: Sequence[SliceSteps], prediction: Prediction) -> list[LayerRow]:
    """Sum up a program by layer, in execution order.

    Parameters
    ----------
    program
        The program.
    steps
        By pass, from `gen.cost.cycle_model.slice_steps`.
    prediction
        From `gen.cost.cycle_model.predict`, on these steps.
    """
    cycles = prediction.layers()
    rows = []
    for segment in program.segments:
        for shape in segment.layers:
            name = shape.name
            mine = [(one, part) for one, part in zip(program.passes, steps, strict=True) if one.layer == name]
            moved = dict.fromkeys(_COUNTERS.values(), 0)
            entries = 0
            for one in program.instructions:
                if one.layer == name and one.opcode is not Opcode.COMPUTE:
                    moved[_COUNTERS[one.opcode]] += transfer_bytes(one, program.params)
                    if one.opcode is Opcode.LOAD_WEIGHTS:
                        entries += one.fields["count"]
            rows.append(
                LayerRow(
                    layer=name,
                    batch=segment.batch,
                    images=max(one.images for one, _ in mine),
                    rows=max(one.rows[1] - one.rows[0] for one, _ in mine),
                    passes=len(mine),
                    ring_entries=entries // len(mine),
                    **moved,
                    base_steps=sum(int(part.base.sum()) for _, part in mine),
                    conditional_steps=sum(int(part.conditional.sum()) for _, part in mine),
                    predicted_cycles=cycles[name],
                )
            )
    return rows


def layer_table(rows: Sequence[LayerRow], title: str, frames: int = 1) -> Table:
    """Return a table of them, with their sums, and these by frame if there are several."""
    table = Table(title=title, title_justify="left")
    heads = (
        "layer",
        "batch",
        "images x rows",
        "passes",
        "ring entries",
        "steps",
        "cycles",
        "weights",
        "parameters",
        "maps read",
        "maps written",
    )
    for head in heads:
        table.add_column(head, justify="left" if head == "layer" else "right", no_wrap=True)

    def cells(row: Any, share: int = 1) -> list[str]:
        return [
            f"{value / share:,.0f}"
            for value in (
                row["base_steps"] + row["conditional_steps"],
                row["predicted_cycles"],
                row["weights_read"],
                row["parameters_read"],
                row["maps_read"],
                row["maps_written"],
            )
        ]

    listed = [dataclasses.asdict(row) for row in rows]
    for row in listed:
        table.add_row(
            row["layer"],
            str(row["batch"] or "rows"),
            f"{row['images']} x {row['rows']}",
            f"{row['passes']:,}",
            f"{row['ring_entries']:,}",
            *cells(row),
        )
    table.add_section()
    sums = {name: sum(row[name] for row in listed) for name in listed[0] if name != "layer"}
    table.add_row("all", "", "", f"{sums['passes']:,}", "", *cells(sums))
    if frames > 1:
        table.add_row("a frame", "", "", "", "", *cells(sums, frames))
    return table
