"""Reads weights from memory into the weight ring, ahead of their use."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bus.part_join import PartJoin
from hw.interface.axi import Burst, ReadBeat
from hw.interface.instructions import TransferInstruction
from hw.units.signatures import Progress
from hw.units.transfer_request import TransferRequest

__all__ = ["WeightUnit"]


class WeightUnit(wiring.Component):
    """Executes `Opcode.LOAD_WEIGHTS`, one at a time, as fast as the bus and the room in the ring allow.

    A burst is asked for only when all of it has room, so a full ring never holds up the bus. The ring takes entries of
    the next layers while the present one is computed. A beat a cycle.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    i : stream of instructions, checked.
    free : entries that the ring gave back in this cycle.
    burst, data : to and from the bus. Beats are always taken.
    entry : stream of ring entries, each for one cycle. There is always room for them.
    progress : of the instruction under way, or of the one on offer.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(TransferInstruction)),
                "free": In(params.ring_addr_bits + 1),
                "burst": Out(stream.Signature(Burst)),
                "data": In(stream.Signature(ReadBeat(params.axi_bits))),
                "entry": Out(stream.Signature(unsigned(params.entry_bits))),
                "progress": Out(Progress),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        m.submodules.request = request = TransferRequest(params)
        m.submodules.entries = entries = PartJoin(params.axi_bits, params.entry_bits)
        wiring.connect(m, wiring.flipped(self.i), request.i)
        wiring.connect(m, request.progress, wiring.flipped(self.progress))
        m.d.comb += [
            entries.i.payload.eq(self.data.payload),
            entries.i.valid.eq(self.data.valid),
            self.data.ready.eq(1),
            self.entry.valid.eq(entries.o.valid),
            self.entry.payload.eq(entries.o.p.data),
        ]

        # Room for beats that nobody asked for yet. More than the ring holds, when entries were freed before they came.
        beats_log2 = exact_log2(params.entry_bits // params.axi_bits)
        room = Signal(range(2 * params.ring_entries << beats_log2), init=params.ring_entries << beats_log2)
        freed = Signal(params.ring_addr_bits + 1)
        fits = Signal()  # lags behind `room`, and is not asked before it has caught up
        spent = Signal.like(request.burst.p.length)
        settled = Signal()
        go = Signal()  # the burst is taken in this cycle
        m.d.sync += [
            freed.eq(self.free),
            room.eq(room + (freed << beats_log2) - spent),
            fits.eq(room >= request.burst.p.length),
            settled.eq(request.burst.valid & ~self.burst.valid & (spent == 0)),
            spent.eq(0),
            go.eq(settled & fits & ~go),
        ]
        m.d.comb += request.burst.ready.eq(go)
        with m.If(self.burst.ready):
            m.d.sync += self.burst.valid.eq(0)
        with m.If(go):
            m.d.sync += [self.burst.valid.eq(1), spent.eq(request.burst.p.length), settled.eq(0)]
        with m.If(~self.burst.valid):
            m.d.sync += self.burst.payload.eq(request.burst.payload)

        # No tokens: room in the ring is order enough.
        left = Signal(24, reset_less=True)
        last = Signal(reset_less=True)  # `left` is 1
        m.d.comb += [
            request.tokens.ready.eq(1),
            request.end.eq(self.entry.valid & last),
        ]
        with m.If(request.idle):
            m.d.sync += left.eq(self.i.p.transfer.count)
        with m.Elif(request.asked):
            m.d.sync += last.eq(left == 1)
        with m.Elif(request.running & self.entry.valid):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
        return m
