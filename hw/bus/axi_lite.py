"""AXI4-Lite to a register file."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.interface.axi import AxiLite, RegisterPort, Response

__all__ = ["AxiLiteSlave"]


class AxiLiteSlave(wiring.Component):
    """Turns transactions into reads and writes of whole registers, one of each kind at a time.

    A write acts one cycle after the later of its two halves came and is answered in the next; one every other cycle. A
    read is answered after five cycles; one every six.

    Address and data of a write may come in any order. SLVERR answers an address without a register, an unaligned one
    and a write of less than four bytes; such a write does nothing.

    Members
    -------
    axi : the bus, from the slave's side.
    registers : the register file, which answers a read :attr:`READ_LATENCY` cycles later.
    """

    #: Cycles in which the register file answers a read.
    READ_LATENCY = 3

    def __init__(self):
        super().__init__({"axi": In(AxiLite()), "registers": Out(RegisterPort())})

    def elaborate(self, platform):
        m = Module()
        axi, registers = self.axi, self.registers

        # Not in reset, nor in the cycle after it: there is no handshake that a reset could lose.
        awake = Signal()
        m.d.sync += awake.eq(1)

        has_address = Signal()
        has_data = Signal()
        aligned = Signal()
        whole = Signal()
        m.d.comb += [
            axi.awready.eq(~has_address & awake),
            axi.wready.eq(~has_data & awake),
        ]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [has_address.eq(1), registers.write_addr.eq(axi.awaddr[2:]), aligned.eq(axi.awaddr[:2] == 0)]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [has_data.eq(1), registers.write_data.eq(axi.wdata), whole.eq(axi.wstrb.all())]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(has_address & has_data & ~axi.bvalid):
            good = aligned & whole & registers.write_hit
            m.d.comb += registers.write.eq(good)
            m.d.sync += [
                has_address.eq(0),
                has_data.eq(0),
                axi.bvalid.eq(1),
                axi.bresp.eq(Mux(good, 0, Response["SLVERR"])),
            ]

        waiting = Signal(self.READ_LATENCY + 1)
        reading = Signal()
        straight = Signal()
        m.d.comb += axi.arready.eq(~reading & awake)
        m.d.sync += waiting.eq(waiting << 1)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [
                reading.eq(1),
                waiting.eq(1),
                registers.read_addr.eq(axi.araddr[2:]),
                straight.eq(axi.araddr[:2] == 0),
            ]
        with m.If(axi.rvalid & axi.rready):
            m.d.sync += [axi.rvalid.eq(0), reading.eq(0)]
        with m.If(waiting[-1]):
            good = straight & registers.read_hit
            # The register file's answer stands for this one cycle.
            m.d.sync += [
                axi.rvalid.eq(1),
                axi.rdata.eq(Mux(good, registers.read_data, 0)),
                axi.rresp.eq(Mux(good, 0, Response["SLVERR"])),
            ]
        return m
