"""Write side of the weight ring: where the next entry goes, and whether there is room."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WeightRing"]


class WeightRing(wiring.Component):
    """Accepts ring entries in order of use and hands them to the lanes' memories.

    One entry a cycle; ``i.ready`` depends on registers alone. Entries are counted, not addressed: ``loaded`` is the
    running count of entries accepted, modulo ``2 ** ring_ptr_bits``. An entry accepted in a cycle can be read four
    cycles later, which every job does. ``free`` gives back the oldest entries; whoever frees them knows that no
    step still reads them. Entries of a conditional path that nobody wants may be freed before they come, less than
    ``ring_entries`` of them; they still have to be sent.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    i : stream of entries, ``8 * in_par`` bytes.
    free_en, free_entries : entries to give back.
    loaded : entries accepted since reset.
    write_en, write_addr, write_data : to the memories, which have registers of their own, as an entry is accepted.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(params.entry_bits))),
                "free_en": In(1),
                "free_entries": In(params.ring_addr_bits + 1),
                "loaded": Out(params.ring_ptr_bits),
                "write_en": Out(1),
                "write_addr": Out(params.ring_addr_bits),
                "write_data": Out(params.entry_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        room = Signal(range(2 * self.params.ring_entries), init=self.params.ring_entries)
        accept = Signal()
        m.d.comb += [
            self.i.ready.eq(room != 0),
            accept.eq(self.i.valid & self.i.ready),
            self.write_en.eq(accept),
            self.write_addr.eq(self.loaded),
            self.write_data.eq(self.i.payload),
        ]
        m.d.sync += [
            room.eq(room - accept + Mux(self.free_en, self.free_entries, 0)),
            self.loaded.eq(self.loaded + accept),
        ]
        return m
