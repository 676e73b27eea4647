"""The engine as it is put into a chip: the compute core with its units, behind an AXI master and a register port."""

from amaranth import *
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.bus.axi_lite import AxiLiteSlave
from hw.bus.axi_reader import AxiReader
from hw.bus.axi_writer import AxiWriter
from hw.core import Core
from hw.interface.axi import MAX_BURST, Axi4, AxiLite, prefixed
from hw.interface.instructions import QUEUE_DEPTH, ErrorCode, LayerInstruction, PassRecord, TransferInstruction
from hw.interface.layouts import IdleCause, MaskRecord, OfmapWrite
from hw.interface.registers import COUNTERS
from hw.units.compute_unit import ComputeUnit
from hw.units.control import Control
from hw.units.instruction_fetch import InstructionFetch
from hw.units.load_unit import LoadUnit
from hw.units.store_unit import StoreUnit
from hw.units.tokens import TokenCounters
from hw.units.weight_unit import WeightUnit

__all__ = ["System"]


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
        m.submodules.core = core = Core(params)
        fetch = InstructionFetch(params)
        tokens = TokenCounters()
        load, weights, compute, store = LoadUnit(params), WeightUnit(params), ComputeUnit(params), StoreUnit(params)
        reader, writer, slave, control = AxiReader(params, 3), AxiWriter(params), AxiLiteSlave(), Control(params)

        # A register for each part: one signal would have to reach all of the chip. A soft reset leaves alone what is
        # needed to get to it.
        reset = Signal()
        clear = Signal()
        m.d.sync += [reset.eq(self.rst), clear.eq(self.rst | control.clear)]
        m.d.comb += core.clear.eq(clear)

        def cleared(name, part, by=clear):
            part_clear = Signal(name=f"clear_{name}", attrs=KEEP)
            m.d.sync += part_clear.eq(by)
            m.submodules[name] = ResetInserter(part_clear)(part)

        for name, part in (
            ("fetch", fetch),
            ("tokens", tokens),
            ("load", load),
            ("weights", weights),
            ("compute", compute),
            ("store", store),
        ):
            cleared(name, part)
        for name, part in (("reader", reader), ("writer", writer), ("slave", slave), ("control", control)):
            cleared(name, part, by=reset)

        # Queues, shallow enough to be LUTs.
        for name, port, unit in (
            ("load", fetch.load, load),
            ("weights", fetch.weights, weights),
            ("store", fetch.store, store),
            ("compute", fetch.compute, compute),
        ):
            shape = LayerInstruction(params) if unit is compute else TransferInstruction
            queue = fifo.SyncFIFO(width=shape.size, depth=QUEUE_DEPTH)
            cleared(f"{name}_queue", queue)
            m.d.comb += [
                queue.w_data.eq(port.payload),
                queue.w_en.eq(port.valid),
                port.ready.eq(queue.w_rdy),
                unit.i.payload.eq(queue.r_data),
                unit.i.valid.eq(queue.r_rdy),
                queue.r_en.eq(unit.i.ready),
            ]
        for number, unit in enumerate((load, compute, store)):
            m.d.comb += [
                tokens.want[number].eq(unit.want),
                # After an error no pass is started: its counters would take the place of those of the failed one.
                unit.ready.eq(tokens.ready[number] & control.running if unit is compute else tokens.ready[number]),
                tokens.take[number].eq(unit.take),
                tokens.give[number].eq(unit.give),
            ]
        m.d.comb += compute.missing.eq(tokens.missing[1])

        self._connect_bus(m, reader, writer, slave, control)
        for client, unit in ((FETCH, fetch), (WEIGHTS, weights), (LOAD, load)):
            wiring.connect(m, unit.burst, reader.bursts[client])
            wiring.connect(m, reader.data[client], unit.data)
        wiring.connect(m, store.burst, writer.burst)
        wiring.connect(m, store.data, writer.data)
        m.d.comb += store.response.eq(writer.responses)

        # The core.
        wiring.connect(m, load.load, core.load_i)
        wiring.connect(m, load.param, core.param_i)
        wiring.connect(m, weights.entry, core.weight_i)
        wiring.connect(m, store.read, core.read_i)
        wiring.connect(m, core.read_o, store.word)
        wiring.connect(m, core.logit_o, store.logit)
        m.d.comb += [
            weights.free.eq(core.weight_free),
            core.mask_o.ready.eq(1),
            core.start.eq(compute.start),
            core.layer.eq(compute.layer),
            compute.busy_core.eq(core.busy),
            compute.done.eq(core.done),
            compute.step.eq(core.step),
            core.outside.eq(compute.outside),
        ]

        # A run.
        m.d.comb += [
            fetch.start.eq(control.start),
            fetch.address.eq(control.program_address),
            fetch.length.eq(control.program_length),
            fetch.store_base.eq(control.store_base),
            fetch.store_end.eq(control.store_end),
            compute.dispatched.eq(fetch.dispatched),
            control.bus_idle.eq(reader.idle & writer.idle),
            self.interrupt.eq(control.interrupt),
        ]
        units = (load, weights, compute, store)
        busy = Signal(len(units))
        dispatched = Signal()
        m.d.sync += [
            reader.drain.eq(control.drain),
            writer.drain.eq(control.drain),
            core.counting.eq(control.running),
            busy.eq(Cat(unit.busy for unit in units)),
            dispatched.eq(fetch.dispatched),
            control.idle.eq(dispatched & ~busy.any()),
            control.complete.eq(Cat(unit.complete for unit in units).any()),
        ]
        self._collect_errors(m, control, reader, writer, fetch, tokens, load, weights, compute, store)
        self._count(m, control, reader, writer, core, load, store)

        if params.trace:
            m.d.comb += [
                self.trace_o.valid.eq(core.trace_o.valid),
                self.trace_o.payload.eq(core.trace_o.payload),
                self.mask_o.valid.eq(core.mask_o.valid),
                self.mask_o.payload.eq(core.mask_o.payload),
                self.pass_o.valid.eq(compute.first_step & control.running),
                self.pass_o.payload.index.eq(compute.index),
                self.pass_o.payload.counters.eq(core.counters),
            ]
        return m

    def _connect_bus(self, m, reader, writer, slave, control):
        """Connects the ports, which are flat, with the channels of the components."""

        def connect(prefix, signature, channels):
            for name, member in signature.members.items():
                if name not in channels:
                    continue
                port, inner = getattr(self, f"{prefix}_{name}"), channels[name]
                m.d.comb += port.eq(inner) if member.flow == Out else inner.eq(port)

        axi = Axi4(self.params.axi_bits)
        connect("m_axi", axi, {name: getattr(reader.axi, name) for name in axi.members if name.startswith(("ar", "r"))})
        connect(
            "m_axi", axi, {name: getattr(writer.axi, name) for name in axi.members if name.startswith(("aw", "w", "b"))}
        )
        lite = AxiLite().flip()
        connect("s_axil", lite, {name: getattr(slave.axi, name) for name in lite.members})
        m.d.comb += [
            control.write.eq(slave.write),
            control.write_addr.eq(slave.write_addr),
            control.write_data.eq(slave.write_data),
            slave.write_hit.eq(control.write_hit),
            control.read_addr.eq(slave.read_addr),
            slave.read_data.eq(control.read_data),
            slave.read_hit.eq(control.read_hit),
        ]

    def _collect_errors(self, m, control, reader, writer, fetch, tokens, load, weights, compute, store):
        """The first error of a run stops it; of several in one cycle, the last of these wins."""
        readers = Array((fetch.reading, weights.index, load.index))
        m.d.sync += control.failed.eq(0)
        with m.If(reader.error):
            m.d.sync += [
                control.failed.eq(1),
                control.code.eq(Mux(reader.error_decode, ErrorCode.READ_DECODE, ErrorCode.READ_SLAVE)),
                control.index.eq(readers[reader.error_client]),
            ]
        with m.If(writer.error):
            m.d.sync += [
                control.failed.eq(1),
                control.code.eq(Mux(writer.error_decode, ErrorCode.WRITE_DECODE, ErrorCode.WRITE_SLAVE)),
                control.index.eq(store.index),
            ]
        with m.If(tokens.overflow):
            m.d.sync += [control.failed.eq(1), control.code.eq(ErrorCode.TOKENS), control.index.eq(fetch.index)]
        with m.If(fetch.error):
            m.d.sync += [control.failed.eq(1), control.code.eq(fetch.code), control.index.eq(fetch.index)]
        stuck = fetch.index
        for unit in (store, weights, load, compute):
            stuck = Mux(unit.busy, unit.index, stuck)
        m.d.sync += control.stuck_index.eq(stuck)

    def _count(self, m, control, reader, writer, core, load, store):
        """Bytes by kind; the other counters are the core's."""
        beats = {
            "weights_read": reader.beats[WEIGHTS],
            "parameters_read": reader.beats[LOAD] & load.parameters,
            "maps_read": reader.beats[LOAD] & ~load.parameters,
            "instructions_read": reader.beats[FETCH],
            "maps_written": writer.beat & ~store.logits,
            "logits_written": writer.beat & store.logits,
        }
        counters = dict(zip((name for name, _ in COUNTERS), control.counters, strict=True))
        shift = (self.params.axi_bytes - 1).bit_length()
        for name, strobe in beats.items():
            count = Signal(40, name=f"{name}_beats")
            event = Signal(name=f"{name}_beat")
            m.d.sync += event.eq(strobe)
            with m.If(control.start):
                m.d.sync += count.eq(0)
            with m.Elif(event):
                m.d.sync += count.eq(count + 1)
            m.d.comb += counters[name].eq(count << shift)
        for name in ("cycles", "base_steps", "cond_steps", "decisions", "fired"):
            m.d.comb += counters[name].eq(core.counters[name])
        for cause in IdleCause:
            m.d.comb += counters[f"idle_{cause.name.lower()}"].eq(core.counters.idle[cause.value])
