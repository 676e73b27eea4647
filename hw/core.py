"""The compute core: a gated convolution engine, with pooling, for one layer at a time."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.datapath.activation_banks import ActivationBanks
from hw.datapath.lane import Lane
from hw.datapath.mac_array import MacArray
from hw.datapath.max_pool import MaxPool
from hw.datapath.output_stage import OutputStage
from hw.datapath.parameter_memory import ParameterMemory
from hw.datapath.weight_ring import WeightRing
from hw.interface.layouts import (
    BankAddress,
    BankWrite,
    CounterLayout,
    GateMode,
    IdleCause,
    LayerRegisters,
    LogitRecord,
    MaskRecord,
    OfmapWrite,
    ParameterWord,
)
from hw.jobs.counters import Counters
from hw.jobs.payloads import BasePixel
from hw.jobs.pixel_walker import PixelWalker
from hw.jobs.saliency import SaliencyComparator
from hw.jobs.scheduler import Scheduler
from hw.jobs.slice_table import SliceTable
from hw.jobs.step_generator import StepGenerator

__all__ = ["Core"]


class Core(wiring.Component):
    """Computes one layer for 1 to ``max_images`` images, skipping what the gates call off.

    In place before ``start``: the ifmap, the residual and the parameters. The weights arrive during the pass, or
    before. Every (pixel, slice) gets a base job; a slice that fires gets a conditional job; a complete psum is
    requantised and written. Jobs of two steps or more follow each other without a gap as long as weights come;
    those of one step come every other cycle. In a pooling pass the steps pass the MAC array by, see :class:`MaxPool`;
    it takes neither weights nor parameters.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    start : strobe, taken while not ``busy``; samples ``layer``.
    layer : layer registers.
    busy : a pass is under way.
    done : strobe; the ofmap, or the last logit, is out and ``counters`` stand. Decisions that nobody took are still
        waiting in ``mask_o``, and weights that nobody wanted have still to be sent.
    counters : of this pass, or the last one. The pass is counted from the cycle after ``start`` to the one in which
        the last granule of the ofmap is written, or the last logit taken.
    counting : count all cycles, whether a pass is under way or not; ``start`` does not clear the counters, but the
        first cycle of ``counting`` does.
    outside : the cause of the idle cycles then, while no pass is under way.
    step : the MAC array, or the pooling, is given a step.
    clear : strobe: everything but what memories hold is as after a reset, two cycles later.
    load_i : stream of words for the activation banks.
    read_i, read_o : streams of addresses and words read back.
    param_i : stream of parameter words.
    weight_i : stream of weight ring entries, in order of use: slice by slice the base path's, then the conditional
        path's; of each by tap, then by chunk. Lane n's weights in bits ``n * chunk_bits`` and up.
    weight_free : entries of the ring that are given back in this cycle.
    mask_o : stream of decisions, in gated, channel and forced mode.
    mask_i : stream of decisions to take in forced mode, in the order of ``mask_o``. Only ``fire`` is looked at.
    logit_o : stream of logits.
    trace_o : granules written to the ofmap, valid only; if ``params.trace``.
    """

    #: Parts of the layer's registers that have an enable of their own.
    PARTS = 4

    def __init__(self, params):
        self.params = params
        members = {
            "start": In(1),
            "layer": In(LayerRegisters(params)),
            "busy": Out(1),
            "done": Out(1),
            "counters": Out(CounterLayout),
            "counting": In(1),
            "outside": In(IdleCause),
            "step": Out(1),
            "clear": In(1),
            "load_i": In(stream.Signature(BankWrite(params))),
            "read_i": In(stream.Signature(BankAddress(params))),
            "read_o": Out(stream.Signature(unsigned(params.chunk_bits))),
            "param_i": In(stream.Signature(ParameterWord(params))),
            "weight_i": In(stream.Signature(unsigned(params.entry_bits))),
            "weight_free": Out(params.ring_addr_bits + 1),
            "mask_i": In(stream.Signature(MaskRecord(params))),
            "mask_o": Out(stream.Signature(MaskRecord(params))),
            "logit_o": Out(stream.Signature(LogitRecord(params))),
        }
        if params.trace:
            members["trace_o"] = Out(wiring.Signature({"valid": Out(1), "payload": Out(OfmapWrite(params))}))
        super().__init__(members)

    def elaborate(self, platform):
        top = Module()
        parts = _Parts(self.params)
        m = Module()
        for name, part in (*parts.cleared.items(), ("control", m)):
            # Its own register of `clear`: one signal would have to reach all of the chip.
            clear = Signal(name=f"clear_{name}", attrs=KEEP)
            top.d.sync += clear.eq(self.clear)
            top.submodules[name] = ResetInserter(clear)(part)
        top.submodules.array = parts.array

        self._connect_streams(m, parts)
        layer, running, begin, finish = self._run_pass(m, parts)
        self._connect_slices(m, parts)
        self._connect_jobs(m, parts, layer)
        self._connect_steps(m, parts, layer, running)
        self._connect_outputs(m, parts, layer)
        self._announce_base_jobs(m, parts)
        self._count(m, parts, layer, running, begin, finish)
        if self.params.trace:
            m.d.comb += [
                self.trace_o.valid.eq(parts.banks.write_en),
                self.trace_o.payload.eq(parts.banks.write),
            ]
        return top

    def _connect_streams(self, m, parts):
        """The ports that are streams."""
        for port, sub in (
            (self.load_i, parts.banks.load),
            (self.read_i, parts.banks.read),
            (self.param_i, parts.parameters.i),
            (self.weight_i, parts.ring.i),
            (self.mask_i, parts.scheduler.mask),
        ):
            wiring.connect(m, wiring.flipped(port), sub)
        for port, sub in (
            (self.read_o, parts.banks.word),
            (self.mask_o, parts.comparator.mask),
            (self.logit_o, parts.output.logit),
        ):
            wiring.connect(m, sub, wiring.flipped(port))

    def _run_pass(self, m, parts):
        """The life of a pass; returns its layer registers, whether it is under way, and the strobes at both ends."""
        params, output = self.params, parts.output
        layer = Signal(LayerRegisters(params), reset_less=True)
        running = Signal()
        # Equal to `busy`, one for each part of the layer's registers: until a pass starts they are as their port.
        holds = [Signal(name=f"hold_{n}", attrs=KEEP) for n in range(self.PARTS)]
        bits, given = layer.as_value(), self.layer.as_value()
        size = -(-len(bits) // self.PARTS)
        for n, hold in enumerate(holds):
            with m.If(~hold):
                m.d.sync += bits[n * size : (n + 1) * size].eq(given[n * size : (n + 1) * size])
        begin = Signal()
        incomplete = Signal(range(params.psum_slots * 4))  # pixels between their base job and the last of their codes
        finish = Signal()
        m.d.sync += begin.eq(self.start & ~self.busy)
        with m.If(self.start & ~self.busy):
            m.d.sync += [running.eq(1), self.busy.eq(1)]
            m.d.sync += [hold.eq(1) for hold in holds]
        m.d.comb += finish.eq(
            parts.walker.done & ~begin & ((output.complete & (incomplete == 1)) | parts.pool.complete)
        )
        # A pixel is complete long after its base job was chosen.
        issued = Signal(name="incomplete_issued", attrs=KEEP)
        m.d.sync += [issued.eq(parts.scheduler.issue), incomplete.eq(incomplete + issued - output.complete)]
        with m.If(finish):
            m.d.sync += running.eq(0)
        # The last granule reaches its bank, and its cycle the counters, before the pass is called done.
        finished = Signal(3)
        m.d.sync += [finished.eq(Cat(finish, finished)), self.done.eq(finished[-1])]
        with m.If(finished[-1]):
            m.d.sync += self.busy.eq(0)
            m.d.sync += [hold.eq(0) for hold in holds]
        for part in (parts.banks, parts.walker, parts.table, parts.scheduler, parts.steps, parts.comparator, output):
            m.d.comb += part.layer.eq(layer)
        m.d.comb += parts.pool.layer.eq(layer)
        for part in (parts.walker, parts.table, parts.scheduler):
            m.d.comb += part.begin.eq(begin)
        return layer, running, begin, finish

    def _connect_slices(self, m, parts):
        """Slices, and the jobs that belong to them."""
        table, scheduler, ring = parts.table, parts.scheduler, parts.ring
        m.d.comb += [
            table.open.eq(parts.walker.open),
            parts.walker.can_open.eq(table.can_open),
            table.issue.eq(scheduler.issue),
            table.issue_last.eq(parts.walker.o.p.last),
            table.end.eq(parts.comparator.end),
            table.loaded.eq(ring.loaded),
            ring.free_en.eq(table.free_en),
            ring.free_entries.eq(table.free_entries),
            self.weight_free.eq(Mux(table.free_en, table.free_entries, 0)),
            scheduler.newest.eq(table.newest),
            scheduler.oldest.eq(table.oldest),
            scheduler.contexts.eq(table.contexts),
            scheduler.base_ready.eq(table.base_ready),
            scheduler.cond_ready.eq(table.cond_ready),
            scheduler.end.eq(parts.comparator.end),
            scheduler.release.eq(parts.output.release),
            scheduler.release_slot.eq(parts.output.release_slot),
            scheduler.mask_taken.eq(parts.comparator.mask_taken),
            scheduler.output_blocked.eq(parts.output.blocked),
            parts.parameters.threshold_addr.eq(table.threshold_addr),
            table.thresholds.eq(parts.parameters.thresholds),
        ]

    def _connect_jobs(self, m, parts, layer):
        """The way of a job: from the walker through the scheduler, or in a pooling pass past it."""
        pixel, steps, pool, scheduler = parts.walker.o, parts.steps.i, parts.pool, parts.scheduler
        pooling = Signal(name="pooling_jobs", attrs=KEEP)
        m.d.sync += pooling.eq(layer.pool)
        m.d.comb += [
            scheduler.pixel.payload.eq(pixel.payload),
            scheduler.pixel.valid.eq(pixel.valid),  # none is taken in a pooling pass
            pool.pixel.payload.eq(pixel.payload),
            pool.pixel.valid.eq(pixel.valid & pooling),
            pixel.ready.eq(scheduler.pixel.ready | pool.pixel.ready),
            steps.payload.eq(scheduler.o.payload),
            steps.valid.eq(scheduler.o.valid | pool.job.valid),
            scheduler.o.ready.eq(steps.ready),
            pool.job.ready.eq(steps.ready),
        ]
        with m.If(pooling):
            m.d.comb += [
                steps.p.tap_addr.eq(pool.job.p.tap_addr),
                steps.p.tap_rows.eq(pool.job.p.tap_rows),
                steps.p.tap_cols.eq(pool.job.p.tap_cols),
                steps.p.chunk_first.eq(pool.job.p.chunk),
                steps.p.chunks.eq(0),
                steps.p.single.eq(pool.job.p.single),
            ]

    def _connect_steps(self, m, parts, layer, running):
        """Steps. The chunk comes READ_LATENCY cycles after its address, WEIGHT_LEAD cycles after the weight's."""
        banks, steps, array, table, ring = parts.banks, parts.steps, parts.array, parts.table, parts.ring
        control = steps.control
        for n in range(ActivationBanks.READ_LATENCY):
            stage = Signal.like(control, name=f"control_{n + 1}")
            m.d.sync += stage.eq(control)
            before, control = control, stage
        m.d.comb += [parts.pool.control.eq(before), parts.pool.word.eq(banks.ifmap)]
        with m.If(layer.pool):
            m.d.sync += control.valid.eq(0)
        weight_addr = steps.weight_addr
        for n in range(ActivationBanks.READ_LATENCY - Lane.WEIGHT_LEAD):
            stage = Signal.like(weight_addr, name=f"weight_addr_{n + 1}", reset_less=True)
            m.d.sync += stage.eq(weight_addr)
            weight_addr = stage
        m.d.comb += [
            banks.running.eq(running),
            banks.ifmap_addr.eq(steps.ifmap_addr),
            array.act.eq(banks.ifmap),
            array.control.eq(control),
            array.weight_addr.eq(weight_addr),
            array.clear.eq(self.clear),
            array.mode.eq(layer.mode),
            array.thresholds[0].eq(table.contexts[0].thresholds),
            array.thresholds[1].eq(table.contexts[1].thresholds),
            array.write_en.eq(ring.write_en),
            array.write_addr.eq(ring.write_addr),
            array.write_data.eq(ring.write_data),
        ]

    def _connect_outputs(self, m, parts, layer):
        """Job ends, decisions and outputs."""
        comparator, output, array, banks = parts.comparator, parts.output, parts.array, parts.banks
        pooling = Signal(name="pooling_writes", attrs=KEEP)
        m.d.sync += pooling.eq(layer.pool)
        m.d.comb += [
            comparator.contexts.eq(parts.table.contexts),
            comparator.i.eq(array.end),
            comparator.saliency.eq(array.saliency),
            comparator.fires.eq(array.fires),
            output.end.eq(comparator.end),
            array.psum_read.eq(output.psum_read),
            array.psum_slot.eq(output.psum_slot),
            output.psums.eq(array.psums),
            parts.parameters.address.eq(output.param_addr),
            output.scales.eq(parts.parameters.scales),
            banks.residual_addr.eq(output.residual_addr),
            output.residual.eq(banks.residual),
            banks.write_en.eq(output.write_en | parts.pool.write_en),
            banks.write.eq(Mux(pooling, parts.pool.write, output.write)),
        ]

    def _announce_base_jobs(self, m, parts):
        """Base jobs for those who need to know when they end: their choice need not reach them in its own cycle."""
        for name, part in (("comparator", parts.comparator), ("output", parts.output)):
            issue = Signal(name=f"{name}_issue", attrs=KEEP)
            issue_slot = Signal(self.params.slot_bits, name=f"{name}_issue_slot", attrs=KEEP, reset_less=True)
            pixel = Signal(BasePixel(self.params), name=f"{name}_pixel", reset_less=True)
            m.d.sync += [
                issue.eq(parts.scheduler.issue),
                issue_slot.eq(parts.scheduler.issue_slot),
                pixel.eq(parts.walker.o.payload),
            ]
            m.d.comb += [part.issue.eq(issue), part.issue_slot.eq(issue_slot), part.pixel.eq(pixel)]

    def _count(self, m, parts, layer, running, begin, finish):
        """Counters, and the cause of each cycle without a step."""
        counters, steps, table, scheduler = parts.counters, parts.steps, parts.table, parts.scheduler
        # After the last base job, what is left are conditional jobs that are waiting or still to be decided on.
        all_issued = parts.walker.done & ~begin & scheduler.empty
        ending = all_issued & (table.idle | (layer.mode == GateMode.BASE))
        counting = Signal()
        m.d.sync += counting.eq(self.counting)
        m.d.comb += [
            self.step.eq(steps.issue),
            counters.clear.eq(Mux(self.counting, ~counting, self.start & ~self.busy)),
            # That the last logit was taken is told one cycle later.
            counters.running.eq((running & ~(finish & layer.logits)) | counting),
            counters.step.eq(steps.issue & ~layer.pool),
            counters.step_cond.eq(steps.issue_cond),
            counters.cause.eq(self.outside),
            counters.decided.eq(parts.comparator.decided),
            counters.fired.eq(parts.comparator.fired),
            self.counters.eq(counters.counts),
        ]
        with m.If(running):
            m.d.comb += counters.cause.eq(Mux(layer.pool, IdleCause.POOL, Mux(ending, IdleCause.END, scheduler.stall)))


class _Parts:
    """The components of a `Core`; all but the array are in `cleared`, by name."""

    def __init__(self, params):
        self.banks = ActivationBanks(params)
        self.parameters = ParameterMemory(params)
        self.ring = WeightRing(params)
        self.walker = PixelWalker(params)
        self.table = SliceTable(params)
        self.scheduler = Scheduler(params)
        self.steps = StepGenerator(params)
        self.comparator = SaliencyComparator(params)
        self.output = OutputStage(params)
        self.pool = MaxPool(params)
        self.counters = Counters()
        self.cleared = dict(vars(self))
        self.array = MacArray(params)
