"""Reads weights from memory into the weight ring, ahead of their use."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bus.burst_splitter import BurstSplitter
from hw.bus.entry_join import EntryJoin
from hw.interface.axi import Burst, ReadBeat
from hw.interface.instructions import INDEX_BITS, TransferInstruction

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
    busy, index : an instruction is under way, and its number.
    complete : strobe: an instruction has ended.
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
                "busy": Out(1),
                "index": Out(INDEX_BITS),
                "complete": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        m.submodules.splitter = splitter = BurstSplitter(params)
        m.submodules.entries = entries = EntryJoin(params)
        wiring.connect(m, entries.o, wiring.flipped(self.entry))
        m.d.comb += [
            entries.i.payload.eq(self.data.payload),
            entries.i.valid.eq(self.data.valid),
            self.data.ready.eq(1),
        ]

        # Room for beats that nobody asked for yet. More than the ring holds, when entries were freed before they came.
        beats_log2 = exact_log2(params.entry_bits // params.axi_bits)
        room = Signal(range(2 * params.ring_entries << beats_log2), init=params.ring_entries << beats_log2)
        freed = Signal(params.ring_addr_bits + 1)
        fits = Signal()  # lags behind `room`, and is not asked before it has caught up
        spent = Signal.like(splitter.o.p.length)
        settled = Signal()
        m.d.sync += [
            freed.eq(self.free),
            room.eq(room + (freed << beats_log2) - spent),
            fits.eq(room >= splitter.o.p.length),
            settled.eq(splitter.o.valid & ~self.burst.valid & (spent == 0)),
            spent.eq(0),
        ]
        with m.If(self.burst.ready):
            m.d.sync += self.burst.valid.eq(0)
        with m.If(splitter.o.valid & ~self.burst.valid & settled & fits & (spent == 0)):
            m.d.comb += splitter.o.ready.eq(1)
            m.d.sync += [
                self.burst.valid.eq(1),
                self.burst.payload.eq(splitter.o.payload),
                spent.eq(splitter.o.p.length),
                settled.eq(0),
            ]

        instruction = Signal(TransferInstruction)
        left = Signal(24)
        taken = Signal()
        m.d.comb += [
            splitter.i.p.address.eq(instruction.transfer.address),
            splitter.i.p.beats.eq(instruction.beats),
            self.index.eq(instruction.index),
            taken.eq(self.entry.valid),
        ]
        with m.FSM(name="weights"):
            with m.State("Idle"):
                m.d.comb += [self.i.ready.eq(1), self.busy.eq(self.i.valid)]
                m.d.sync += [instruction.eq(self.i.payload), left.eq(self.i.p.transfer.count)]
                with m.If(self.i.valid):
                    m.next = "Request"
            with m.State("Request"):
                m.d.comb += [self.busy.eq(1), splitter.i.valid.eq(1)]
                with m.If(splitter.i.ready):
                    m.next = "Copy"
            with m.State("Copy"):
                m.d.comb += self.busy.eq(1)
                with m.If(taken):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.d.comb += self.complete.eq(1)
                        m.next = "Idle"
        return m
