"""Reads maps and parameters from memory into the core."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bus.burst_splitter import BurstSplitter
from hw.bus.gearbox import Gearbox
from hw.interface.axi import Burst, ReadBeat
from hw.interface.instructions import INDEX_BITS, Opcode, ParameterRecord, Tokens, TransferInstruction
from hw.interface.layouts import BankWrite, ParameterWord

__all__ = ["LoadUnit"]


class LoadUnit(wiring.Component):
    """Executes `Opcode.LOAD_MAP` and `Opcode.LOAD_PARAMETERS`, one at a time.

    A beat a cycle, as long as the core takes the words: a bank takes one a cycle unless it is the ofmap of the pass
    under way, the parameter memory always. Words of the last beat that the instruction does not count are dropped.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    i : stream of instructions, checked.
    want, ready, take, give : to and from :class:`TokenCounters`.
    burst, data : to and from the bus.
    load : stream of words for the activation banks.
    param : stream of parameter words. They are always taken.
    parameters : parameters are being loaded, not a map.
    busy, index : an instruction is under way or waits for its tokens, and its number.
    complete : strobe: an instruction has ended.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(TransferInstruction)),
                "want": Out(Tokens),
                "ready": In(1),
                "take": Out(1),
                "give": Out(Tokens),
                "burst": Out(stream.Signature(Burst)),
                "data": In(stream.Signature(ReadBeat(params.axi_bits))),
                "load": Out(stream.Signature(BankWrite(params))),
                "param": Out(stream.Signature(ParameterWord(params))),
                "parameters": Out(1),
                "busy": Out(1),
                "index": Out(INDEX_BITS),
                "complete": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        m.submodules.splitter = splitter = BurstSplitter(params)
        m.submodules.words = words = Gearbox(params.axi_bits, params.chunk_bits)
        m.submodules.records = records = Gearbox(params.axi_bits, ParameterRecord(params).size)
        wiring.connect(m, splitter.o, wiring.flipped(self.burst))

        instruction = Signal(TransferInstruction)
        address = Signal(16)
        left = Signal(24)
        last = Signal()  # the word is the last one of the last beat
        m.d.comb += [
            self.want.eq(self.i.p.take),
            splitter.i.p.address.eq(instruction.transfer.address),
            splitter.i.p.beats.eq(instruction.beats),
            self.parameters.eq(instruction.opcode == Opcode.LOAD_PARAMETERS.value),
        ]

        # Beats go to one of the gearboxes, and words from there to one of the memories.
        for box, chosen in ((words, ~self.parameters), (records, self.parameters)):
            m.d.comb += [
                box.i.payload.eq(self.data.payload),
                box.i.valid.eq(self.data.valid & chosen),
            ]
        m.d.comb += self.data.ready.eq(Mux(self.parameters, records.i.ready, words.i.ready))
        wanted = Signal()  # `left` is not 0
        m.d.comb += [
            self.load.valid.eq(words.o.valid & wanted),
            self.load.p.data.eq(words.o.p.data),
            self.load.p.addr.eq(address),
            self.load.p.bank.eq(instruction.transfer.bank),
            words.o.ready.eq(self.load.ready | ~wanted),
            self.param.valid.eq(records.o.valid & wanted),
            self.param.p.address.eq(address),
            records.o.ready.eq(1),  # as the parameter memory is
        ]
        record = data.View(ParameterRecord(params), records.o.p.data)
        for n in range(params.rq_lanes):
            m.d.comb += [
                self.param.p.scales[n].multiplier.eq(record[n].multiplier),
                self.param.p.scales[n].offset.eq(record[n].offset),
                self.param.p.thresholds[n].eq(record[n].threshold),
            ]
        taken = Signal()
        m.d.comb += [
            taken.eq((words.o.valid & words.o.ready) | (records.o.valid & records.o.ready)),
            last.eq(Mux(self.parameters, records.o.p.last, words.o.p.last)),
        ]
        with m.If(taken):
            m.d.sync += [address.eq(address + 1), left.eq(left - wanted), wanted.eq(left[1:].any())]

        # A word that was taken is in its memory three cycles later; no pass reads it earlier than that after its token.
        with m.FSM(name="load") as load:
            with m.State("Idle"):
                m.d.comb += self.busy.eq(self.i.valid)
                m.d.sync += [
                    instruction.eq(self.i.payload),
                    address.eq(self.i.p.transfer.bank_addr),
                    left.eq(self.i.p.transfer.count),
                    wanted.eq(self.i.p.transfer.count != 0),
                ]
                with m.If(self.i.valid & self.ready):
                    m.d.comb += [self.take.eq(1), self.i.ready.eq(1)]
                    m.next = "Request"
            with m.State("Request"):
                m.d.comb += [self.busy.eq(1), splitter.i.valid.eq(1)]
                with m.If(splitter.i.ready):
                    m.next = "Copy"
            with m.State("Copy"):
                m.d.comb += self.busy.eq(1)
                with m.If(taken & last):
                    m.next = "End"
            with m.State("End"):
                m.d.comb += [self.busy.eq(1), self.complete.eq(1), self.give.eq(instruction.give)]
                m.next = "Idle"
        # The next instruction may wait behind the one under way.
        m.d.comb += self.index.eq(Mux(load.ongoing("Idle"), self.i.p.index, instruction.index))
        return m
