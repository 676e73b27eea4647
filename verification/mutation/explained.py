"""Mutants that no run can show, with the reason: a person has read the Verilog and found it so.

An entry is for one kind of module, of statement and of change, with the bits that it holds for. A mutant that survives
and that no entry is for makes the command fail until somebody has looked at it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hw.interface.instructions import BODY_OFFSET, Header, TransferInstruction
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
        Regular expression of the statement, `Mutation.text`.
    change
        Regular expression of `Mutation.change`; any if not given.
    bits
        Bits of the port that may be wrong; any if not given.
    control
        Bits that may decide; any, or none at all, if not given.
    reason
        A sentence.
    """

    module: str
    text: str
    change: str = ".*"
    bits: Sequence[int] | None = None
    control: Sequence[int] | None = None
    reason: str

    def holds(self, mutation: Mutation, module: str) -> bool:
        """Tell whether the reason is for a mutation in a module, named without the top module."""
        return (
            re.fullmatch(self.module, module) is not None
            and re.fullmatch(self.text, mutation.text) is not None
            and re.fullmatch(self.change, mutation.change) is not None
            and (self.bits is None or mutation.bit in self.bits)
            and (self.control is None or mutation.control in self.control)
        )


def _place(name: str) -> range:
    """Return the bits of a field of a transfer as the units get it."""
    shape: Any = TransferInstruction
    first, width = 0, 0
    for part in name.split("."):
        field = shape[part]
        first, width, shape = first + field.offset, field.width, field.shape
    return range(first, first + width)


#: Bits of an instruction in the load unit's own register that the unit has copied from the stream.
_COPIED = (*_place("transfer.count"), *_place("transfer.bank_addr"))

#: Beats of a transfer that no run of a small engine has: 64 times a bank of `tiny`.
_FAR = range(17, 30)

#: Bits of a step's control that are forced decisions.
_FORCED = range(8, 16)

#: Why the upper bits of a counter are never seen.
_LATE = "A counter comes as far only after 2^24 cycles, a thousand times a run of these networks."

#: The table.
EXPLAINED: tuple[Explained, ...] = (
    Explained(
        module=r"\.core\.array\.lane_\d",
        text=r"if \(clear_\d\) begin \S+ = 16'h0000; end",
        change=r"B\[\d+\] .*",
        bits=range(1, 16),
        reason="What else a step's control holds after a clear is looked at by nobody: bit 0 says that there is none.",
    ),
    Explained(
        module=r"\.reader\.offers_\d",
        text=r"if \(clear_reader\) begin \S+ = 1'h1; end",
        change=r"B\[0\] .*",
        reason="After a clear the register takes nothing for one cycle; the units, cleared with it, offer nothing.",
    ),
    Explained(
        module=r"\.core\.array\.lane_\d",
        text=r"(if \(clear_\d\) begin \S+ = 16'h0000; end|always @\(posedge clk\) control_\d <= \S+ ?;)",
        bits=_FORCED,
        reason="Bits 8 to 15 of a step are the forced decisions. Lanes look at them in gate mode forced alone, and the "
        "instruction check refuses a program with it (code LAYER).",
    ),
    Explained(
        module=r"\.core\.array\.lane_\d|\.core\.comparator",
        text=r"assign (under|s1_under) = .*;",
        change=r"Y\[\d+\] .*",
        bits=range(32),
        reason="Only the sign of the difference is looked at, which is bit 32.",
    ),
    Explained(
        module=r"\.weights_queue_0.*",
        text=r".*",
        change=r".* inverted if bit \d+ is 1",
        control=(*_place("take"), *_place("give"), *_place("transfer.bank_addr"), *_place("transfer.bank")),
        reason="A LOAD_WEIGHTS with tokens (code TOKENS), a place in a bank or a bank is refused, so the bit that "
        "decides is never 1.",
    ),
    Explained(
        module=r"\.(load|store)_queue_0.*",
        text=r".*",
        change=r"\w+\[3\] is 0",
        reason="Bit 3 of an opcode: all that are known are less than 8.",
    ),
    Explained(
        module=r"\.(load|weights)\.request",
        text=r"(casez \(request_state\) 2'h0: \S+ = i__payload; endcase|if \(clear_\w+\) begin \S+ = 130'h0+; end|"
        r"always @\(posedge clk\) instruction <= \S+ ?;)",
        bits=_COPIED,
        reason="The units of loads and of weights copy count and place in the bank from the stream, or have none; the "
        "register's own are looked at by nobody.",
    ),
    Explained(
        module=r"\.(load|store|weights)\.request\.splitter",
        text=r"assign \S+ = left - .*;",
        change=r"Y\[\d+\] inverted if bit \d+ is 1",
        bits=_FAR,
        control=range(7, 17),
        reason="It says only that many more beats are left while many are; bursts are of 32 beats at most, so it is "
        "taken back, as often as it was done, before the last ones.",
    ),
    Explained(
        module=r"\.weights",
        text=r".*begin \S+ = \S+ \[23:0\]; end",
        bits=range(16, 24),
        reason="A count of ring entries: none of a small engine's layers has as many.",
    ),
    Explained(
        module=r"|\.core\.counters\$\d+",
        text=r".*\[39:0\]; end",
        change=r"\w+\[\d+\] inverted if bit \d+ is 1",
        control=range(24, 40),
        reason=_LATE,
    ),
    Explained(
        module=r"|\.core\.counters\$\d+",
        text=r".*\[39:0\]; end",
        change=r"\w+\[\d+\] is 0",
        bits=range(24, 40),
        reason=_LATE,
    ),
    Explained(
        module=r"\.core\.counters\$\d+",
        text=r"always @\(posedge clk\) counts <= \S+ ?;",
        change=r"\w+\[\d+\] inverted if bit \d+ is 1",
        control=[bit for bit in range(480) if bit % 40 >= 19],
        reason="A counter of a pass, of 40 bits, comes as far only after 2^19 cycles; a whole run of these networks is "
        "shorter.",
    ),
    Explained(
        module=r"",
        text=r"assign \S+ = instructions_read_beats \+ 1'h1;",
        change=r"Y\[\d+\] inverted",
        bits=range(12, 40),
        reason="An instruction is of eight beats, and the count stays below 2^12: the bit is inverted an even number "
        "of times before anybody looks.",
    ),
    *(
        Explained(
            module=r"\.tokens",
            text=rf"always @\(posedge clk\) (given|taken)_by_{unit} <= \S+ ?;",
            bits=(own,),
            reason="A unit has no tokens from or for itself: the instruction check refuses them (code TOKENS).",
        )
        for own, unit in enumerate(("load", "compute", "store"))
    ),
    Explained(
        module=r"\.reader\.offers_0",
        text=r"if \(free_spare\) begin \S+ = i__payload; end",
        reason="The fetch of instructions asks for one burst, and for the next one when that was answered: the spare "
        "place is never used.",
    ),
    Explained(
        module=r"\.fetch\.join",
        text=r"if \(place\[0\]\) begin \S+ \[63:0\] = beat_0; end",
        change=r"Y\[\d+\] inverted if bit \d+ is 1",
        control=range(Header.size, BODY_OFFSET),
        reason="Bits of the header that mean nothing: an instruction in which one is 1 is refused for it (code "
        "OPCODE), whatever else is wrong.",
    ),
    Explained(
        module=r"\.core\.table",
        text=r"if \(\\begin \) begin \S+ = 3'h1; end",
        change=r"A\[1\] inverted",
        reason="After a reset the slice table then prepares a context of no slice by itself, and waits for the start "
        "as after a layer.",
    ),
    Explained(
        module=r"\.control",
        text=r"casez \(low_1_0\) .*",
        control=range(96, 128),
        reason="Registers 6 and 7 of this group are none: their words are constants 0, so the bit that decides is "
        "never 1.",
    ),
    Explained(
        module=r"\.control",
        text=r"always @\(posedge clk\) error_code <= \S+ ?;",
        control=range(8, 32),
        reason="An error's code has 8 bits, so the bit that decides is never 1.",
    ),
    Explained(
        module=r"\.core\.comparator\.masks\.fifo",
        text=r"assign \S+ = ~ \S+ ?;|if \(r_port__en\) begin _0_ <= storage\[r_port__addr\]; end",
        change=r"(Y\[0\] is 1|A\[\d+\] .*)",
        reason="In the whole engine decisions are always taken at once (hw/system.py: mask_o.ready is 1), so the queue "
        "never holds one back.",
    ),
    Explained(
        module=r"\.core\.banks",
        text=r"assign \S+ = \S+ +\| \S+ ?;",
        change=r"A\[0\] is 1",
        reason="Whether a bank is free to be read for a store or written by a load. Tokens keep both from a bank that "
        "a pass has in use, so in a good program it is free whenever it is asked.",
    ),
    Explained(
        module=r"\.store\.logit_box",
        text=r"if \(\S+ ?\) begin \S+ = \S+ \[32\]; end",
        reason="The last record of a store: with it an unfinished beat is closed. Logits come in slices of 8, two of "
        "them to a beat, so no beat is unfinished.",
    ),
    Explained(
        module=r"\.(load|store|weights)\.request",
        text=r"casez \(request_state\) 2'h0: progress__busy = .*",
        change=r"Y\[0\] is 1",
        reason="The first case that fits acts. In state 0 that is its own, and 1 and 2 say the same.",
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
    return next((entry.reason for entry in table if entry.holds(mutation, module)), None)
