"""The MAC array: a chain of 8 lanes, one per output channel of a slice."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.datapath.lane import Lane
from hw.interface.layouts import GateMode
from hw.jobs.payloads import StepControl
from hw.params import LANES

__all__ = ["MacArray"]


class MacArray(wiring.Component):
    """8 x ``in_par`` multipliers that compute one step a cycle, and the psums of all pixels in flight.

    A step's chunk and control enter together, its weight address :attr:`Lane.WEIGHT_LEAD` cycles before. After a job's
    last step ``end`` and ``saliency`` (the slice's plain sum of psums) leave together, ``fires`` one cycle later, when
    all lanes have written the psum into the slot. Until then no other job may use the slot: lane 0 is 7 cycles ahead
    of lane 7. No backpressure.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    weight_addr, act, control : as :class:`Lane`.
    write_en, write_addr, write_data : one entry of the weight ring; lane n in bits ``n * chunk_bits`` and up.
    clear : strobe: as after a reset, two cycles later.
    psum_read, psum_slot, psums : read of a slot, all lanes: answers two cycles later and stands until the next.
    mode, thresholds : gate mode; thresholds of the 8 channels, by parity of the slice.
    end, saliency, fires : end of a job, the sum of its 8 psums; a cycle later, which of them exceed their thresholds.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "weight_addr": In(params.ring_addr_bits),
                "act": In(params.chunk_bits),
                "control": In(StepControl(params)),
                "write_en": In(1),
                "write_addr": In(params.ring_addr_bits),
                "write_data": In(params.entry_bits),
                "clear": In(1),
                "psum_read": In(1),
                "psum_slot": In(params.slot_bits),
                "psums": Out(data.ArrayLayout(signed(32), LANES)),
                "mode": In(GateMode),
                "thresholds": In(data.ArrayLayout(data.ArrayLayout(signed(32), LANES), 2)),
                "end": Out(StepControl(params)),
                "fires": Out(LANES),
                "saliency": Out(signed(32)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        weight_addr, act, control = self.weight_addr, self.act, self.control
        saliency, fires = Const(0, signed(32)), Const(0, LANES)
        for n in range(LANES):
            lane = Lane(self.params, n)
            clear = Signal(name=f"clear_{n}", attrs=KEEP)
            m.d.sync += clear.eq(self.clear)
            m.submodules[f"lane_{n}"] = ResetInserter(clear)(lane)
            m.d.comb += [
                lane.weight_addr.eq(weight_addr),
                lane.act.eq(act),
                lane.control.eq(control),
                lane.mode.eq(self.mode),
                lane.thresholds[0].eq(self.thresholds[0][n]),
                lane.thresholds[1].eq(self.thresholds[1][n]),
                lane.saliency.eq(saliency),
                lane.fires.eq(fires),
                lane.write_en.eq(self.write_en),
                lane.write_addr.eq(self.write_addr),
                lane.write_data.eq(self.write_data.word_select(n, self.params.chunk_bits)),
                lane.psum_read.eq(self.psum_read),
                lane.psum_slot.eq(self.psum_slot),
                self.psums[n].eq(lane.psum),
            ]
            weight_addr, act, control = lane.weight_addr_out, lane.act_out, lane.control_out
            saliency, fires = lane.saliency_out, lane.fires_out
        m.d.comb += [self.end.eq(lane.end), self.saliency.eq(saliency), self.fires.eq(fires)]
        return m
