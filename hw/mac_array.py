"""The MAC array: a chain of 8 lanes, one per output channel of a slice."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .lane import Lane
from .layouts import StepControl
from .params import LANES


__all__ = ["MacArray"]


class MacArray(wiring.Component):
    """8 x ``in_par`` multipliers that compute one step a cycle, and the psums of all pixels in flight.

    A step's chunk and control enter together, its weight address two cycles before. After a job's last step ``end`` and
    ``saliency`` (the slice's plain sum of psums) leave together; all lanes have then written the psum into the slot.
    No backpressure.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    weight_addr, act, control : as :class:`Lane`.
    write_en, write_addr, write_data : one entry of the weight ring; lane n in bits ``n * chunk_bits`` and up.
    psum_slot, psums : combinational read of a slot, all lanes.
    end, saliency : end of a job, and the sum of its 8 psums.
    """
    def __init__(self, params):
        self.params = params
        super().__init__({
            "weight_addr": In(params.ring_addr_bits),
            "act":         In(params.chunk_bits),
            "control":     In(StepControl(params)),
            "write_en":    In(1),
            "write_addr":  In(params.ring_addr_bits),
            "write_data":  In(params.entry_bits),
            "psum_slot":   In(params.slot_bits),
            "psums":       Out(data.ArrayLayout(signed(32), LANES)),
            "end":         Out(StepControl(params)),
            "saliency":    Out(signed(32)),
        })

    def elaborate(self, platform):
        m = Module()
        weight_addr, act, control, saliency = self.weight_addr, self.act, self.control, Const(0, signed(32))
        for n in range(LANES):
            m.submodules[f"lane_{n}"] = lane = Lane(self.params)
            m.d.comb += [
                lane.weight_addr.eq(weight_addr),
                lane.act.eq(act),
                lane.control.eq(control),
                lane.saliency.eq(saliency),
                lane.write_en.eq(self.write_en),
                lane.write_addr.eq(self.write_addr),
                lane.write_data.eq(self.write_data.word_select(n, self.params.chunk_bits)),
                lane.psum_slot.eq(self.psum_slot),
                self.psums[n].eq(lane.psum),
            ]
            weight_addr, act, control = lane.weight_addr_out, lane.act_out, lane.control_out
            saliency = lane.saliency_out
        m.d.comb += [self.end.eq(lane.end), self.saliency.eq(saliency)]
        return m
