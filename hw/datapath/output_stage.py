"""From complete psums to the ofmap: requantisation with the residual, or logits as they are."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.datapath.activation_banks import ActivationBanks
from hw.datapath.parameter_memory import ParameterMemory
from hw.datapath.requantise import Requantise
from hw.interface.layouts import LayerRegisters, LogitRecord, OfmapWrite, ParameterWord
from hw.jobs.payloads import BasePixel, JobEnd
from hw.jobs.slot_queue import SlotQueue
from hw.params import LANES
from hw.streams.queue import Queue

__all__ = ["OutputStage"]


class OutputStage(wiring.Component):
    """Takes complete pixels in the order in which they complete and writes their 8 codes, ``rq_lanes`` a cycle.

    A psum slot is free again once it was read; a pixel of residual is read before its codes are written, so ofmap
    and residual may share their place. Writes are never held up. Logits leave by a stream; while nobody takes them,
    psums stay in their slots.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    layer : layer registers.
    issue, issue_slot, pixel : a base job is issued, into which slot and for which pixel.
    end : job ends; those that do not fire are complete.
    psum_read, psum_slot, psums : read of the MAC array's psum slots.
    release, release_slot : a slot is being read.
    param_addr, scales : read of :class:`ParameterMemory`.
    residual_addr, residual : read of the residual's bank.
    write_en, write : a granule of the ofmap.
    logit : stream of logits.
    complete : the last code of a pixel is being written, or its last logit was taken one cycle before.
    blocked : logits wait for their consumer.
    """

    #: Cycles from a granule's turn to the operands of its requantisation.
    OPERAND_LATENCY = ActivationBanks.READ_LATENCY + 2 - Requantise.RESIDUAL_LATENCY

    #: Pixels whose logits may wait for their consumer.
    LOGIT_PIXELS = 4

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "layer": In(LayerRegisters(params)),
                "issue": In(1),
                "issue_slot": In(params.slot_bits),
                "pixel": In(BasePixel(params)),
                "end": In(JobEnd(params)),
                "psum_read": Out(1),
                "psum_slot": Out(params.slot_bits),
                "psums": In(data.ArrayLayout(signed(32), LANES)),
                "release": Out(1),
                "release_slot": Out(params.slot_bits),
                "param_addr": Out(params.param_addr_bits),
                "scales": In(ParameterWord(params).members["scales"]),
                "residual_addr": Out(params.bank_addr_bits),
                "residual": In(params.chunk_bits),
                "write_en": Out(1),
                "write": Out(OfmapWrite(params)),
                "logit": Out(stream.Signature(LogitRecord(params))),
                "complete": Out(1),
                "blocked": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        place = data.StructLayout(
            {name: BasePixel(params).members[name] for name in ("ofmap_addr", "residual_addr", "image", "slice")}
        )

        m.submodules.queue = queue = SlotQueue(params)
        m.submodules.places = places = memory.Memory(shape=place, depth=params.psum_slots, init=[])
        place_write = places.write_port()
        place_read = places.read_port(domain="comb")
        m.d.comb += [
            queue.put.eq(self.end.valid & ~self.end.fire),
            queue.slot.eq(self.end.slot),
            place_write.en.eq(self.issue),
            place_write.addr.eq(self.issue_slot),
        ]
        m.d.comb += [place_write.data[name].eq(self.pixel[name]) for name in place.members]

        # A slot is read when the one before has had its turns. From here on nothing waits.
        phases = params.rq_phases
        turns = Signal(range(phases))  # left, of the slot read last
        read = Signal()
        m.d.comb += [
            queue.o.ready.eq((turns == 0) & ~self.blocked),
            read.eq(queue.o.valid & queue.o.ready),
            place_read.addr.eq(self.psum_slot),
        ]
        with m.If(read):
            m.d.sync += turns.eq(phases - 1)
        with m.Elif(turns != 0):
            m.d.sync += turns.eq(turns - 1)

        # The psums come three cycles later and stand for the slot's turns, a granule of channels each.
        s2_read = Signal()
        s2_place = Signal(place, reset_less=True)
        here = Signal(place, reset_less=True)
        active = Signal()
        phase = Signal(max(1, (phases - 1).bit_length()))
        last_phase = phase == phases - 1
        # Whoever gets the slot next writes into it much later.
        m.d.comb += [self.release.eq(read), self.release_slot.eq(queue.o.payload)]
        m.d.sync += [
            self.psum_read.eq(read),
            self.psum_slot.eq(queue.o.payload),
            s2_read.eq(self.psum_read),
            s2_place.eq(place_read.data),
            phase.eq(phase + 1),
        ]
        with m.If(s2_read):
            m.d.sync += [active.eq(1), phase.eq(0), here.eq(s2_place)]
        with m.Elif(last_phase):
            m.d.sync += active.eq(0)

        self._requantise(m, read, active, phase, last_phase, here)
        return m

    def _requantise(self, m, read, active, phase, last_phase, here):
        """Feeds the requantiser's lanes with the granule whose turn it is, and writes what comes out."""
        layer, params = self.layer, self.params
        phase_bits = (params.rq_phases - 1).bit_length()

        def delay(value, cycles, name, **options):
            for n in range(cycles):
                stage = Signal.like(value, name=f"{name}_{n + 1}", **options)
                m.d.sync += stage.eq(value)
                value = stage
            return value

        # Granule of the pixel, counted over all slices; several words of a slice if a word holds less than 8 channels.
        granule = Cat(phase[:phase_bits], here.slice)
        word = (phase >> params.sub_bits) if params.in_par < LANES else 0
        tag = Signal(
            data.StructLayout(
                {
                    "last": 1,
                    "addr": params.bank_addr_bits,
                    "sub": params.sub_bits,
                    "phase": phase_bits,
                    "slice": params.slice_bits,
                    "image": params.image_bits,
                }
            )
        )
        m.d.comb += [
            tag.last.eq(last_phase),
            tag.addr.eq(here.ofmap_addr + word),
            tag.sub.eq(granule[: params.sub_bits]),
            tag.phase.eq(phase),
            tag.slice.eq(here.slice),
            tag.image.eq(here.image),
            self.residual_addr.eq(here.residual_addr + word),
        ]
        m.d.comb += self.param_addr.eq(
            delay(Cat(granule, layer.param_half), self.OPERAND_LATENCY - ParameterMemory.SCALES_LATENCY, "param_addr")
        )
        psum_lanes = data.ArrayLayout(signed(32), params.rq_lanes)
        granule_psums = Signal(psum_lanes)
        m.d.comb += granule_psums.eq(self.psums.as_value().word_select(phase[:phase_bits], 32 * params.rq_lanes))
        operands = delay(granule_psums, self.OPERAND_LATENCY, "operands", reset_less=True)

        # The residual's granule of its word.
        residual_sub = delay(tag.sub, ActivationBanks.READ_LATENCY - 1, "residual_sub")
        residual = Signal(data.ArrayLayout(unsigned(8), params.rq_lanes), reset_less=True)
        for n in range(params.rq_lanes):
            sub = Signal(params.sub_bits, name=f"residual_sub_of_{n}", attrs=KEEP, reset_less=True)
            code = self.residual.word_select(sub, 8 * params.rq_lanes).word_select(n, 8)
            m.d.sync += [
                sub.eq(residual_sub),
                residual[n].eq(Mux(layer.residual_enable, code, 0)),
            ]

        totals = Signal(psum_lanes)
        codes = Signal(data.ArrayLayout(unsigned(8), params.rq_lanes))
        for n in range(params.rq_lanes):
            m.submodules[f"requantise_{n}"] = requantise = Requantise()
            # The layer's constants have a register in each lane.
            constants = Signal(
                data.StructLayout(
                    {
                        name: layer[name].shape()
                        for name in ("residual_signed", "residual_scale", "residual_shift", "shift", "signed_output")
                    }
                ),
                name=f"constants_{n}",
                attrs=KEEP,
                reset_less=True,
            )
            m.d.sync += [constants[name].eq(layer[name]) for name in constants.shape().members]
            # A register that the residual's multiplier can take in.
            extended = Signal(signed(9), name=f"extended_{n}", reset_less=True)
            m.d.sync += extended.eq(Cat(residual[n], constants.residual_signed & residual[n][7]))
            m.d.comb += [
                requantise.psum.eq(operands[n]),
                requantise.multiplier.eq(self.scales[n].multiplier),
                requantise.offset.eq(self.scales[n].offset),
                requantise.residual.eq(extended),
                requantise.residual_scale.eq(constants.residual_scale),
                requantise.residual_shift.eq(constants.residual_shift),
                requantise.shift.eq(constants.shift),
                requantise.signed_output.eq(constants.signed_output),
                totals[n].eq(requantise.total),
                codes[n].eq(requantise.code),
            ]

        until_total = self.OPERAND_LATENCY + Requantise.TOTAL_LATENCY
        until_code = Requantise.LATENCY - Requantise.TOTAL_LATENCY
        total_valid = delay(active, until_total, "valid")
        code_valid = delay(total_valid, until_code, "code_valid")
        total_tag = delay(tag, until_total, "tag", reset_less=True)
        code_tag = delay(total_tag, until_code, "code_tag", reset_less=True)
        emits = Signal(attrs=KEEP)  # logits
        m.d.sync += emits.eq(layer.logits)
        m.d.comb += [
            self.write_en.eq(code_valid & ~emits),
            self.write.addr.eq(code_tag.addr),
            self.write.sub.eq(code_tag.sub),
            self.write.codes.eq(codes),
        ]
        logits_complete = self._emit_logits(m, emits, total_valid, total_tag, totals, read)
        m.d.comb += self.complete.eq((self.write_en & code_tag.last) | logits_complete)

    def _emit_logits(self, m, emits, valid, tag, totals, read):
        """Returns the strobe that a pixel's last logits were taken, one cycle later."""
        params = self.params
        depth = self.LOGIT_PIXELS * params.rq_phases
        m.submodules.logits = logits = Queue(LogitRecord(params), depth, buffered=True)
        wiring.connect(m, logits.o, wiring.flipped(self.logit))
        room = Signal(range(depth + 1), init=depth)
        m.d.comb += [
            logits.i.p.logits.eq(totals),
            logits.i.p.phase.eq(tag.phase),
            logits.i.p.slice.eq(tag.slice),
            logits.i.p.image.eq(tag.image),
            logits.i.valid.eq(valid & emits),
        ]
        # A slot may be read in the cycle in which the one before takes its place.
        m.d.sync += self.blocked.eq(emits & (room < 2 * params.rq_phases))
        # Who takes them is far away.
        taken = Signal()
        complete = Signal()
        m.d.sync += [
            taken.eq(self.logit.valid & self.logit.ready),
            complete.eq(self.logit.valid & self.logit.ready & (self.logit.p.phase == params.rq_phases - 1)),
            room.eq(room - Mux(read & emits, params.rq_phases, 0) + taken),
        ]
        return complete
