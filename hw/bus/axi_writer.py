"""Write side of the AXI master."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.interface.axi import MAX_BURST, OUTSTANDING, Axi4, Burst, Response, WriteBeat
from hw.streams.queue import Queue
from hw.streams.stream_register import StreamRegister

__all__ = ["AxiWriter"]


class AxiWriter(wiring.Component):
    """Writes bursts: the address, then the beats, while responses of earlier bursts are still to come.

    A beat a cycle, if there is one to write, and a burst every third cycle. Addresses, beats and their strobes leave
    registers. A few beats are taken ahead of their burst; the first leaves three cycles after its burst was taken at
    the earliest, and a beat two cycles after it was taken. Beats do not wait for their address to be accepted, but the
    next burst does.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    axi : the bus; of its members the write channels are used.
    burst, data : streams of bursts, and of their beats in the same order.
    beat : strobe, one cycle after a beat of ``data`` went into the bus's register; it is certain to be written.
    responses : strobe, one cycle after a burst was acknowledged.
    error, error_decode : strobe, beside ``responses``: with an error; DECERR, not SLVERR.
    drain : no new burst is chosen, which happens one cycle before it is taken; those that were are completed, from the
        next cycle on with beats of which no byte is written.
    idle : nothing is under way.
    """

    #: Beats that may wait for their burst.
    DEPTH = 2

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "axi": Out(Axi4(params.axi_bits)),
                "burst": In(stream.Signature(Burst)),
                "data": In(stream.Signature(WriteBeat(params.axi_bits))),
                "beat": Out(1),
                "responses": Out(1),
                "error": Out(1),
                "error_decode": Out(1),
                "drain": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params, axi = self.params, self.axi
        m.submodules.lengths = lengths = Queue(unsigned(MAX_BURST.bit_length()), OUTSTANDING)
        unanswered = Signal(range(OUTSTANDING + 1))
        may = Signal(init=1)  # lags by a cycle, less than one burst behind the other
        take = Signal()
        answered = Signal()

        m.d.comb += [
            axi.awsize.eq((params.axi_bytes - 1).bit_length()),
            axi.awburst.eq(1),  # INCR
            self.burst.ready.eq(take),
            lengths.i.valid.eq(take),
            lengths.i.payload.eq(self.burst.p.length),
            axi.bready.eq(1),
            answered.eq(axi.bvalid & axi.bready),
        ]
        m.d.sync += [
            may.eq(unanswered != OUTSTANDING),
            take.eq(self.burst.valid & ~take & ~axi.awvalid & may & ~self.drain),
        ]
        with m.If(take):
            m.d.sync += axi.awvalid.eq(1)
        with m.Elif(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        with m.If(~axi.awvalid):  # what it has before an address is up is of no account
            m.d.sync += [axi.awaddr.eq(self.burst.p.address), axi.awlen.eq(self.burst.p.length - 1)]
        m.d.sync += [
            unanswered.eq(unanswered + take - answered),
            self.responses.eq(answered),
            self.error.eq(answered & (axi.bresp >= Response["SLVERR"])),
            self.error_decode.eq(axi.bresp == Response["DECERR"]),
        ]

        # Beats of the burst under way.
        active = Signal()
        left = Signal(MAX_BURST.bit_length(), reset_less=True)  # behind the next one
        ends = Signal(reset_less=True)  # `left` is 0
        move = Signal()
        drains = Signal()  # lags by a cycle, and no burst is chosen in the one before
        m.d.sync += drains.eq(self.drain)
        beats = StreamRegister(WriteBeat(params.axi_bits))
        m.submodules.beats = ResetInserter(drains)(beats)
        m.submodules.sent = sent = StreamRegister(
            data.StructLayout({"data": params.axi_bits, "strobe": params.axi_bytes, "last": 1})
        )
        m.d.comb += [
            self.data.ready.eq(beats.i.ready & ~drains),
            beats.i.valid.eq(self.data.valid),  # none gets through while it is reset
            beats.i.payload.eq(self.data.payload),
            move.eq(active & sent.i.ready & (beats.o.valid | drains)),
            beats.o.ready.eq(move),
            lengths.o.ready.eq(~active | (move & ends)),
            sent.i.valid.eq(move),
            sent.i.p.data.eq(beats.o.p.data),
            sent.i.p.strobe.eq(Mux(drains, 0, beats.o.p.strobe)),
            sent.i.p.last.eq(ends),
            axi.wvalid.eq(sent.o.valid),
            axi.wdata.eq(sent.o.p.data),
            axi.wstrb.eq(sent.o.p.strobe),
            axi.wlast.eq(sent.o.p.last),
            sent.o.ready.eq(axi.wready),
        ]
        m.d.sync += self.beat.eq(move & ~drains)
        with m.If(move):
            m.d.sync += [left.eq(left - 1), ends.eq(left == 1)]
        with m.If(lengths.o.ready):
            m.d.sync += [
                active.eq(lengths.o.valid),
                left.eq(lengths.o.payload - 1),
                ends.eq(lengths.o.payload == 1),
            ]
        m.d.comb += self.idle.eq((unanswered == 0) & ~take)  # a burst is answered after all of it was sent
        return m
