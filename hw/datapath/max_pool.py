"""Max-pooling: the greatest code of each channel over the taps of a window."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.interface.layouts import LayerRegisters, OfmapWrite
from hw.jobs.payloads import BasePixel, PoolJob, StepControl
from hw.params import LANES
from hw.streams.queue import Queue

__all__ = ["MaxPool"]


class MaxPool(wiring.Component):
    """Computes a pooling pass: for each word of each pixel a job, whose steps read a tap in every cycle.

    :class:`StepGenerator` runs the jobs, so taps outside the map are not read. ``in_par`` channels are compared in a
    cycle; the word that is complete is written while the next one is read, ``rq_lanes`` codes a cycle, and never held
    up. A word takes as many cycles as it has taps. So that it is written before the next one is complete,
    ``params.pool_pace`` - 4 cycles pass before the first tap of a word, or, if its window is cut down to a single row
    or column, ``params.pool_pace`` - 1. There are four cycles at least from a pixel's last word to the next pixel's
    first one, three between two words of a pixel, and six where :class:`PixelWalker` goes on to the next slice.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    layer : layer registers.
    pixel : stream of pixels, of which ``slice`` counts words, or slices of more than one word.
    job : stream of jobs.
    control : of the word that comes in the next cycle; of a pass that does not pool, too.
    word : ``in_par`` codes that were read.
    write_en, write : granule for the ofmap.
    complete : the last granule of all words is being written whose jobs were taken.
    """

    #: Words that may be read before the first of them is complete.
    DEPTH = 4

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "layer": In(LayerRegisters(params)),
                "pixel": In(stream.Signature(BasePixel(params))),
                "job": Out(stream.Signature(PoolJob(params))),
                "control": In(StepControl(params)),
                "word": In(params.chunk_bits),
                "write_en": Out(1),
                "write": Out(OfmapWrite(params)),
                "complete": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.places = places = Queue(unsigned(self.params.bank_addr_bits), self.DEPTH)
        self._offer(m, places.i)
        self._compare(m, places.o)
        return m

    def _offer(self, m, places):
        """Makes jobs of pixels, and notes where their words go."""
        layer, pixel, job = self.layer, self.pixel, self.job
        words = max(1, LANES // self.params.in_par)  # of a slice
        number = Signal(range(words)) if words > 1 else Const(0, 0)  # of the word in its slice
        final = number == words - 1 if words > 1 else Const(1)

        prepared = Signal()
        taken = Signal()  # a job, in the cycle before
        rows, cols = Signal.like(job.p.tap_rows), Signal.like(job.p.tap_cols)
        single_row = Signal()
        single_col = Signal()
        flags = pixel.p.flags
        rows_here = layer.tap_row_last - flags.top - flags.bottom
        cols_here = layer.tap_col_last - flags.left - flags.right
        with m.If(~prepared):
            m.d.sync += [
                prepared.eq(pixel.valid & ~taken),
                rows.eq(rows_here),
                cols.eq(cols_here),
                single_row.eq(rows_here == 0),
                single_col.eq(cols_here == 0),
            ]

        # Cycles since the last job has its last step, or more than one has to wait. What they are enough for is
        # registered beside them.
        pace = self.params.pool_pace
        since = Signal(range(pace))
        soon = Signal() if pace > 4 else Const(1)  # for a word of several rows and columns
        rested = Signal()  # for any word
        take = Signal()
        m.d.comb += [
            job.valid.eq(prepared & (rested | (~single_row & ~single_col & soon))),
            job.p.tap_addr.eq(pixel.p.tap_addr),
            job.p.tap_rows.eq(rows),
            job.p.tap_cols.eq(cols),
            job.p.single.chunk.eq(1),
            job.p.single.row.eq(single_row),
            job.p.single.col.eq(single_col),
            job.p.chunk.eq(Cat(number, pixel.p.slice)),
            take.eq(job.valid & job.ready),
        ]
        m.d.sync += taken.eq(take)
        with m.If(take):
            m.d.sync += [since.eq(0), rested.eq(0), prepared.eq(0)]
            if pace > 4:
                m.d.sync += soon.eq(0)
        with m.Elif(job.ready & ~rested):
            m.d.sync += [since.eq(since + 1), rested.eq(since == pace - 2)]
            if pace > 4:
                m.d.sync += soon.eq(since >= pace - 5)

        # The pixel stands one cycle longer.
        m.d.comb += [
            places.payload.eq(pixel.p.ofmap_addr + number),
            places.valid.eq(taken),
            pixel.ready.eq(taken & final),
        ]
        if words > 1:
            m.d.sync += number.eq(number + taken)

    def _compare(self, m, places):
        """Keeps the greatest codes, and writes those of a complete word."""
        params = self.params
        part = 8 * params.rq_lanes
        first = Signal()
        last = Signal()
        is_signed = Signal()
        m.d.sync += [
            first.eq(self.control.valid & self.control.first & self.layer.pool),
            last.eq(self.control.valid & self.control.last & self.layer.pool),
            is_signed.eq(self.layer.signed_output),
        ]
        greatest = Signal(params.chunk_bits, reset_less=True)
        for n in range(params.in_par):
            code, kept = self.word.word_select(n, 8), greatest.word_select(n, 8)
            # Where the highest bits differ, they decide; else the difference has a sign in eight bits. Of a comparison
            # Yosys makes a carry chain and as many LUTs again.
            difference = Signal(8, name=f"difference_{n}")
            greater = Signal(name=f"greater_{n}")
            m.d.comb += [
                difference.eq(kept - code),
                greater.eq(Mux(code[7] == kept[7], difference[7], code[7] ^ is_signed)),
            ]
            # A word's steps follow each other; what comes behind the last one is nothing to the next word.
            with m.If(first | greater):
                m.d.sync += kept.eq(code)

        # The word stands while it is written; each granule has its own enable.
        complete = Signal(params.chunk_bits, reset_less=True)
        ended = Signal()
        m.d.sync += ended.eq(last)
        for sub in range(params.word_subs):
            store = Signal(name=f"store_{sub}", attrs=KEEP)
            m.d.sync += store.eq(last)
            with m.If(store):
                m.d.sync += complete.word_select(sub, part).eq(greatest.word_select(sub, part))

        turn = Signal(range(params.word_subs))
        addr = Signal(params.bank_addr_bits, reset_less=True)
        final = turn == params.word_subs - 1
        m.d.comb += places.ready.eq(ended)
        with m.If(ended):
            m.d.sync += [self.write_en.eq(1), turn.eq(0), addr.eq(places.payload)]
        with m.Else():
            m.d.sync += turn.eq(turn + 1)
            with m.If(final):
                m.d.sync += self.write_en.eq(0)
        granule = complete.word_select(turn, part)
        m.d.comb += [
            self.write.addr.eq(addr),
            self.write.sub.eq(turn),
            self.complete.eq(self.write_en & final & ~places.valid),
        ]
        m.d.comb += self.write.codes.as_value().eq(granule)
