"""Starts the core's passes, and tells why it waits between them."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.interface.instructions import LayerInstruction
from hw.interface.layouts import IdleCause, LayerRegisters
from hw.units.signatures import Progress, TokenPort

__all__ = ["ComputeUnit"]


class ComputeUnit(wiring.Component):
    """Executes `Opcode.COMPUTE` and `Opcode.POOL`: starts the core when the tokens are there, and gives its own when
    the pass has ended.

    From a pass's end to the start of the next, whose tokens are there, it takes four cycles.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    i : stream of instructions, checked.
    tokens : to and from :class:`TokenCounters`.
    enable : passes may start.
    dispatched : no instruction is to come.
    start, layer, busy_core, done, step : to and from :class:`Core`.
    outside : why no pass is under way.
    first_step : strobe, one cycle after the first step of a pass.
    progress : of the pass under way, or of the one that waits for its tokens.
    """

    #: Parts of the instruction's register that have an enable of their own.
    PARTS = 4

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(LayerInstruction(params))),
                "tokens": Out(TokenPort),
                "progress": Out(Progress),
                "enable": In(1),
                "dispatched": In(1),
                "start": Out(1),
                "layer": Out(LayerRegisters(params)),
                "busy_core": In(1),
                "done": In(1),
                "step": In(1),
                "outside": Out(IdleCause),
                "first_step": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        instruction = Signal(LayerInstruction(self.params), reset_less=True)
        stepped = Signal()
        # That an instruction may come, once for each part of its register; what comes before it is of no account.
        loads = [Signal(name=f"loads_{n}", init=1, attrs=KEEP) for n in range(self.PARTS)]
        bits, given = instruction.as_value(), Value.cast(self.i.payload)
        size = -(-len(bits) // self.PARTS)
        for n, load in enumerate(loads):
            with m.If(load):
                m.d.sync += bits[n * size : (n + 1) * size].eq(given[n * size : (n + 1) * size])
        m.d.comb += [
            self.layer.eq(instruction.layer),
            self.tokens.want.eq(instruction.take),
            self.progress.index.eq(instruction.index),
            self.i.ready.eq(loads[0]),
        ]
        m.d.sync += self.first_step.eq(self.step & ~stepped)
        with m.If(self.step):
            m.d.sync += stepped.eq(1)

        with m.FSM(name="compute") as compute:
            with m.State("Idle"):
                m.d.comb += self.progress.busy.eq(self.i.valid)
                with m.If(self.i.valid):
                    m.d.sync += [load.eq(0) for load in loads]
                    m.next = "Wait"
            with m.State("Wait"):
                m.d.comb += self.progress.busy.eq(1)
                with m.If(self.tokens.ready & self.enable & ~self.busy_core):
                    m.next = "Start"
            with m.State("Start"):
                m.d.comb += [self.progress.busy.eq(1), self.tokens.take.eq(1), self.start.eq(1)]
                m.d.sync += stepped.eq(0)
                m.next = "Run"
            with m.State("Run"):
                m.d.comb += self.progress.busy.eq(1)
                with m.If(self.done):
                    m.d.comb += [self.progress.complete.eq(1), self.tokens.give.eq(instruction.give)]
                    m.d.sync += [load.eq(1) for load in loads]
                    m.next = "Idle"

        with m.If(compute.ongoing("Wait") & self.tokens.missing.load):
            m.d.comb += self.outside.eq(IdleCause.INPUT)
        with m.Elif(compute.ongoing("Wait") & self.tokens.missing.store):
            m.d.comb += self.outside.eq(IdleCause.OUTPUT)
        with m.Elif(compute.ongoing("Idle") & ~self.i.valid & self.dispatched):
            m.d.comb += self.outside.eq(IdleCause.END)
        with m.Else():
            m.d.comb += self.outside.eq(IdleCause.START)
        return m
