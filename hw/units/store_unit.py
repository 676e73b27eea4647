"""Writes maps and logits from the core to memory."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.attributes import KEEP
from hw.bus.gearbox import Gearbox
from hw.interface.axi import Burst, WriteBeat
from hw.interface.instructions import Opcode, TransferInstruction, item_bytes
from hw.interface.layouts import BankAddress, LogitRecord
from hw.streams.stream_register import StreamRegister
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
        wiring.connect(m, wiring.flipped(self.i), request.i)
        for inner, port in (
            (request.tokens, self.tokens),
            (request.progress, self.progress),
            (request.burst, self.burst),
        ):
            wiring.connect(m, inner, wiring.flipped(port))

        instruction = request.instruction
        active = Signal()
        asked = Signal(24, reset_less=True)  # words still to be read from the bank
        asking = Signal()  # `asked` is not 0
        pending = Signal(BURST_BITS)  # bursts without response
        m.d.sync += self.logits.eq(instruction.opcode == Opcode.STORE_LOGITS.value)
        m.d.comb += [
            self.read.valid.eq(active & asking),
            self.read.p.bank.eq(instruction.transfer.bank),
        ]
        with m.If(self.read.valid & self.read.ready):
            m.d.sync += [asked.eq(asked - 1), asking.eq(asked != 1), self.read.p.addr.eq(self.read.p.addr + 1)]

        # Items go through a gearbox; those of one width share it. A register before it, whose ready is that of items
        # that are wanted, and a register behind keep what it has to wait for from reaching further.
        left = Signal(24, reset_less=True)  # items still to come
        last = Signal(reset_less=True)  # `left` is 1
        m.submodules.beats = beats = StreamRegister(WriteBeat(params.axi_bits))
        wiring.connect(m, beats.o, wiring.flipped(self.data))
        kinds = (
            ("word", self.word, self.word.payload, params.chunk_bits, ~self.logits),
            ("logit", self.logit, self.logit.p.logits, logit_bits, self.logits),
        )
        came = Signal()
        boxes, wanted = {}, []
        for name, port, item, bits, chosen in kinds:
            if bits not in boxes:
                boxes[bits] = (
                    Gearbox(bits, params.axi_bits),
                    StreamRegister(data.StructLayout({"data": bits, "last": 1})),
                )
                m.submodules[f"{name}_box"], m.submodules[f"{name}_item"] = boxes[bits]
            box, items = boxes[bits]
            takes = Signal(name=f"takes_{name}")  # `left` is not 0
            picks = Signal(name=f"picks_{name}", attrs=KEEP)  # as `chosen`
            wanted.append(takes)
            m.d.sync += picks.eq(chosen)
            with m.If(picks):
                m.d.comb += items.i.p.data.eq(item)
            with m.If(takes):
                m.d.comb += items.i.valid.eq(port.valid)
            m.d.comb += [items.i.p.last.eq(last), port.ready.eq(items.i.ready & takes)]
            with m.If(request.asked):
                m.d.sync += takes.eq(chosen)
            with m.If(port.valid & port.ready):
                m.d.comb += came.eq(1)
        with m.If(came):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
            with m.If(last):
                m.d.sync += [takes.eq(0) for takes in wanted]

        # Of the last beat only what was counted is written.
        count = instruction.transfer.count
        strobes = Signal(params.axi_bytes, reset_less=True)
        for _, _, _, bits, chosen in kinds:
            ratio = max(1, params.axi_bits // bits)  # items in a beat
            filled = Array((1 << (odd or ratio) * (params.axi_bytes // ratio)) - 1 for odd in range(ratio))
            with m.If(chosen):
                m.d.sync += strobes.eq(filled[count[: exact_log2(ratio)]])
        m.d.comb += beats.i.valid.eq(Cat(box.o.valid for box, _ in boxes.values()).any())  # of one at a time
        for number, (box, items) in enumerate(boxes.values()):
            wiring.connect(m, items.o, box.i)
            m.d.comb += box.o.ready.eq(beats.i.ready)
            with m.If(box.o.valid if number else Const(1)):
                m.d.comb += [
                    beats.i.p.data.eq(box.o.p.data),
                    beats.i.p.strobe.eq(Mux(box.o.p.last, strobes, ~0)),
                ]

        with m.If(request.idle):
            m.d.sync += [
                asked.eq(Mux(self.i.p.opcode == Opcode.STORE_MAP.value, self.i.p.transfer.count, 0)),
                left.eq(self.i.p.transfer.count),
                self.read.p.addr.eq(self.i.p.transfer.bank_addr),
            ]
        with m.If(request.asked):
            m.d.sync += [active.eq(1), asking.eq(asked != 0), last.eq(left == 1)]

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
