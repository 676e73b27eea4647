"""Signatures of what all units have alike, from the unit's side, and of what `Control` is told about a run."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.interface.instructions import INDEX_BITS, ErrorCode, Tokens

__all__ = ["Failure", "Progress", "RunStatus", "TokenPort"]


#: Tokens of one unit, to and from `TokenCounters`: those that its next instruction takes; whether all of them are
#: there, and which are not; a strobe that takes them, only while ``ready``; those that it gives in this cycle.
TokenPort = wiring.Signature(
    {"want": Out(Tokens), "ready": In(1), "missing": In(Tokens), "take": Out(1), "give": Out(Tokens)}
)

#: What a unit is at: whether an instruction is under way or waits for its tokens, and its number; a strobe for each
#: that has ended.
Progress = wiring.Signature({"busy": Out(1), "index": Out(INDEX_BITS), "complete": Out(1)})

#: A strobe that something went wrong, why, and at which instruction.
Failure = wiring.Signature({"valid": Out(1), "code": Out(ErrorCode), "index": Out(INDEX_BITS)})

#: What becomes of a run: everything was dispatched and no unit has anything left to do; a strobe, an instruction was
#: completed; an error; the instruction that the watchdog would name.
RunStatus = wiring.Signature(
    {"idle": Out(1), "complete": Out(1), "failure": Out(Failure), "stuck_index": Out(INDEX_BITS)}
)
