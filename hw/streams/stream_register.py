"""A stream's register whose ready is a register, too."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP

__all__ = ["StreamRegister"]


class StreamRegister(wiring.Component):
    """Cuts a stream between two components that are far apart: what either side sees are registers.

    Two places: the one that ``o`` shows, and a spare one for the payload that comes in the cycle in which ``o`` is
    found not to be taken. One payload a cycle, offered one cycle after it was taken.

    Parameters
    ----------
    shape : shape-like
        Of the payload.

    Members
    -------
    i : stream of payloads in.
    o : stream of payloads out.
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        given = Value.cast(self.i.payload)
        shown = Signal.like(given, name="shown", reset_less=True)
        spare = Signal.like(given, name="spare", reset_less=True)
        # That the spare place is free, once for `i` and once for each place.
        free = Signal(init=1, attrs=KEEP)
        free_spare = Signal(init=1, attrs=KEEP)
        free_shown = Signal(init=1, attrs=KEEP)
        move = Signal()
        m.d.comb += [
            self.i.ready.eq(free),
            Value.cast(self.o.payload).eq(shown),
            move.eq(~self.o.valid | self.o.ready),
        ]
        # What comes goes there while it is free, whether it is valid or not.
        with m.If(free_spare):
            m.d.sync += spare.eq(given)
        with m.If(move):
            m.d.sync += [shown.eq(Mux(free_shown, given, spare)), self.o.valid.eq(~free | self.i.valid)]
            m.d.sync += [flag.eq(1) for flag in (free, free_spare, free_shown)]
        with m.Elif(self.i.valid):
            m.d.sync += [flag.eq(0) for flag in (free, free_spare, free_shown)]
        return m
