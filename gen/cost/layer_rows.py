"""What a program does for each layer: tiles, bytes, steps and predicted cycles; as tables and for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from cdgate.cli import console, table
from gen.cost.prediction import Prediction
from gen.cost.steps import SliceSteps
from gen.network.instruction import COUNTER_OF, transfer_bytes
from gen.network.program import NetworkProgram
from hw.interface.instructions import Opcode

__all__ = ["LayerRow", "LayerRows", "layer_rows"]


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
            mine = [
                (instruction, part)
                for instruction, part in zip(program.passes, steps, strict=True)
                if instruction.layer == name
            ]
            moved = dict.fromkeys(COUNTER_OF.values(), 0)
            entries = 0
            for instruction in program.instructions:
                if instruction.layer == name and instruction.opcode in COUNTER_OF:
                    moved[COUNTER_OF[instruction.opcode]] += transfer_bytes(instruction, program.params)
                    if instruction.opcode is Opcode.LOAD_WEIGHTS:
                        entries += instruction.fields["count"]
            rows.append(
                LayerRow(
                    layer=name,
                    batch=segment.batch,
                    images=max(instruction.images for instruction, _ in mine),
                    rows=max(instruction.rows[1] - instruction.rows[0] for instruction, _ in mine),
                    passes=len(mine),
                    ring_entries=entries // len(mine),
                    **moved,
                    base_steps=sum(int(part.base.sum()) for _, part in mine),
                    conditional_steps=sum(int(part.conditional.sum()) for _, part in mine),
                    predicted_cycles=cycles[name],
                )
            )
    return rows


class LayerRows(list[LayerRow]):
    """The rows of a program, which print as two tables: what is computed, and what is moved.

    Parameters
    ----------
    rows
        In execution order.
    title
        What was compiled.
    images
        Number of images: with several the sums are given by image, too.
    """

    def __init__(self, rows: Iterable[LayerRow], title: str, images: int) -> None:
        super().__init__(rows)
        self.title, self.images = title, images

    def __str__(self) -> str:
        shown = console()
        with shown.capture() as capture:
            shown.print(self.title, soft_wrap=True)
            for part in self.tables():
                shown.print(part)
        return "\n".join(line.rstrip() for line in capture.get().splitlines())

    __repr__ = __str__

    def tables(self) -> list[Table]:
        """Return both tables, each readable in 80 columns."""
        computed = table(
            "What is computed",
            *("layer", "batch", "images\na pass", "rows\na pass", "passes", "ring\nentries", "steps", "cycles"),
        )
        moved = table(
            "Bytes on the bus", "layer", "weights", "parameters", "maps read", "maps written", "logits written"
        )
        for row in self:
            batch = str(row.batch or "rows")
            numbers = (row.passes, row.ring_entries, row.base_steps + row.conditional_steps, row.predicted_cycles)
            computed.add_row(row.layer, batch, str(row.images), str(row.rows), *map("{:,}".format, numbers))
            moved.add_row(row.layer, *map("{:,}".format, self._moved(row)))
        computed.add_section()
        moved.add_section()
        for name, share in (("all", 1), ("an image", self.images))[: 1 + (self.images > 1)]:
            steps = sum(row.base_steps + row.conditional_steps for row in self)
            cycles = sum(row.predicted_cycles for row in self)
            passes = f"{sum(row.passes for row in self):,}" if share == 1 else ""
            computed.add_row(name, "", "", "", passes, "", f"{steps / share:,.0f}", f"{cycles / share:,.0f}")
            sums = [sum(column) / share for column in zip(*map(self._moved, self), strict=True)]
            moved.add_row(name, *map("{:,.0f}".format, sums))
        return [computed, moved]

    @staticmethod
    def _moved(row: LayerRow) -> tuple[int, ...]:
        return row.weights_read, row.parameters_read, row.maps_read, row.maps_written, row.logits_written
