"""Changes the width of a stream of words."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2


__all__ = ["Gearbox"]


class Gearbox(wiring.Component):
    """Joins words into wider ones or cuts them into narrower ones, the lowest part first.

    One word a cycle on the narrower side, if the other side keeps up. The output is registered. A word with
    ``last`` ends a wider word early, whose missing parts are not defined; of a word that is cut, the last part
    has ``last``.

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
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"data": in_bits, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({"data": out_bits, "last": 1}))),
        })

    def elaborate(self, platform):
        m = Module()
        if self.out_bits >= self.in_bits:
            self._join(m, self.out_bits // self.in_bits)
        else:
            self._cut(m, self.in_bits // self.out_bits)
        return m

    def _join(self, m, parts):
        part = Signal(range(max(2, parts)))
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            end = self.i.p.last | (part == parts - 1)
            m.d.sync += [
                self.o.p.data.word_select(part[:exact_log2(parts)], self.in_bits).eq(self.i.p.data),
                self.o.p.last.eq(self.i.p.last),
                self.o.valid.eq(end),
                part.eq(Mux(end, 0, part + 1)),
            ]

    def _cut(self, m, parts):
        left = Signal(range(parts)) # parts behind the one on offer
        last = Signal()
        rest = Signal(self.in_bits - self.out_bits)
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | (self.o.ready & (left == 0))),
            self.o.p.last.eq(last & (left == 0)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                Cat(self.o.p.data, rest).eq(self.i.p.data),
                last.eq(self.i.p.last),
                left.eq(parts - 1),
                self.o.valid.eq(1),
            ]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [
                Cat(self.o.p.data, rest).eq(rest),
                left.eq(left - 1),
                self.o.valid.eq(left != 0),
            ]
