"""Joins beats of the bus into wide words, without backpressure."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.interface.axi import ReadBeat

__all__ = ["PartJoin"]


class PartJoin(wiring.Component):
    """Joins beats into words, the lowest part first: entries of the weight ring, instructions, parameter records.

    A beat a cycle is taken, always. A word is told for one cycle, three cycles after its last beat, and stands until
    three cycles after the next beat: an enable of all of its bits, which a wait would need, has to reach too far. Each
    part has an enable of its own, and every :attr:`NEAR` bits have their own copy of the beat.

    Parameters
    ----------
    in_bits, out_bits : :class:`int`
        Widths of a beat and of a word, which is a whole number of beats.

    Members
    -------
    i : stream of beats.
    o : stream of words. There must be room for them. ``last`` is that of the word's last beat.
    """

    #: Bits of a word that are near enough to each other for one copy of a beat.
    NEAR = 256

    def __init__(self, in_bits, out_bits):
        if in_bits < 1 or out_bits < in_bits or out_bits % in_bits:
            raise ValueError(f"out_bits must be a multiple of in_bits ({in_bits}), not {out_bits}")
        self.in_bits = in_bits
        self.out_bits = out_bits
        super().__init__(
            {
                "i": In(stream.Signature(ReadBeat(in_bits), always_ready=True)),
                "o": Out(stream.Signature(data.StructLayout({"data": out_bits, "last": 1}))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits, parts = self.in_bits, self.out_bits // self.in_bits
        part = Signal(parts, init=1)  # of the beat that came, each a bit
        came = Signal(ReadBeat(bits), reset_less=True)
        arrives = Signal()
        place = Signal(parts)  # where the beat belongs that stands in the copies
        last = Signal(reset_less=True)
        m.d.sync += [
            came.eq(self.i.payload),
            arrives.eq(self.i.valid),
            place.eq(Mux(arrives, part, 0)),
            last.eq(came.last),
            self.o.valid.eq(place[-1]),
            self.o.p.last.eq(last),
        ]
        with m.If(arrives):
            m.d.sync += part.eq(part.rotate_left(1))
        word = Signal(self.out_bits, reset_less=True)
        near = max(1, self.NEAR // bits)  # parts that share a copy
        for start in range(0, parts, near):
            beat = Signal(bits, name=f"beat_{start}", attrs=KEEP, reset_less=True)
            m.d.sync += beat.eq(came.data)
            for n in range(start, min(start + near, parts)):
                with m.If(place[n]):
                    m.d.sync += word.word_select(n, bits).eq(beat)
        m.d.comb += self.o.p.data.eq(word)
        return m
