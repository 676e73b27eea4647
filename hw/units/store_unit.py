"""Writes maps and logits from the core to memory."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bus.gearbox import Gearbox
from hw.interface.axi import Burst, WriteBeat
from hw.interface.instructions import Opcode, TransferInstruction, item_bytes
from hw.interface.layouts import BankAddress, LogitRecord
from hw.units.signatures import Progress, TokenPort
from hw.units.transfer_request import TransferRequest

__all__ = ["StoreUnit"]


#: Width of the count of bursts without response, in bits.
BURST_BITS = 8


class StoreUnit(wiring.Component):
    """Executes `Opcode.STORE_MAP` and `Opcode.STORE_LOGITS`, one at a time.

    A word or a beat a cycle, whichever takes longer, as long as the bank can be read. Ends when memory has
    acknowledged every burst. Bytes of the last beat that the instruction does not count are not written.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    i : stream of instructions, checked.
    tokens : to and from :class:`TokenCounters`.
    read, word : to and from the activation banks.
    logit : stream of logits.
    burst, data, response : to and from the bus; ``response`` is a strobe for each burst that was acknowledged.
    logits : logits are being stored, not a map.
    progress : of the instruction under way, or of the one that waits for its tokens.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(TransferInstruction)),
                "tokens": Out(TokenPort),
                "progress": Out(Progress),
                "read": Out(stream.Signature(BankAddress(params))),
                "word": In(stream.Signature(unsigned(params.chunk_bits))),
                "logit": In(stream.Signature(LogitRecord(params))),
                "burst": Out(stream.Signature(Burst)),
                "data": Out(stream.Signature(WriteBeat(params.axi_bits))),
                "response": In(1),
                "logits": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        logit_bits = 8 * item_bytes(Opcode.STORE_LOGITS, params)
        m.submodules.request = request = TransferRequest(params)
        m.submodules.words = words = Gearbox(params.chunk_bits, params.axi_bits)
        m.submodules.records = records = Gearbox(logit_bits, params.axi_bits)
        wiring.connect(m, wiring.flipped(self.i), request.i)
        for inner, port in (
            (request.tokens, self.tokens),
            (request.progress, self.progress),
            (request.burst, self.burst),
        ):
            wiring.connect(m, inner, wiring.flipped(port))

        instruction = request.instruction
        active = Signal()
        asked = Signal(24)  # words still to be read from the bank
        left = Signal(24)  # items still to come into a gearbox
        pending = Signal(BURST_BITS)  # bursts without response
        last = left == 1
        m.d.comb += [
            self.logits.eq(instruction.opcode == Opcode.STORE_LOGITS.value),
            self.read.valid.eq(active & (asked != 0)),
            self.read.p.bank.eq(instruction.transfer.bank),
        ]
        with m.If(self.read.valid & self.read.ready):
            m.d.sync += [asked.eq(asked - 1), self.read.p.addr.eq(self.read.p.addr + 1)]

        # Items go through one of the gearboxes.
        taking = Signal()  # `left` is not 0
        m.d.comb += [
            words.i.p.data.eq(self.word.payload),
            words.i.p.last.eq(last),
            words.i.valid.eq(self.word.valid & taking & ~self.logits),
            self.word.ready.eq(words.i.ready & taking & ~self.logits),
            records.i.p.data.eq(self.logit.p.logits),
            records.i.p.last.eq(last),
            records.i.valid.eq(self.logit.valid & taking & self.logits),
            self.logit.ready.eq(records.i.ready & taking & self.logits),
        ]
        with m.If((self.word.valid & self.word.ready) | (self.logit.valid & self.logit.ready)):
            m.d.sync += [left.eq(left - 1), taking.eq(~last)]

        # Of the last beat only what was counted is written.
        count = instruction.transfer.count
        strobes = Signal(params.axi_bytes)
        for box, bits, chosen in ((words, params.chunk_bits, ~self.logits), (records, logit_bits, self.logits)):
            with m.If(chosen):
                m.d.comb += [
                    self.data.valid.eq(box.o.valid),
                    self.data.p.data.eq(box.o.p.data),
                    self.data.p.strobe.eq(Mux(box.o.p.last, strobes, ~0)),
                    box.o.ready.eq(self.data.ready),
                ]
                ratio = max(1, params.axi_bits // bits)  # items in a beat
                filled = Array((1 << (odd or ratio) * (params.axi_bytes // ratio)) - 1 for odd in range(ratio))
                m.d.sync += strobes.eq(filled[count[: exact_log2(ratio)]])

        with m.If(request.idle):
            m.d.sync += [
                asked.eq(Mux(self.i.p.opcode == Opcode.STORE_MAP.value, self.i.p.transfer.count, 0)),
                left.eq(self.i.p.transfer.count),
                self.read.p.addr.eq(self.i.p.transfer.bank_addr),
            ]
        with m.If(request.asked):
            m.d.sync += [active.eq(1), taking.eq(1)]

        # The end: memory has acknowledged the last burst.
        sent = self.burst.valid & self.burst.ready
        all_sent = Signal()
        m.d.sync += pending.eq(pending + sent - self.response)
        m.d.comb += request.end.eq(all_sent & (pending == 0))
        with m.If(request.running & sent & self.burst.p.last):
            m.d.sync += all_sent.eq(1)
        with m.If(request.end):
            m.d.sync += [all_sent.eq(0), active.eq(0)]
        return m
