"""Mutants that no run can show, with the reason: a person has read the Verilog and found it so.

An entry is for one module, one statement of the Verilog and some changes of it. When the statement changes, it is of no
use any more, and the command fails on a mutant that survives there until the reason has been looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from verification.mutation.mutations import Mutation

__all__ = ["EXPLAINED", "Explained", "explanation"]


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Why some mutations of a statement cannot be seen.

    Attributes
    ----------
    module
        Regular expression of the module's name behind that of the top module, ``.fetch`` for instance.
    text
        Of the statement, as `Mutation.text` has it.
    change
        Regular expression of `Mutation.change`.
    reason
        A sentence.
    """

    module: str
    text: str
    change: str
    reason: str


#: The table.
EXPLAINED: tuple[Explained, ...] = (
    Explained(
        module=r"\.core\.scheduler",
        text=r"assign \$7 = ~ forced;",
        change=r"Y\[0\] is 1",
        reason="A program with gate mode forced is refused (code LAYER), so that forced is 0 and its inverse is "
        "1 already.",
    ),
    Explained(
        module=r"\.core\.array",
        text=(
            r"\cdgate_tiny_system.core.array.lane_0 lane_0 ( .act(act), .act_out(\act$36 ), .clear_0(clear_0), "
            r".clk(clk), "
            ".control(control),"
        ),
        change=r"control\[(8|9|1[0-5])\] (is 0|is 1|inverted)",
        reason="Bits 8 to 15 of a step are the forced decisions. Lanes look at them in gate mode forced alone, and the "
        "instruction check refuses a program with it (code LAYER).",
    ),
    Explained(
        module=r"\.control",
        text=r"if (write_interrupt) begin \$91 = \$24 ; end",
        change=r"A\[\d+\] inverted if bit ([3-9]|[12]\d|3[01]) is 1",
        reason="Only bits 0 to 2 of INTERRUPT are ever set (hw/units/control.py): bits 31 to 3 begin with 0 and "
        "are written "
        "with themselves and not what software writes, so the bit that decides is never 1.",
    ),
    Explained(
        module=r"\.(store|load|compute|weights)_queue\.fifo",
        text=r"if (\$13 ) begin \$17 = \$14 [2:0]; end",
        change=r"B\[2\] is 0",
        reason="A level of at most 4 (w_rdy is level != 4), less one, as something is read, which needs a level "
        "above 0: at "
        "most 3, so bit 2 is 0 already.",
    ),
    Explained(
        module=r"\.core\.ring",
        text="assign i__ready = | room;",
        change=r"Y\[0\] is 1",
        reason="The weight unit asks for a burst only when all of it has room in the ring "
        "(hw/units/weight_unit.py), so an "
        "entry never comes while room is 0.",
    ),
    Explained(
        module=r"\.core\.scheduler",
        text=r"if (clear_scheduler) begin \$100 = 54'h00000000000000; end",
        change=r"Y\[45\] is 1",
        reason="The bit is the lowest of 1 + 2 * cond_tap_entries, which is odd; the register is computed anew "
        "in every "
        "cycle, long before the first job after a clear.",
    ),
    Explained(
        module=r"\.weights_queue",
        text=(
            r"\cdgate_tiny_system.weights_queue.fifo fifo ( .clear_weights_queue(clear_weights_queue), .clk(clk), "
            ".r_data(o__payload), .r_en(r_en), .r_rdy(o__valid),"
        ),
        change=r"r_data\[\d+\] inverted if bit [4-9] is 1",
        reason="Bits 4 to 9 of an instruction are its tokens, and a LOAD_WEIGHTS with any is refused (code "
        "TOKENS), so the "
        "bit that decides is never 1.",
    ),
    Explained(
        module=r"\.core\.steps",
        text=r"always @(posedge clk) job <= \$39 ;",
        change=r"Q\[([4-9]|1[0-6])\] .*",
        reason="Bits 4 to 16 of the held job are its tap_addr, which nothing reads: the address is taken from the "
        "stream when the job comes.",
    ),
    Explained(
        module=r"\.fetch\.gearbox",
        text=r"assign \$2 = ~ closing;",
        change=r"Y\[0\] inverted",
        reason="Bursts of instructions end with one, so closing stays 0; the term is then 0 instead of 1, and a "
        "beat of an "
        "instruction waits a cycle longer. Nothing else changes, and no run waits for instructions for long.",
    ),
)


def explanation(mutation: Mutation, top: str, table: Sequence[Explained] = EXPLAINED) -> str | None:
    """Return why a mutation cannot be seen, or None if nobody has said so.

    Parameters
    ----------
    mutation
        The mutation.
    top
        Name of the top module.
    table
        The explanations.
    """
    module = mutation.module.removeprefix(top)
    for entry in table:
        if (
            re.fullmatch(entry.module, module)
            and entry.text == mutation.text
            and re.fullmatch(entry.change, mutation.change)
        ):
            return entry.reason
    return None
