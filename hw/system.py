"""The engine as it is put into a chip: the compute core with its units, behind an AXI master and a register port."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.bus.axi_lite import AxiLiteSlave
from hw.bus.axi_reader import AxiReader
from hw.bus.axi_writer import AxiWriter
from hw.core import Core
from hw.interface.axi import MAX_BURST, Axi4, AxiLite, prefixed
from hw.interface.instructions import INDEX_BITS, QUEUE_DEPTH, ErrorCode, PassRecord, Tokens
from hw.interface.layouts import CounterLayout, IdleCause, MaskRecord, OfmapWrite
from hw.interface.registers import COUNTERS
from hw.streams.queue import Queue
from hw.streams.stream_register import StreamRegister
from hw.units.compute_unit import ComputeUnit
from hw.units.control import Control
from hw.units.instruction_fetch import InstructionFetch
from hw.units.load_unit import LoadUnit
from hw.units.run_monitor import RunMonitor
from hw.units.store_unit import StoreUnit
from hw.units.tokens import TokenCounters
from hw.units.weight_unit import WeightUnit

__all__ = ["System"]


#: Bits of an instruction, such as that of a pass, from which on its queue is made of stream registers.
WIDE = 256

#: Clients of the bus that read, by number.
FETCH, WEIGHTS, LOAD = range(3)


class System(wiring.Component):
    """Runs programs from memory: whole networks, many images, from one start bit.

    Instructions are dispatched in order into four queues and executed by four units side by side: load (maps and
    parameters), weights, compute, store. Tokens keep what depends on each other in order.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    m_axi_... : AXI4 master, ``params.axi_bits`` wide. One ID, INCR bursts of up to 64 beats, 8 reads and 8 writes
        outstanding.
    s_axil_... : AXI4-Lite registers, see `hw.interface.registers`.
    interrupt : level.
    rst : synchronous reset, taken at least four cycles long. The clock domain need have none: registers that start from
        something are reset through registers near them, three cycles later.
    trace_o : granules written to the ofmap, valid only; if ``params.trace``. Likewise:
    mask_o : decisions, in job order.
    pass_o : a pass has had its first step.

    Raises
    ------
    :exc:`ValueError`
        When it is elaborated, if the weight ring is smaller than a burst.
    """

    def __init__(self, params):
        self.params = params
        members = {
            **prefixed("m_axi", Axi4(params.axi_bits)),
            **prefixed("s_axil", AxiLite().flip()),
            "interrupt": Out(1),
            "rst": In(1),
        }
        if params.trace:
            for name, layout in (
                ("trace_o", OfmapWrite(params)),
                ("mask_o", MaskRecord(params)),
                ("pass_o", PassRecord),
            ):
                members[name] = Out(wiring.Signature({"valid": Out(1), "payload": Out(layout)}))
        super().__init__(members)

    def elaborate(self, platform):
        params = self.params
        if params.ring_entries * params.entry_bits < MAX_BURST * params.axi_bits:
            raise ValueError(
                f"ring_entries must be at least {MAX_BURST * params.axi_bits // params.entry_bits}, for a "
                f"burst of {MAX_BURST} beats of {params.axi_bits} bits, not {params.ring_entries}"
            )
        m = Module()
        parts = _Parts(params)
        self._add_parts(m, parts)
        self._connect_ports(m, parts)
        self._connect_bus(m, parts)
        self._connect_units(m, parts)
        self._connect_core(m, parts)
        self._control_run(m, parts)
        self._monitor_run(m, parts)
        self._count(m, parts)
        if params.trace:
            self._trace(m, parts)
        return m

    def _add_parts(self, m, parts):
        """A reset register for each part: one signal would have to reach all of the chip."""
        reset = Signal()
        clear = Signal()
        m.d.sync += [reset.eq(self.rst), clear.eq(self.rst | parts.control.clear)]
        for by, group in ((clear, parts.cleared), (reset, parts.kept)):
            for name, part in group.items():
                part_clear = Signal(name=f"clear_{name}", attrs=KEEP)
                m.d.sync += part_clear.eq(by)
                m.submodules[name] = ResetInserter(part_clear)(part)
        m.submodules.core = parts.core
        m.submodules.monitor = parts.monitor
        m.d.comb += parts.core.clear.eq(clear)

    def _connect_ports(self, m, parts):
        """The ports, which are flat, and the channels of the components."""

        def connect(prefix, signature, channels):
            for name, member in signature.members.items():
                if name not in channels:
                    continue
                port, inner = getattr(self, f"{prefix}_{name}"), channels[name]
                m.d.comb += port.eq(inner) if member.flow == Out else inner.eq(port)

        axi, lite = Axi4(self.params.axi_bits), AxiLite().flip()
        for owner, channels in ((parts.reader, ("ar", "r")), (parts.writer, ("aw", "w", "b"))):
            connect("m_axi", axi, {name: getattr(owner.axi, name) for name in axi.members if name.startswith(channels)})
        connect("s_axil", lite, {name: getattr(parts.slave.axi, name) for name in lite.members})
        wiring.connect(m, parts.slave.registers, parts.control.registers)
        m.d.comb += self.interrupt.eq(parts.control.interrupt)

    def _connect_bus(self, m, parts):
        """The clients of the bus."""
        for client, unit in ((FETCH, parts.fetch), (WEIGHTS, parts.weights), (LOAD, parts.load)):
            wiring.connect(m, unit.burst, parts.reader.bursts[client])
            wiring.connect(m, parts.reader.data[client], unit.data)
        wiring.connect(m, parts.store.burst, parts.writer.burst)
        wiring.connect(m, parts.store.data, parts.writer.data)
        m.d.comb += parts.store.response.eq(parts.writer.responses)
        m.d.sync += [parts.reader.drain.eq(parts.control.drain), parts.writer.drain.eq(parts.control.drain)]

    def _connect_units(self, m, parts):
        """Instructions to the units, and tokens between them."""
        for name, unit in parts.units.items():
            last = getattr(parts.fetch, name)
            for stage in parts.queues[name]:
                wiring.connect(m, last, stage.i)
                last = stage.o
            wiring.connect(m, last, unit.i)
        for number, name in enumerate(Tokens.members):
            wiring.connect(m, parts.units[name].tokens, parts.tokens.units[number])

    def _connect_core(self, m, parts):
        """Data and passes of the core."""
        core, compute = parts.core, parts.compute
        for source, target in (
            (parts.load.load, core.load_i),
            (parts.load.param, core.param_i),
            (parts.weights.entry, core.weight_i),
            (parts.store.read, core.read_i),
            (core.read_o, parts.store.word),
            (core.logit_o, parts.store.logit),
        ):
            wiring.connect(m, source, target)
        m.d.comb += [
            parts.weights.free.eq(core.weight_free),
            core.mask_o.ready.eq(1),
            core.start.eq(compute.start),
            core.layer.eq(compute.layer),
            compute.busy_core.eq(core.busy),
            compute.done.eq(core.done),
            compute.step.eq(core.step),
            core.outside.eq(compute.outside),
        ]

    def _control_run(self, m, parts):
        """The start of a run, and what depends on whether one is under way."""
        control, fetch, compute = parts.control, parts.fetch, parts.compute
        m.d.comb += [
            fetch.start.eq(control.start),
            fetch.address.eq(control.program_address),
            fetch.length.eq(control.program_length),
            fetch.store_base.eq(control.store_base),
            fetch.store_end.eq(control.store_end),
            compute.dispatched.eq(fetch.dispatched),
            # After an error no pass is started: its counters would take the place of those of the failed one.
            compute.enable.eq(control.running),
        ]
        m.d.sync += [
            control.bus_idle.eq(parts.reader.idle & parts.writer.idle),
            parts.core.counting.eq(control.running),
        ]

    def _monitor_run(self, m, parts):
        """What becomes of a run. The first error stops it."""
        monitor, reader, writer, fetch = parts.monitor, parts.reader, parts.writer, parts.fetch
        load, weights, compute, store = parts.load, parts.weights, parts.compute, parts.store
        for unit, port in zip((store, weights, load, compute), monitor.units, strict=True):
            wiring.connect(m, unit.progress, port)
        from_reader, from_writer, from_tokens, from_fetch = monitor.failures

        def near(index, name):
            """A register here of an index that stands for longer than an error takes to be told."""
            register = Signal(INDEX_BITS, name=name)
            m.d.sync += register.eq(index)
            return register

        reading = Array(  # by client
            near(unit, name)
            for unit, name in (
                (fetch.reading, "reading_fetch"),
                (weights.progress.index, "reading_weights"),
                (load.progress.index, "reading_load"),
            )
        )
        for failure, valid, code, index in (
            (
                from_reader,
                reader.error,
                Mux(
                    reader.error_last,
                    ErrorCode.READ_LAST,
                    Mux(reader.error_decode, ErrorCode.READ_DECODE, ErrorCode.READ_SLAVE),
                ),
                reading[reader.error_client],
            ),
            (
                from_writer,
                writer.error,
                Mux(writer.error_decode, ErrorCode.WRITE_DECODE, ErrorCode.WRITE_SLAVE),
                near(store.progress.index, "writing_store"),
            ),
            (from_tokens, parts.tokens.overflow, ErrorCode.TOKENS, fetch.index),
        ):
            m.d.comb += [failure.valid.eq(valid), failure.code.eq(code), failure.index.eq(index)]
        wiring.connect(m, fetch.failure, from_fetch)
        wiring.connect(m, monitor.status, parts.control.status)
        m.d.comb += [monitor.dispatched.eq(fetch.dispatched), monitor.index.eq(fetch.index)]

    def _count(self, m, parts):
        """Bytes by kind; the other counters are the core's."""
        control, reader, writer, core = parts.control, parts.reader, parts.writer, parts.core
        beats = {
            "weights_read": reader.beats[WEIGHTS],
            "parameters_read": reader.beats[LOAD] & parts.load.parameters,
            "maps_read": reader.beats[LOAD] & ~parts.load.parameters,
            "instructions_read": reader.beats[FETCH],
            "maps_written": writer.beat & ~parts.store.logits,
            "logits_written": writer.beat & parts.store.logits,
        }
        counters = dict(zip((name for name, _ in COUNTERS), control.counters, strict=True))
        shift = (self.params.axi_bytes - 1).bit_length()
        for name, strobe in beats.items():
            count = Signal(40, name=f"{name}_beats")
            event = Signal(name=f"{name}_beat")
            begins = Signal(name=f"{name}_begins", attrs=KEEP)
            m.d.sync += [event.eq(strobe), begins.eq(control.start)]
            with m.If(begins):
                m.d.sync += count.eq(0)
            with m.Elif(event):
                m.d.sync += count.eq(count + 1)
            m.d.comb += counters[name].eq(count << shift)
        for name in CounterLayout.members:
            if name != "idle":
                m.d.comb += counters[name].eq(core.counters[name])
        for cause in IdleCause:
            m.d.comb += counters[f"idle_{cause.name.lower()}"].eq(core.counters.idle[cause.value])

    def _trace(self, m, parts):
        """What simulations watch."""
        core, compute = parts.core, parts.compute
        m.d.comb += [
            self.trace_o.valid.eq(core.trace_o.valid),
            self.trace_o.payload.eq(core.trace_o.payload),
            self.mask_o.valid.eq(core.mask_o.valid),
            self.mask_o.payload.eq(core.mask_o.payload),
            self.pass_o.valid.eq(compute.first_step & parts.control.running),
            self.pass_o.payload.index.eq(compute.progress.index),
            self.pass_o.payload.counters.eq(core.counters),
        ]


class _Parts:
    """The components of a `System`.

    Attributes
    ----------
    units
        The units by name, which is that of their instructions' stream and of their tokens.
    cleared
        What a soft reset clears, by name: fetch, tokens, the units and their queues, shallow enough to be LUTs.
    kept
        What it leaves alone, by name, as it is needed to get to a soft reset.
    """

    def __init__(self, params):
        self.core = Core(params)
        self.fetch = InstructionFetch(params)
        self.tokens = TokenCounters()
        self.load = LoadUnit(params)
        self.weights = WeightUnit(params)
        self.compute = ComputeUnit(params)
        self.store = StoreUnit(params)
        self.reader = AxiReader(params, 3)
        self.writer = AxiWriter(params)
        self.slave = AxiLiteSlave()
        self.control = Control(params)
        self.units = {"load": self.load, "weights": self.weights, "store": self.store, "compute": self.compute}
        self.monitor = RunMonitor(len(self.units), 4)
        self.queues = {name: self._queue(unit.i.payload.shape()) for name, unit in self.units.items()}
        queues = {
            f"{name}_queue_{number}": stage
            for name, stages in self.queues.items()
            for number, stage in enumerate(stages)
        }
        self.cleared = {"fetch": self.fetch, "tokens": self.tokens, **self.units, **queues}
        self.kept = {"reader": self.reader, "writer": self.writer, "slave": self.slave, "control": self.control}

    @staticmethod
    def _queue(shape):
        """Stages of a queue of `QUEUE_DEPTH` instructions: registers, as an address would have to reach all bits."""
        if Shape.cast(shape).width > WIDE:
            return [StreamRegister(shape) for _ in range(QUEUE_DEPTH // 2)]
        return [Queue(shape, QUEUE_DEPTH, buffered=True)]
