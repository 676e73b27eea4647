"""Pin harness: puts the engine, or its core with thousands of port bits, between registers and a handful of pins."""

import dataclasses

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gen.verilog import engine, to_verilog
from hw.params import HwParams

__all__ = ["TOP", "Harness", "harness_verilog"]

#: Name of the harness in Verilog, in which the component is submodule ``core``.
TOP = "harness"


class Harness(wiring.Component):
    """Drives every input of a component from a shift register and folds every output into another.

    Nothing of the component can be optimised away, as every input bit changes and every output bit reaches a pin. All
    paths between pins and component, in both directions, have a register at either end: they say nothing about the
    component's speed. Two registers follow each output, so that the second is free to lie anywhere.

    Parameters
    ----------
    component : :class:`wiring.Component`
        The component; its submodule is called ``core``.

    Members
    -------
    i : first bit of the shift register of inputs.
    o : last bit of the shift register of outputs, each of which is added modulo 2 to the bit that passes.
    rst : the component's reset, if it has a port for it.
    """

    def __init__(self, component):
        self.component = component
        members = {"i": In(1), "o": Out(1)}
        if "rst" in component.signature.members:
            members["rst"] = In(1)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = self.component

        inputs, outputs = [], []
        for path, member, value in self.component.signature.flatten(self.component):
            if path == ("rst",):
                m.d.sync += value.eq(self.rst)
                continue
            (inputs if member.flow == In else outputs).append(Value.cast(value))

        shift_in = Signal(sum(map(len, inputs)))
        m.d.sync += shift_in.eq(Cat(self.i, shift_in))
        m.d.comb += Cat(inputs).eq(shift_in)

        near = Signal(sum(map(len, outputs)))
        far = Signal.like(near)
        shift_out = Signal.like(near)
        m.d.sync += [
            near.eq(Cat(outputs)),
            far.eq(near),
            shift_out.eq(Cat(self.i, shift_out) ^ far),
        ]
        m.d.comb += self.o.eq(shift_out[-1])
        return m


def harness_verilog(params: HwParams, top: str) -> str:
    """Return the Verilog of an engine with `params`, or of its core as `top` says, in its harness.

    It has no port of a trace: what that shows is for simulations.
    """
    return to_verilog(Harness(engine(dataclasses.replace(params, trace=False), top)), TOP)
