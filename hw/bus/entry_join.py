"""Joins beats of the bus into entries of the weight ring."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.interface.axi import ReadBeat

__all__ = ["EntryJoin"]


class EntryJoin(wiring.Component):
    """Joins beats into entries, the lowest part first, without backpressure.

    A beat a cycle is taken, always. An entry stands for one cycle, two cycles after its last beat: an enable of all of
    its ``8 * in_par`` bytes, which a wait would need, has to reach too far. Each part has an enable of its own.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    i : stream of beats. Whether one is the last of a burst is of no account.
    o : stream of entries. There must be room for them.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(ReadBeat(params.axi_bits), always_ready=True)),
                "o": Out(stream.Signature(unsigned(params.entry_bits))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = self.params.axi_bits
        parts = self.params.entry_bits // bits
        beat = Signal(bits, reset_less=True)
        part = Signal(parts, init=1)  # of the next beat, each a bit
        place = Signal(parts)  # where `beat` belongs
        m.d.sync += [
            beat.eq(self.i.p.data),
            place.eq(Mux(self.i.valid, part, 0)),
            self.o.valid.eq(place[-1]),
        ]
        with m.If(self.i.valid):
            m.d.sync += part.eq(part.rotate_left(1))
        entry = Signal(self.params.entry_bits, reset_less=True)
        for n in range(parts):
            with m.If(place[n]):
                m.d.sync += entry.word_select(n, bits).eq(beat)
        m.d.comb += self.o.payload.eq(entry)
        return m
