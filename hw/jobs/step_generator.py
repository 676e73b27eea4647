"""Runs a job: one MAC step in every cycle, from the first valid tap to the last."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.interface.layouts import LayerRegisters
from hw.jobs.payloads import Job, StepControl

__all__ = ["StepGenerator"]


class StepGenerator(wiring.Component):
    """Issues the steps of jobs, back to back: for each valid tap row, each valid tap of it, each chunk of the path.

    A job that is offered during the last step of the one before has its first step in the next cycle. Taps outside
    the map are not visited. The outputs are registered; there is no backpressure.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    layer : layer registers.
    i : stream of jobs.
    issue, issue_cond : a step is issued in this cycle; it belongs to a conditional job.
    ifmap_addr, weight_addr, control : of the step issued in the cycle before.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "layer": In(LayerRegisters(params)),
                "i": In(stream.Signature(Job(params))),
                "issue": Out(1),
                "issue_cond": Out(1),
                "ifmap_addr": Out(params.bank_addr_bits),
                "weight_addr": Out(params.ring_addr_bits),
                "control": Out(StepControl(params)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer, params = self.layer, self.params
        job = Signal(Job(params), reset_less=True)
        active = Signal()
        first = Signal()
        chunk = Signal(params.bank_addr_bits, reset_less=True)
        chunks = Signal(params.ring_addr_bits, reset_less=True)  # left of the tap, after this one
        tap_addr = Signal(params.bank_addr_bits, reset_less=True)
        row_addr = Signal(params.bank_addr_bits, reset_less=True)  # of the tap row's first tap
        weight_addr = Signal(params.ring_addr_bits, reset_less=True)
        tap_rows = Signal(3, reset_less=True)  # left, after this one
        tap_cols = Signal(3, reset_less=True)
        weight_hold = Signal(attrs=KEEP)
        m.d.sync += weight_hold.eq(layer.weight_hold)

        # That a counter has come to its end is registered beside it: the last step hands over to the next job. The
        # chunks' end has its like beside the chunks and beside the weight address.
        ends = [Signal(name=f"last_chunk_{user}", attrs=KEEP) for user in ("tap", "chunk", "weight")]
        last_chunk, last_chunk_here, last_chunk_weight = ends
        last_col = Signal()
        last_row = Signal()
        last = last_chunk & last_col & last_row

        next_tap_addr = Signal(params.bank_addr_bits)
        weight_inc = Signal(params.ring_addr_bits)
        m.d.comb += [
            next_tap_addr.eq(Mux(last_col, row_addr, tap_addr) + Mux(last_col, layer.tap_row_step, layer.tap_col_step)),
            weight_inc.eq(Mux(last_chunk_weight & last_col, job.row_inc, 1)),
        ]
        m.d.sync += first.eq(0)
        with m.If(last_chunk_here):
            m.d.sync += [chunk.eq(job.chunk_first), chunks.eq(job.chunks)]
            m.d.sync += [end.eq(job.single.chunk) for end in ends]
        with m.Else():
            skips = (chunk == job.skip_at) if params.gating else Const(0)
            m.d.sync += [chunk.eq(Mux(skips, job.skip_to, chunk + 1)), chunks.eq(chunks - 1)]
            m.d.sync += [end.eq(chunks == 1) for end in ends]
        with m.If(last_chunk):
            m.d.sync += [tap_addr.eq(next_tap_addr), tap_cols.eq(tap_cols - 1), last_col.eq(tap_cols == 1)]
            with m.If(last_col):
                m.d.sync += [
                    row_addr.eq(next_tap_addr),
                    tap_cols.eq(job.tap_cols),
                    last_col.eq(job.single.col),
                    tap_rows.eq(tap_rows - 1),
                    last_row.eq(tap_rows == 1),
                ]
        with m.If(last_chunk_weight & weight_hold):
            m.d.sync += weight_addr.eq(job.weight_addr)
        with m.Else():
            m.d.sync += weight_addr.eq(weight_addr + weight_inc)

        # Whether a job may be taken, that is whether the step at hand is the last, is registered, too, once for each
        # group of registers.
        readies = [Signal(name=f"ready_{user}", init=1, attrs=KEEP) for user in ("stream", "job", "taps", "chunks")]
        ready, ready_job, ready_taps, ready_chunks = readies
        ending = Signal()  # the next step is the job's last
        with m.If(~last_chunk):
            m.d.comb += ending.eq((chunks == 1) & last_col & last_row)
        with m.Elif(~last_col):
            m.d.comb += ending.eq(job.single.chunk & (tap_cols == 1) & last_row)
        with m.Else():
            m.d.comb += ending.eq(job.single.chunk & job.single.col & (tap_rows == 1))
        lone = self.i.p.single.as_value().all()
        m.d.sync += [flag.eq(Mux(ready, ~self.i.valid | lone, ending)) for flag in readies]
        m.d.comb += self.i.ready.eq(ready)
        with m.If(ready_job):
            m.d.sync += job.eq(self.i.payload)
        with m.If(ready_taps):
            m.d.sync += [
                tap_addr.eq(self.i.p.tap_addr),
                row_addr.eq(self.i.p.tap_addr),
                tap_rows.eq(self.i.p.tap_rows),
                last_row.eq(self.i.p.single.row),
                tap_cols.eq(self.i.p.tap_cols),
                last_col.eq(self.i.p.single.col),
            ]
        with m.If(ready_chunks):
            m.d.sync += [
                active.eq(self.i.valid),
                first.eq(1),
                chunk.eq(self.i.p.chunk_first),
                weight_addr.eq(self.i.p.weight_addr),
                chunks.eq(self.i.p.chunks),
            ]
            m.d.sync += [end.eq(self.i.p.single.chunk) for end in ends]

        m.d.comb += [self.issue.eq(active), self.issue_cond.eq(job.cond)]
        m.d.sync += [
            self.ifmap_addr.eq(tap_addr + chunk),
            self.weight_addr.eq(weight_addr),
            self.control.valid.eq(active),
            self.control.first.eq(first),
            self.control.last.eq(last),
            self.control.cond.eq(job.cond),
            self.control.slot.eq(job.slot),
            self.control.parity.eq(job.parity),
            self.control.forced.eq(job.forced),
        ]
        return m
