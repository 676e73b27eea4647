"""The job scheduler and skip controller: which job the MAC array runs next."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.interface.layouts import GateMode, IdleCause, LayerRegisters, MaskRecord
from hw.jobs.payloads import BasePixel, Job, JobEnd, SliceContext, TapFlags
from hw.jobs.slot_pool import SlotPool
from hw.jobs.slot_queue import SlotQueue
from hw.params import LANES

__all__ = ["Scheduler"]


class Scheduler(wiring.Component):
    """Chooses between a fired conditional job and the next pixel's base job, and prepares what the choice needs.

    A conditional job goes first if its weights are in the ring; else a base job, if its weights are in, a psum slot
    is free and its decision has a place to go. A pixel that did not fire never comes here again: that is the
    skipping. The stages (conditional head, chosen, taps, prepared) each load only when empty, so no control path
    crosses two of them; they pass a job every two cycles. So jobs of a single step, in a 1x1 convolution over one
    chunk, run at half rate.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    layer : layer registers.
    begin : starts a layer.
    pixel : stream of pixels, from :class:`PixelWalker`.
    contexts, newest, oldest, base_ready, cond_ready : from :class:`SliceTable`.
    end : job ends; one that fires puts its slot into the queue of conditional jobs.
    release, release_slot : a slot that was requantised.
    mask_taken : a decision was taken by its consumer.
    mask : stream of decisions to force, in job order; one is taken with each base job in forced mode.
    output_blocked : logits wait for their consumer.
    issue, issue_slot : a base job for ``pixel.payload`` was chosen, and its slot.
    o : stream of jobs.
    empty : no job is waiting here.
    stall : why no job could be chosen, when last none could.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "layer": In(LayerRegisters(params)),
                "begin": In(1),
                "pixel": In(stream.Signature(BasePixel(params))),
                "contexts": In(data.ArrayLayout(SliceContext(params), 2)),
                "newest": In(1),
                "oldest": In(1),
                "base_ready": In(1),
                "cond_ready": In(1),
                "end": In(JobEnd(params)),
                "release": In(1),
                "release_slot": In(params.slot_bits),
                "mask_taken": In(1),
                "mask": In(stream.Signature(MaskRecord(params))),
                "output_blocked": In(1),
                "issue": Out(1),
                "issue_slot": Out(params.slot_bits),
                "o": Out(stream.Signature(Job(params))),
                "empty": Out(1),
                "stall": Out(IdleCause),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        origin = data.StructLayout({"tap_addr": params.bank_addr_bits, "flags": TapFlags, "parity": 1, "forced": LANES})

        m.submodules.pool = pool = SlotPool(params)
        m.d.comb += [
            pool.release.eq(self.release),
            pool.slot.eq(self.release_slot),
        ]

        # Head of the conditional jobs.
        cond_valid = Signal()
        cond_waits = Signal()  # there is one behind it
        cond_slot = Signal(params.slot_bits, reset_less=True)
        cond_origin = Signal(origin, reset_less=True)
        from_pixel = Signal(origin)
        if params.gating:
            self._queue_conditional_jobs(m, (cond_valid, cond_slot, cond_origin), cond_waits, from_pixel)

        # Where decisions leave, each base job keeps a place for its own; where they are forced, it takes one along.
        mode = self.layer.mode
        decides = Signal()
        forced = Signal()
        mask_taken = Signal()
        mask_room = Signal(range(params.psum_slots + 1), init=params.psum_slots)
        base_room = Signal(init=1)  # lags by a cycle: no job is chosen in the one behind another
        if params.gating:
            m.d.sync += [
                decides.eq((mode == GateMode.GATED) | (mode == GateMode.CHANNEL) | (mode == GateMode.FORCED)),
                forced.eq(mode == GateMode.FORCED),
            ]
        m.d.sync += [
            mask_taken.eq(self.mask_taken),
            # The choice comes late: it picks a sum, and is in none.
            mask_room.eq(Mux(self.issue & decides, (mask_room + mask_taken) - 1, mask_room + mask_taken)),
            base_room.eq(~decides | (mask_room != 0)),
        ]

        # Choice.
        chosen_valid = Signal()
        chosen_holds = Signal(attrs=KEEP)  # as `chosen_valid`, for what is held
        chosen_cond = Signal(reset_less=True)
        chosen_slot = Signal(params.slot_bits, reset_less=True)
        chosen = Signal(origin, reset_less=True)
        take_cond = Signal()
        base_mask = Signal()
        m.d.comb += [
            base_mask.eq(~forced | self.mask.valid),
            self.mask.ready.eq(forced & self.issue),
            take_cond.eq(~chosen_valid & cond_valid & self.cond_ready & (cond_origin.parity == self.oldest)),
            self.issue.eq(
                ~chosen_valid & ~take_cond & self.pixel.valid & self.base_ready & pool.o.valid & base_room & base_mask
            ),
            self.issue_slot.eq(pool.o.payload),
            self.pixel.ready.eq(self.issue),
            pool.o.ready.eq(self.issue),
        ]
        m.d.comb += [
            from_pixel.tap_addr.eq(self.pixel.p.tap_addr),
            from_pixel.flags.eq(self.pixel.p.flags),
            from_pixel.parity.eq(self.newest),
            from_pixel.forced.eq(self.mask.p.fire),
        ]
        with m.If(take_cond):
            m.d.sync += cond_valid.eq(0)
        with m.If(take_cond | self.issue):
            m.d.sync += [chosen_valid.eq(1), chosen_holds.eq(1)]
        with m.If(~chosen_holds):  # what was not chosen is of no account
            m.d.sync += [
                chosen_cond.eq(take_cond),
                chosen_slot.eq(Mux(take_cond, cond_slot, pool.o.payload)),
                chosen.eq(Mux(take_cond, cond_origin.as_value(), from_pixel.as_value())),
            ]

        # The cause of an idle cycle is what kept the choice open; it stands until a job can be chosen at once again.
        started = Signal()
        with m.If(self.begin):
            m.d.sync += [self.stall.eq(IdleCause.START), started.eq(0)]
        with m.Elif(~chosen_valid & ~take_cond & ~self.issue):
            with m.If((self.pixel.valid & ~self.base_ready) | (cond_valid & ~self.cond_ready)):
                m.d.sync += self.stall.eq(IdleCause.WEIGHTS)
            with m.Elif(self.pixel.valid & (~base_room | (~pool.o.valid & self.output_blocked))):
                m.d.sync += self.stall.eq(IdleCause.OUTPUT)
            with m.Elif(self.pixel.valid & pool.o.valid & ~base_mask):
                m.d.sync += self.stall.eq(IdleCause.INPUT)
            with m.Elif(started):
                m.d.sync += self.stall.eq(IdleCause.DECISION)
        with m.If(self.issue):
            m.d.sync += started.eq(1)

        early_valid = self._prepare(m, (chosen_valid, chosen_holds), chosen_cond, chosen_slot, chosen)
        m.d.comb += self.empty.eq(~cond_valid & ~cond_waits & ~chosen_valid & ~early_valid & ~self.o.valid)
        return m

    def _queue_conditional_jobs(self, m, head, waits, from_pixel):
        """Slots that fired wait for their turn; where each pixel's taps are is kept from its base job on."""
        params = self.params
        valid, slot, origin = head
        m.submodules.cond_queue = queue = SlotQueue(params)
        m.submodules.origins = origins = memory.Memory(shape=origin.shape(), depth=params.psum_slots, init=[])
        write = origins.write_port()
        read = origins.read_port(domain="comb")
        m.d.comb += [
            queue.put.eq(self.end.valid & self.end.fire),
            queue.slot.eq(self.end.slot),
            queue.o.ready.eq(~valid),
            waits.eq(queue.o.valid),
            read.addr.eq(queue.o.payload),
            write.en.eq(self.issue),
            write.addr.eq(self.issue_slot),
            write.data.eq(from_pixel),
        ]
        with m.If(~valid):
            m.d.sync += [valid.eq(queue.o.valid), slot.eq(queue.o.payload), origin.eq(read.data)]

    def _prepare(self, m, chosen_valids, chosen_cond, chosen_slot, chosen):
        """Computes a chosen job's taps, chunks and ring addresses; returns whether there is one between two stages."""
        chosen_valid = chosen_valids[0]
        layer = self.layer
        context = self.contexts[chosen.parity]
        flags = chosen.flags

        # A path's first valid entry, and the way from a tap row to the next, depend on the borders alone: sums of
        # registers of the layer, so that one addition is left to do.
        ring_addr = self.params.ring_addr_bits
        starts = Signal(data.ArrayLayout(ring_addr, 8), reset_less=True)  # index: path, top, left
        row_incs = Signal(data.ArrayLayout(ring_addr, 6), reset_less=True)  # index: path, taps outside of the row
        last_chunks = Signal(data.ArrayLayout(ring_addr, 2), reset_less=True)  # index: path
        single_chunks = Signal(2, reset_less=True)  # index: path
        for path, tap_entries, row_entries in (
            (0, layer.base_tap_entries, layer.base_row_entries),
            (1, layer.cond_tap_entries, layer.cond_row_entries),
        ):
            m.d.sync += [
                starts[4 * path].eq(0),
                starts[4 * path + 1].eq(tap_entries),
                starts[4 * path + 2].eq(row_entries),
                starts[4 * path + 3].eq(row_entries + tap_entries),
                last_chunks[path].eq(tap_entries - 1),
                single_chunks[path].eq(tap_entries == 1),
            ]
            m.d.sync += [row_incs[3 * path + outside].eq(1 + outside * tap_entries) for outside in range(3)]

        outside = Mux(flags.left & flags.right, 2, flags.left | flags.right)
        early = Signal(Job(self.params), reset_less=True)
        early_valid = Signal()
        early_start = Signal(ring_addr, reset_less=True)
        with m.If(chosen_valid & ~early_valid):
            m.d.sync += [valid.eq(0) for valid in chosen_valids]
            m.d.sync += early_valid.eq(1)
        with m.If(~early_valid):
            m.d.sync += [
                early.cond.eq(chosen_cond),
                early.slot.eq(chosen_slot),
                early.parity.eq(chosen.parity),
                early.forced.eq(chosen.forced),
                early.tap_addr.eq(chosen.tap_addr),
                early.tap_rows.eq(layer.tap_row_last - flags.top - flags.bottom),
                early.tap_cols.eq(layer.tap_col_last - flags.left - flags.right),
                early.chunk_first.eq(Mux(chosen_cond, context.cond_first, context.base_first)),
                early.chunks.eq(last_chunks[chosen_cond]),
                early.single.chunk.eq(single_chunks.bit_select(chosen_cond, 1)),
                # The chunks of the base path, amid the others. The base path itself never comes to the chunk before.
                early.skip_at.eq(context.base_first - 1),
                early.skip_to.eq(context.base_last + 1),
                early.weight_addr.eq(Mux(chosen_cond, context.cond_ptr, context.base_ptr)),
                early_start.eq(starts[Cat(flags.left, flags.top, chosen_cond)]),
                early.row_inc.eq(row_incs[Mux(chosen_cond, 3, 0) + outside]),
            ]

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(early_valid & ~self.o.valid):
            m.d.sync += [early_valid.eq(0), self.o.valid.eq(1)]
        with m.If(~self.o.valid):
            m.d.sync += [
                self.o.payload.eq(early),
                self.o.p.single.row.eq(early.tap_rows == 0),
                self.o.p.single.col.eq(early.tap_cols == 0),
                self.o.p.weight_addr.eq(early.weight_addr + early_start),
            ]
        return early_valid
