"""Writes maps and logits from the core to memory."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bus.burst_splitter import BurstSplitter
from hw.bus.gearbox import Gearbox
from hw.interface.axi import Burst, WriteBeat
from hw.interface.instructions import INDEX_BITS, Opcode, Tokens, TransferInstruction
from hw.interface.layouts import BankAddress, LogitRecord

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
    want, ready, take, give : to and from :class:`TokenCounters`.
    read, word : to and from the activation banks.
    logit : stream of logits.
    burst, data, response : to and from the bus; ``response`` is a strobe for each burst that was acknowledged.
    logits : logits are being stored, not a map.
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
                "read": Out(stream.Signature(BankAddress(params))),
                "word": In(stream.Signature(unsigned(params.chunk_bits))),
                "logit": In(stream.Signature(LogitRecord(params))),
                "burst": Out(stream.Signature(Burst)),
                "data": Out(stream.Signature(WriteBeat(params.axi_bits))),
                "response": In(1),
                "logits": Out(1),
                "busy": Out(1),
                "index": Out(INDEX_BITS),
                "complete": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        logit_bits = 32 * params.rq_lanes
        m.submodules.splitter = splitter = BurstSplitter(params)
        m.submodules.words = words = Gearbox(params.chunk_bits, params.axi_bits)
        m.submodules.records = records = Gearbox(logit_bits, params.axi_bits)
        wiring.connect(m, splitter.o, wiring.flipped(self.burst))

        instruction = Signal(TransferInstruction)
        active = Signal()
        asked = Signal(24)  # words still to be read from the bank
        left = Signal(24)  # items still to come into a gearbox
        pending = Signal(BURST_BITS)  # bursts without response
        last = left == 1
        m.d.comb += [
            self.want.eq(self.i.p.take),
            splitter.i.p.address.eq(instruction.transfer.address),
            splitter.i.p.beats.eq(instruction.beats),
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

        m.d.sync += pending.eq(pending + (self.burst.valid & self.burst.ready) - self.response)
        with m.FSM(name="store") as store:
            with m.State("Idle"):
                m.d.comb += self.busy.eq(self.i.valid)
                m.d.sync += [
                    instruction.eq(self.i.payload),
                    asked.eq(Mux(self.i.p.opcode == Opcode.STORE_MAP.value, self.i.p.transfer.count, 0)),
                    left.eq(self.i.p.transfer.count),
                    self.read.p.addr.eq(self.i.p.transfer.bank_addr),
                ]
                with m.If(self.i.valid & self.ready):
                    m.d.comb += [self.take.eq(1), self.i.ready.eq(1)]
                    m.next = "Request"
            with m.State("Request"):
                m.d.comb += [self.busy.eq(1), splitter.i.valid.eq(1)]
                with m.If(splitter.i.ready):
                    m.d.sync += [active.eq(1), taking.eq(1)]
                    m.next = "Copy"
            with m.State("Copy"):
                m.d.comb += self.busy.eq(1)
                with m.If(self.burst.valid & self.burst.ready & self.burst.p.last):
                    m.next = "Acknowledge"
            with m.State("Acknowledge"):
                m.d.comb += self.busy.eq(1)
                with m.If(pending == 0):
                    m.d.comb += [self.complete.eq(1), self.give.eq(instruction.give)]
                    m.d.sync += active.eq(0)
                    m.next = "Idle"
        # The next instruction may wait behind the one under way.
        m.d.comb += self.index.eq(Mux(store.ongoing("Idle"), self.i.p.index, instruction.index))
        return m
