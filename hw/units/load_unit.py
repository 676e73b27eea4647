"""Reads maps and parameters from memory into the core."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bus.gearbox import Gearbox
from hw.bus.part_join import PartJoin
from hw.interface.axi import Burst, ReadBeat
from hw.interface.instructions import Opcode, ParameterRecord, TransferInstruction
from hw.interface.layouts import BankWrite, ParameterWord
from hw.streams.stream_register import StreamRegister
from hw.units.signatures import Progress, TokenPort
from hw.units.transfer_request import TransferRequest

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
    tokens : to and from :class:`TokenCounters`.
    burst, data : to and from the bus.
    load : stream of words for the activation banks.
    param : stream of parameter words. They are always taken.
    parameters : parameters are being loaded, not a map.
    progress : of the instruction under way, or of the one that waits for its tokens.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(TransferInstruction)),
                "tokens": Out(TokenPort),
                "progress": Out(Progress),
                "burst": Out(stream.Signature(Burst)),
                "data": In(stream.Signature(ReadBeat(params.axi_bits))),
                "load": Out(stream.Signature(BankWrite(params))),
                "param": Out(stream.Signature(ParameterWord(params))),
                "parameters": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        m.submodules.request = request = TransferRequest(params)
        m.submodules.words = words = Gearbox(params.axi_bits, params.chunk_bits)
        m.submodules.records = records = PartJoin(params.axi_bits, ParameterRecord(params).size)
        m.submodules.held = held = StreamRegister(BankWrite(params))
        wiring.connect(m, held.o, wiring.flipped(self.load))
        wiring.connect(m, wiring.flipped(self.i), request.i)
        for inner, port in (
            (request.tokens, self.tokens),
            (request.progress, self.progress),
            (request.burst, self.burst),
        ):
            wiring.connect(m, inner, wiring.flipped(port))

        instruction = request.instruction
        address = Signal(16, reset_less=True)
        left = Signal(24, reset_less=True)
        m.d.sync += self.parameters.eq(instruction.opcode == Opcode.LOAD_PARAMETERS.value)

        # Beats go to one of the gearboxes, and words from there to one of the memories.
        for box, chosen in ((words, ~self.parameters), (records, self.parameters)):
            m.d.comb += [
                box.i.payload.eq(self.data.payload),
                box.i.valid.eq(self.data.valid & chosen),
            ]
        m.d.comb += self.data.ready.eq(self.parameters | words.i.ready)
        wanted = Signal()  # `left` is not 0
        m.d.comb += [
            held.i.valid.eq(words.o.valid & wanted),
            held.i.p.data.eq(words.o.p.data),
            held.i.p.addr.eq(address),
            held.i.p.bank.eq(instruction.transfer.bank),
            words.o.ready.eq(held.i.ready),
            self.param.valid.eq(records.o.valid & wanted),
            self.param.p.address.eq(address),
        ]
        record = data.View(ParameterRecord(params), records.o.p.data)
        for n in range(params.rq_lanes):
            m.d.comb += [
                self.param.p.scales[n].multiplier.eq(record[n].multiplier),
                self.param.p.scales[n].offset.eq(record[n].offset),
                self.param.p.thresholds[n].eq(record[n].threshold),
            ]
        taken = Signal()
        ended = Signal()  # the last word of the last beat has come this far
        m.d.comb += taken.eq((words.o.valid & words.o.ready) | records.o.valid)
        with m.If(taken):
            m.d.sync += [address.eq(address + 1), left.eq(left - wanted), wanted.eq(left[1:].any())]
            m.d.sync += ended.eq(Mux(self.parameters, records.o.p.last, words.o.p.last))

        with m.If(request.idle):
            m.d.sync += [
                address.eq(self.i.p.transfer.bank_addr),
                left.eq(self.i.p.transfer.count),
                wanted.eq(self.i.p.transfer.count != 0),
            ]
        # A word that was taken is in its memory three cycles later; no pass reads it earlier than that after its token,
        # which is given in the cycle after the last word was taken.
        m.d.comb += request.end.eq(ended & ~held.o.valid)
        with m.If(request.end):
            m.d.sync += ended.eq(0)
        return m
