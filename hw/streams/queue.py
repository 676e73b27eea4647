"""The queue between two streams."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Queue"]


class Queue(wiring.Component):
    """First-in first-out queue of payloads.

    Holds ``depth`` of them. One a cycle goes in and out; a full queue takes none, even if one leaves in the same cycle,
    so ``i.ready`` and ``o.valid`` depend on registers alone. A payload is offered one cycle after it was taken, from
    LUT memory; ``buffered`` it is offered two cycles after, from a register or a block RAM, and with a depth of two
    one passes every other cycle.

    Parameters
    ----------
    shape : shape-like
        Of the payload.
    depth : :class:`int`
        Payloads that may wait; at least two.
    buffered : :class:`bool`
        Whether the output is registered.

    Members
    -------
    i : stream of payloads in.
    o : stream of payloads out.

    Raises
    ------
    :exc:`ValueError`
        If the depth is less than two.
    """

    def __init__(self, shape, depth, *, buffered=False):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth!r}")
        self.shape = shape
        self.depth = depth
        self.buffered = buffered
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        kind = fifo.SyncFIFOBuffered if self.buffered else fifo.SyncFIFO
        m.submodules.fifo = queue = kind(width=Shape.cast(self.shape).width, depth=self.depth)
        m.d.comb += [
            queue.w_data.eq(self.i.payload),
            queue.w_en.eq(self.i.valid),
            self.i.ready.eq(queue.w_rdy),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        return m
