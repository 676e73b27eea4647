"""Cuts transfers of any length into bursts that AXI allows."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.interface.axi import MAX_BURST, PAGE_BYTES, Burst, BusTransfer

__all__ = ["BurstSplitter"]


class BurstSplitter(wiring.Component):
    """Cuts a transfer at every multiple of ``MAX_BURST`` beats from a page's start, so that no burst crosses a page.

    The first burst of a transfer is offered two cycles after it was taken, each following one two cycles after the one
    before. The output is registered. The next transfer is taken when the last burst was.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    i : stream of transfers, of at least one beat.
    o : stream of bursts.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(BusTransfer)),
                "o": Out(stream.Signature(Burst)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beat = exact_log2(self.params.axi_bytes)
        span = min(MAX_BURST, PAGE_BYTES // self.params.axi_bytes)
        address = Signal.like(self.i.p.address)
        left = Signal.like(self.i.p.beats)
        # Beats to the next multiple of the span, known one cycle ahead, and whether the transfer ends before.
        room = Signal(range(span + 1))
        ends = Signal()
        m.d.comb += ends.eq(left <= room)
        with m.FSM(name="split"):
            with m.State("Idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    address.eq(self.i.p.address),
                    left.eq(self.i.p.beats),
                    room.eq(span - self.i.p.address[beat : beat + exact_log2(span)]),
                ]
                with m.If(self.i.valid):
                    m.next = "Cut"
            with m.State("Cut"):
                m.d.sync += [
                    self.o.valid.eq(1),
                    self.o.p.address.eq(address),
                    self.o.p.length.eq(Mux(ends, left, room)),
                    self.o.p.last.eq(ends),
                ]
                m.next = "Offer"
            with m.State("Offer"):
                with m.If(self.o.ready):
                    m.d.sync += [
                        self.o.valid.eq(0),
                        address.eq(address + (self.o.p.length << beat)),
                        left.eq(left - self.o.p.length),
                        room.eq(span),
                    ]
                    with m.If(self.o.p.last):
                        m.next = "Idle"
                    with m.Else():
                        m.next = "Cut"
        return m
