"""What all units that move data do alike: take an instruction, ask for its bursts, end it."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bus.burst_splitter import BurstSplitter
from hw.interface.axi import Burst
from hw.interface.instructions import TransferInstruction
from hw.units.signatures import Progress, TokenPort

__all__ = ["TransferRequest"]


class TransferRequest(wiring.Component):
    """Takes an instruction when its tokens are there, and asks for its bursts; at its end, gives its tokens.

    An instruction is taken one cycle after its tokens were seen, ``asked`` follows one cycle later, and its first burst
    two cycles after that. The next instruction can be taken two cycles after the end of the one before.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    i : stream of instructions, checked.
    tokens : to and from :class:`TokenCounters`.
    progress : of the unit. While none is under way ``index`` is that of the instruction that may wait for its tokens.
    burst : stream of bursts.
    idle : no instruction is under way; the one that ``i`` offers may be taken in this cycle.
    asked : strobe: its bursts are being asked for.
    running : from the cycle after ``asked`` to the instruction's end.
    end : strobe, while ``running``: it ends in this cycle.
    instruction : the one under way.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(TransferInstruction)),
                "tokens": Out(TokenPort),
                "progress": Out(Progress),
                "burst": Out(stream.Signature(Burst)),
                "idle": Out(1),
                "asked": Out(1),
                "running": Out(1),
                "end": In(1),
                "instruction": Out(TransferInstruction),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.splitter = splitter = BurstSplitter(self.params)
        wiring.connect(m, splitter.o, wiring.flipped(self.burst))
        m.d.comb += [
            self.tokens.want.eq(self.i.p.take),
            splitter.i.p.address.eq(self.instruction.transfer.address),
            splitter.i.p.beats.eq(self.instruction.beats),
        ]
        may = Signal()  # its tokens are there, and it is taken; only in `Idle`
        m.d.sync += may.eq(0)
        m.d.comb += [self.tokens.take.eq(may), self.i.ready.eq(may)]
        with m.FSM(name="request"):
            with m.State("Idle"):
                m.d.comb += [
                    self.idle.eq(1),
                    self.progress.busy.eq(self.i.valid),
                    self.progress.index.eq(self.i.p.index),
                ]
                m.d.sync += self.instruction.eq(self.i.payload)
                with m.If(~may):
                    m.d.sync += may.eq(self.i.valid & self.tokens.ready)
                with m.Else():
                    m.next = "Request"
            with m.State("Request"):
                m.d.comb += [
                    self.progress.busy.eq(1),
                    self.progress.index.eq(self.instruction.index),
                    splitter.i.valid.eq(1),
                ]
                with m.If(splitter.i.ready):
                    m.d.comb += self.asked.eq(1)
                    m.next = "Run"
            with m.State("Run"):
                m.d.comb += [
                    self.running.eq(1),
                    self.progress.busy.eq(1),
                    self.progress.index.eq(self.instruction.index),
                ]
                with m.If(self.end):
                    m.d.comb += [self.progress.complete.eq(1), self.tokens.give.eq(self.instruction.give)]
                    m.next = "Idle"
        return m
