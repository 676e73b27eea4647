"""One lane of the MAC array: the multipliers, weights and psums of one output channel of a slice."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.attributes import KEEP, NO_COLLISION
from hw.interface.layouts import GateMode
from hw.jobs.payloads import StepControl
from hw.params import LANES

__all__ = ["Lane", "tree_levels"]


def tree_levels(params):
    """Register levels of a lane's adder tree."""
    return ceil_log2(params.in_par)


class Lane(wiring.Component):
    """Accumulates one output channel: ``psum += sum(act[k] * weight[k] for k in range(in_par))`` a step.

    Lanes form a chain. A lane registers what it gets and hands it on, so that lane n works n cycles after lane 0 and no
    operand travels further than to the next lane. The weights come from the lane's own memory, its part of the weight
    ring; the psums of pixels in flight stay in the lane's psum slots.

    A job's first step starts from zero (base path) or from the psum in its slot (conditional path); its last step
    writes the sum into the slot. In channel and forced mode a lane has a decision of its own for each slot: its
    psum against its threshold, or its bit of ``control.forced``; a conditional job whose lane did not fire leaves
    the lane's slot as it was. One step per cycle, no backpressure. ``4 + tree_levels`` cycles after a job's last
    ``act`` ``saliency_out`` is valid, beside ``end``; ``fires_out`` is one cycle later, and the sum in its slot. A
    slot's conditional job may start four cycles after its base job's last step.

    Parameters
    ----------
    params : :class:`HwParams`
    index : :class:`int`
        Place of the lane in the chain, and in ``control.forced``.

    Members
    -------
    weight_addr, weight_addr_out : ring address of a step's entry, :attr:`WEIGHT_LEAD` cycles ahead of ``act``; one
        cycle later for the next lane.
    act, act_out : chunk of ``in_par`` uint8 codes.
    control, control_out : step control beside ``act``.
    write_en, write_addr, write_data : one entry's part for this lane. Written one cycle later.
    psum_read, psum_slot, psum : read of a slot for the requantiser: answers two cycles later and stands until the next.
    mode, thresholds : gate mode; the channel's thresholds in the slices in flight, by parity.
    saliency, saliency_out : sum of the base psums of the lanes before this one; with this one's.
    fires, fires_out : psums above their thresholds, of the lanes before this one; with this one's, in the top bit. One
        cycle after the saliencies.
    end : step control of a job's last step, as ``saliency_out`` is valid.
    """

    #: Cycles from a step's weight address to its chunk.
    WEIGHT_LEAD = 3

    def __init__(self, params, index=0):
        self.params = params
        self.index = index
        super().__init__(
            {
                "weight_addr": In(params.ring_addr_bits),
                "weight_addr_out": Out(params.ring_addr_bits),
                "act": In(params.chunk_bits),
                "act_out": Out(params.chunk_bits),
                "control": In(StepControl(params)),
                "control_out": Out(StepControl(params)),
                "write_en": In(1),
                "write_addr": In(params.ring_addr_bits),
                "write_data": In(params.chunk_bits),
                "psum_read": In(1),
                "psum_slot": In(params.slot_bits),
                "psum": Out(signed(32)),
                "mode": In(GateMode),
                "thresholds": In(data.ArrayLayout(signed(32), 2)),
                "saliency": In(signed(32)),
                "saliency_out": Out(signed(32)),
                "fires": In(LANES),
                "fires_out": Out(LANES),
                "end": Out(StepControl(params)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params

        m.submodules.weights = weights = memory.Memory(
            shape=unsigned(params.chunk_bits), depth=params.ring_entries, init=[], attrs=NO_COLLISION
        )
        weight_write = weights.write_port()
        weight_read = weights.read_port()
        # Registers that are equal in all lanes are kept apart, so that each is near its lane. Data need no reset.
        write_en = Signal(attrs=KEEP)
        write_addr = Signal(params.ring_addr_bits, attrs=KEEP, reset_less=True)
        write_data = Signal(params.chunk_bits, reset_less=True)
        weight_addr = Signal(params.ring_addr_bits, reset_less=True)
        chunk = Signal(params.chunk_bits, reset_less=True)
        mode = Signal(GateMode, attrs=KEEP)
        m.d.comb += [
            weight_write.en.eq(write_en),
            weight_write.addr.eq(write_addr),
            weight_write.data.eq(write_data),
            weight_read.addr.eq(weight_addr),
            self.weight_addr_out.eq(weight_addr),
            self.act_out.eq(chunk),
        ]
        m.d.sync += [
            write_en.eq(self.write_en),
            write_addr.eq(self.write_addr),
            write_data.eq(self.write_data),
            weight_addr.eq(self.weight_addr),
            chunk.eq(self.act),
            mode.eq(self.mode),
            self.control_out.eq(self.control),
        ]

        # Operands meet here: the weight after the memory and two registers, one near each end of the way, and the chunk
        # after the lane's register.
        fetched = Signal(params.chunk_bits, reset_less=True)
        weight = Signal(data.ArrayLayout(signed(8), params.in_par), reset_less=True)
        m.d.sync += [
            fetched.eq(weight_read.data),
            weight.eq(fetched),
        ]
        act = data.View(data.ArrayLayout(unsigned(8), params.in_par), chunk)

        # The chunk, the weight word and their control are one cycle apart from here to the accumulator.
        terms = []
        for k in range(params.in_par):
            product = Signal(signed(16), name=f"product_{k}", reset_less=True)
            m.d.sync += product.eq(act[k] * weight[k])
            terms.append(product)
        control = self.control_out
        stages = []
        for level in range(tree_levels(params) + 2):
            stage = Signal(StepControl(params), name=f"control_{level}")
            m.d.sync += stage.eq(control)
            stages.append(stage)
            control = stage
        for level in range(tree_levels(params)):
            sums = []
            for k in range(0, len(terms), 2):
                total = Signal.like(terms[k] + terms[k + 1], name=f"sum_{level}_{k // 2}", reset_less=True)
                m.d.sync += total.eq(terms[k] + terms[k + 1])
                sums.append(total)
            terms = sums
        control_init, control_sum, control_acc = ([self.control_out] + stages)[-3:]

        m.submodules.psums = psums = memory.Memory(shape=signed(32), depth=params.psum_slots, init=[])
        psum_write = psums.write_port()
        init = Signal(signed(32), reset_less=True)
        acc = Signal(signed(32), reset_less=True)
        if params.gating:
            psum_init = psums.read_port(domain="comb")
            m.d.comb += psum_init.addr.eq(control_init.slot)
            m.d.sync += init.eq(Mux(control_init.cond, psum_init.data, 0))
        psum_read = psums.read_port(domain="comb")
        with m.If(control_sum.valid):
            m.d.sync += acc.eq(Mux(control_sum.first, init, acc) + terms[0])

        keep = self._decide(m, mode, acc, control_init, control_sum) if params.gating else Const(0)

        last = Signal()
        stored = Signal()
        stored_slot = Signal(params.slot_bits, reset_less=True)
        stored_psum = Signal(signed(32), reset_less=True)
        m.d.comb += [
            last.eq(control_acc.valid & control_acc.last),
            psum_write.en.eq(stored),
            psum_write.addr.eq(stored_slot),
            psum_write.data.eq(stored_psum),
        ]
        m.d.sync += [
            stored.eq(last & ~keep),
            stored_slot.eq(control_acc.slot),
            stored_psum.eq(acc),
        ]
        read = Signal(attrs=KEEP)
        slot = Signal(params.slot_bits, attrs=KEEP)
        psum = Signal(signed(32), reset_less=True)
        m.d.comb += [psum_read.addr.eq(slot), self.psum.eq(psum)]
        m.d.sync += [read.eq(self.psum_read), slot.eq(self.psum_slot)]
        with m.If(read):
            m.d.sync += psum.eq(psum_read.data)

        m.d.sync += [
            self.end.eq(control_acc),
            self.end.valid.eq(last),
        ]
        return m

    def _decide(self, m, mode, acc, control_init, control_sum):
        """Saliency and decisions; returns whether the job at the accumulator leaves its slot as it was."""
        params = self.params
        saliency = Signal(signed(32), reset_less=True)
        fires = Signal(LANES, reset_less=True)
        m.d.comb += [self.saliency_out.eq(saliency), self.fires_out.eq(fires)]

        # The lane's own decisions, a cycle after the sum, and what becomes of them, a cycle ahead of it. Between a base
        # job's end and its conditional job's lie more cycles than that.
        threshold = Signal(signed(32), reset_less=True)
        fire = Signal()
        under = Signal(signed(33))  # Yosys makes a carry chain of it; of a comparison it makes LUTs beside that
        fired = Signal(params.psum_slots)
        slot_fired = Signal()  # of the job whose step comes to the accumulator
        keep = Signal()
        m.d.comb += under.eq(threshold - acc)
        m.d.sync += [
            threshold.eq(self.thresholds[control_sum.parity]),
            fire.eq(under[-1]),
            slot_fired.eq(fired.bit_select(control_init.slot, 1)),
            keep.eq(0),
        ]
        with m.If(self.end.valid & ~self.end.cond):
            m.d.sync += fired.bit_select(self.end.slot, 1).eq(fire)
        with m.Switch(mode):
            with m.Case(GateMode.CHANNEL):
                m.d.sync += keep.eq(control_sum.cond & ~slot_fired)
            with m.Case(GateMode.FORCED):
                m.d.sync += keep.eq(control_sum.cond & ~control_sum.forced[self.index])
        m.d.sync += [
            saliency.eq(self.saliency + acc),
            fires.eq(Cat(self.fires[1:], fire)),
        ]
        return keep
