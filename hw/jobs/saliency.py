"""The saliency comparator: the decision on a pixel's conditional path."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.interface.layouts import GateMode, LayerRegisters, MaskRecord
from hw.jobs.payloads import BasePixel, JobEnd, SliceContext, StepControl
from hw.params import LANES
from hw.streams.queue import Queue

__all__ = ["SaliencyComparator"]


class SaliencyComparator(wiring.Component):
    """Decides, at the end of a base job, whether the slice fires: ``saliency > threshold``. A tie does not fire.

    The saliency is the plain sum of the slice's 8 base psums (SCDG). In channel mode the lanes have compared their
    own psums, and in forced mode the decisions came with the job: the slice fires if any channel does. In dense
    mode every slice fires, in base mode none. But for these two, each decision leaves by ``mask``, a bit for each
    channel. Ends of conditional jobs pass through, so that one stream of job ends goes on, in job order. Three cycles
    from ``i`` to ``end``; one job a cycle. ``mask`` holds as many decisions as there are psum slots; who issues
    jobs must not issue more.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    layer : layer registers.
    contexts : of the slices in flight, for their thresholds.
    issue, issue_slot, pixel : a base job is issued, into which slot and for which pixel.
    i, saliency, fires : end of a job, its slice's sum and, one cycle later, its channels' decisions, from
        :class:`MacArray`.
    end : outcome of the job.
    decided, fired : a decision was made, in a mode that makes any; it was to fire. For the counters.
    mask : stream of decisions, in job order.
    mask_taken : a decision was taken.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "layer": In(LayerRegisters(params)),
                "contexts": In(data.ArrayLayout(SliceContext(params), 2)),
                "issue": In(1),
                "issue_slot": In(params.slot_bits),
                "pixel": In(BasePixel(params)),
                "i": In(StepControl(params)),
                "saliency": In(signed(32)),
                "fires": In(LANES),
                "end": Out(JobEnd(params)),
                "decided": Out(1),
                "fired": Out(1),
                "mask": Out(stream.Signature(MaskRecord(params))),
                "mask_taken": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        if not params.gating:
            return self._pass_on(m)
        place = data.StructLayout({name: shape for name, shape in MaskRecord(params).members.items() if name != "fire"})

        m.submodules.places = places = memory.Memory(shape=place, depth=params.psum_slots, init=[])
        place_write = places.write_port()
        place_read = places.read_port(domain="comb")
        m.d.comb += [
            place_write.en.eq(self.issue),
            place_write.addr.eq(self.issue_slot),
            place_read.addr.eq(self.i.slot),
        ]
        m.d.comb += [place_write.data[name].eq(self.pixel[name]) for name in place.members]

        # Stage 1: the pixel and its threshold. Stage 2: the comparison. Stage 3: the decision.
        s1_control = Signal(StepControl(params))
        s1_saliency = Signal(signed(32), reset_less=True)
        s1_threshold = Signal(signed(32), reset_less=True)
        s1_place = Signal(place, reset_less=True)
        s1_under = Signal(signed(33))  # a carry chain, as in `Lane`
        m.d.comb += s1_under.eq(s1_threshold - s1_saliency)
        decides = Signal()
        by_slice = Signal()
        fires = Signal(LANES)
        with m.Switch(self.layer.mode):
            with m.Case(GateMode.GATED):
                m.d.comb += [decides.eq(1), by_slice.eq(1)]
            with m.Case(GateMode.CHANNEL):
                m.d.comb += [decides.eq(1), fires.eq(self.fires)]
            with m.Case(GateMode.FORCED):
                m.d.comb += [decides.eq(1), fires.eq(s1_control.forced)]
            with m.Case(GateMode.DENSE):
                m.d.comb += fires.eq(-1)
        s2_control = Signal(StepControl(params))
        s2_above = Signal(reset_less=True)
        s2_by_slice = Signal(reset_less=True)
        s2_decides = Signal(reset_less=True)
        s2_fires = Signal(LANES, reset_less=True)  # but for a slice's own decision
        s2_place = Signal(place, reset_less=True)
        s3_fires = Signal(LANES, reset_less=True)
        s3_place = Signal(place, reset_less=True)
        is_base = s2_control.valid & ~s2_control.cond
        all_fire = s2_by_slice & s2_above
        any_fires = all_fire | s2_fires.any()
        m.d.sync += [
            s1_control.eq(self.i),
            s1_saliency.eq(self.saliency),
            s1_threshold.eq(self.contexts[self.i.parity].thresholds[0]),
            s1_place.eq(place_read.data),
            s2_control.eq(s1_control),
            s2_above.eq(s1_under[-1]),
            s2_by_slice.eq(by_slice),
            s2_decides.eq(decides),
            s2_fires.eq(fires),
            s2_place.eq(s1_place),
            self.end.valid.eq(s2_control.valid),
            self.end.base.eq(~s2_control.cond),
            self.end.fire.eq(is_base & any_fires),
            self.end.slot.eq(s2_control.slot),
            self.end.parity.eq(s2_control.parity),
            self.decided.eq(is_base & s2_decides),
            self.fired.eq(is_base & s2_decides & any_fires),
            s3_fires.eq(s2_fires | all_fire.replicate(LANES)),
            s3_place.eq(s2_place),
        ]

        m.submodules.masks = masks = Queue(MaskRecord(params), params.psum_slots, buffered=True)
        wiring.connect(m, masks.o, wiring.flipped(self.mask))
        m.d.comb += [masks.i.p[name].eq(s3_place[name]) for name in place.members]
        m.d.comb += [
            masks.i.p.fire.eq(s3_fires),
            masks.i.valid.eq(self.decided),
            self.mask_taken.eq(self.mask.valid & self.mask.ready),
        ]
        return m

    def _pass_on(self, m):
        """Without gating there is nothing to decide: every end is the end of its pixel."""
        end = self.i
        for n in range(2):
            stage = Signal(StepControl(self.params), name=f"s{n + 1}_control")
            m.d.sync += stage.eq(end)
            end = stage
        m.d.sync += [
            self.end.valid.eq(end.valid),
            self.end.base.eq(1),
            self.end.slot.eq(end.slot),
            self.end.parity.eq(end.parity),
        ]
        return m
