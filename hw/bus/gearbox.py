"""Changes the width of a stream of words."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.streams.stream_register import StreamRegister

__all__ = ["Gearbox"]


class Gearbox(wiring.Component):
    """Joins words into wider ones or cuts them into narrower ones, the lowest part first.

    One word a cycle on the narrower side, if the other side keeps up. Joining takes two cycles, cutting one. A word
    with ``last`` ends a wider word early, whose missing parts are not defined and take a cycle each; of a word that is
    cut, the last part has ``last``.

    Parameters
    ----------
    in_bits, out_bits : :class:`int`
        Widths. One is the other times a power of two.

    Members
    -------
    i : stream of words in.
    o : stream of words out.

    Raises
    ------
    :exc:`ValueError`
        If the ratio is not a power of two.
    """

    def __init__(self, in_bits, out_bits):
        wide, narrow = max(in_bits, out_bits), min(in_bits, out_bits)
        if narrow < 1 or wide % narrow or (wide // narrow) & (wide // narrow - 1):
            raise ValueError(f"widths must have a ratio that is a power of two, not {in_bits} and {out_bits}")
        self.in_bits = in_bits
        self.out_bits = out_bits
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"data": in_bits, "last": 1}))),
                "o": Out(stream.Signature(data.StructLayout({"data": out_bits, "last": 1}))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self.out_bits >= self.in_bits:
            self._join(m, self.out_bits // self.in_bits)
        else:
            self._cut(m, self.in_bits // self.out_bits)
        return m

    def _join(self, m, parts):
        # A shift register behind a register of its own: neither the choice of a part's place nor the word's source has
        # to reach all of a wide word. After an early last part it goes on shifting until that is in place.
        m.submodules.given = given = StreamRegister(self.i.payload.shape())
        wiring.connect(m, wiring.flipped(self.i), given.i)
        part = Signal(range(max(2, parts)))
        word = Signal(self.out_bits, reset_less=True)
        closing = Signal()
        shift = Signal()
        end = Signal()
        m.d.comb += [
            given.o.ready.eq(shift & ~closing),
            self.o.p.data.eq(word),
            shift.eq((given.o.valid | closing) & (~self.o.valid | self.o.ready)),
            end.eq(part == parts - 1),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(shift):
            m.d.sync += [
                word.eq(Cat(word, given.o.p.data)[self.in_bits :]),
                self.o.valid.eq(end),
                part.eq(Mux(end, 0, part + 1)),
                closing.eq(~end & (closing | given.o.p.last)),
            ]
        with m.If(shift & ~closing):
            m.d.sync += self.o.p.last.eq(given.o.p.last)

    def _cut(self, m, parts):
        left = Signal(range(parts))  # parts behind the one on offer
        last = Signal()
        word = Signal(self.out_bits, reset_less=True)
        rest = Signal(self.in_bits - self.out_bits, reset_less=True)
        fresh = Signal(init=1)  # nothing is behind the part on offer: the next one is of a new word
        move = Signal()  # without regard to whether there is a word, which would have to reach all of it
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move & fresh),
            self.o.p.last.eq(last & (left == 0)),
            self.o.p.data.eq(word),
        ]
        with m.If(move):
            m.d.sync += [
                Cat(word, rest).eq(Mux(fresh, self.i.p.data, rest)),
                left.eq(Mux(fresh, parts - 1, left - 1)),
                fresh.eq(Mux(fresh, ~self.i.valid, left == 1)),
                self.o.valid.eq(~fresh | self.i.valid),
            ]
            with m.If(fresh):
                m.d.sync += last.eq(self.i.p.last)
