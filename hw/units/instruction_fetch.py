"""Reads a program from memory, checks each instruction, and hands it to the unit that executes it."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.bus.part_join import PartJoin
from hw.interface.axi import ADDR_BITS, Burst, ReadBeat
from hw.interface.instructions import (
    BODY_OFFSET,
    INDEX_BITS,
    INSTRUCTION_BYTES,
    UNIT_OF,
    ErrorCode,
    Header,
    LayerInstruction,
    Transfer,
    TransferInstruction,
    Unit,
)
from hw.units.instruction_check import InstructionCheck
from hw.units.signatures import Failure

__all__ = ["InstructionFetch"]


class InstructionFetch(wiring.Component):
    """Fetches the instructions one by one, the next one while the last one waits for its unit.

    A read is only asked for when its place is free, so a unit that is busy never holds up the bus. An instruction
    takes some 18 cycles beyond the latency of the memory. After one with an error nothing more is dispatched.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    start : strobe: the program begins; samples ``address`` and ``length``.
    address, length : of the program: byte address of the first instruction, number of instructions.
    store_base, store_end : window of memory that stores may write.
    burst, data : to and from the bus.
    load, store, weights, compute : streams of checked instructions.
    index : number of the instruction at hand.
    reading : number of the instruction that is read next, or being read.
    dispatched : all were handed over.
    failure : the instruction at hand is not one.
    """

    #: Parts of the instruction's register that have an enable of their own.
    PARTS = 4

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "address": In(ADDR_BITS),
                "length": In(INDEX_BITS),
                "store_base": In(ADDR_BITS),
                "store_end": In(ADDR_BITS),
                "burst": Out(stream.Signature(Burst)),
                "data": In(stream.Signature(ReadBeat(params.axi_bits))),
                "load": Out(stream.Signature(TransferInstruction)),
                "store": Out(stream.Signature(TransferInstruction)),
                "weights": Out(stream.Signature(TransferInstruction)),
                "compute": Out(stream.Signature(LayerInstruction(params))),
                "index": Out(INDEX_BITS),
                "reading": Out(INDEX_BITS),
                "dispatched": Out(1),
                "failure": Out(Failure),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        m.submodules.join = join = PartJoin(params.axi_bits, 8 * INSTRUCTION_BYTES)
        m.submodules.check = check = InstructionCheck(params)
        m.d.comb += [
            join.i.payload.eq(self.data.payload),
            join.i.valid.eq(self.data.valid),
            self.data.ready.eq(1),
        ]

        # Requests: an instruction is a burst of its own, as it never crosses a page.
        to_request = Signal(INDEX_BITS)
        pending = Signal()  # asked for, and not yet taken by the check
        taken = Signal()
        m.d.comb += [
            self.burst.p.length.eq(INSTRUCTION_BYTES // params.axi_bytes),
            self.burst.p.last.eq(1),
        ]
        with m.If(self.start):
            m.d.sync += [self.burst.p.address.eq(self.address), to_request.eq(self.length)]
        with m.Elif(self.burst.valid & self.burst.ready):
            m.d.sync += [
                self.burst.valid.eq(0),
                self.burst.p.address.eq(self.burst.p.address + INSTRUCTION_BYTES),
                to_request.eq(to_request - 1),
            ]
        with m.Elif(~self.burst.valid & ~pending & (to_request != 0)):
            m.d.sync += [self.burst.valid.eq(1), pending.eq(1)]
        with m.If(taken):
            m.d.sync += [pending.eq(0), self.reading.eq(self.reading + 1)]

        # The instruction at hand.
        word = Signal(8 * INSTRUCTION_BYTES, reset_less=True)
        left = Signal(INDEX_BITS)
        header = data.View(Header, word[: Header.size])
        transfer = data.View(Transfer, word[BODY_OFFSET : BODY_OFFSET + Transfer.size])
        m.d.comb += [
            check.word.eq(word),
            check.store_base.eq(self.store_base),
            check.store_end.eq(self.store_end),
            self.dispatched.eq((left == 0) & ~self.start),
            self.failure.index.eq(self.index),
        ]
        for port in (self.load, self.store, self.weights):
            m.d.comb += [
                port.p.opcode.eq(header.opcode),
                port.p.take.eq(header.take),
                port.p.give.eq(header.give),
                port.p.transfer.eq(transfer),
                port.p.beats.eq(check.beats),
                port.p.index.eq(self.index),
            ]
        layer = self.compute.p.layer.as_value()
        m.d.comb += [
            self.compute.p.take.eq(header.take),
            self.compute.p.give.eq(header.give),
            layer.eq(word[BODY_OFFSET : BODY_OFFSET + len(layer)]),
            self.compute.p.index.eq(self.index),
        ]
        with m.If(self.start):
            m.d.sync += [left.eq(self.length), self.index.eq(0), self.reading.eq(0)]

        ports = {
            Unit.LOAD: self.load,
            Unit.WEIGHTS: self.weights,
            Unit.COMPUTE: self.compute,
            Unit.STORE: self.store,
        }
        # It stands in the join until the next one is asked for, from where each part is taken by a strobe of its own.
        came = Signal()
        waiting = Signal(InstructionCheck.LATENCY + 1)
        size = len(word) // self.PARTS
        for n in range(self.PARTS):
            take = Signal(name=f"take_{n}", attrs=KEEP)
            m.d.sync += take.eq(taken)
            with m.If(take):
                m.d.sync += word.word_select(n, size).eq(join.o.p.data.word_select(n, size))
        with m.If(join.o.valid):
            m.d.sync += came.eq(1)
        with m.FSM(name="dispatch"):
            with m.State("Fetch"):
                m.d.comb += taken.eq(came)
                m.d.sync += waiting.eq(1)
                with m.If(came):
                    m.d.sync += came.eq(0)
                    m.next = "Check"
            with m.State("Check"):
                m.d.sync += waiting.eq(waiting << 1)
                with m.If(waiting[-1]):
                    m.next = "Dispatch"
            with m.State("Dispatch"):
                with m.If(check.code != ErrorCode.NONE):
                    m.d.comb += [self.failure.valid.eq(1), self.failure.code.eq(check.code)]
                    m.next = "Stopped"
                with m.Else():
                    m.next = "Offer"
                    with m.Switch(header.opcode):
                        for opcode, unit in UNIT_OF.items():
                            with m.Case(opcode.value):
                                m.d.sync += ports[unit].valid.eq(1)
            with m.State("Offer"):
                for port in ports.values():
                    with m.If(port.valid & port.ready):
                        m.d.sync += port.valid.eq(0)
                        m.next = "Next"
            with m.State("Next"):
                m.d.sync += [self.index.eq(self.index + 1), left.eq(left - 1)]
                m.next = "Fetch"
            with m.State("Stopped"):
                pass
        return m
