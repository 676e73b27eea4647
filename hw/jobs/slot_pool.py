"""The psum slots that are free."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SlotPool"]


class SlotPool(wiring.Component):
    """Offers a free psum slot, and takes slots back in any order.

    After reset all slots are free, and the first is offered one cycle later. A slot is offered at most every other
    cycle, which is as often as base jobs are chosen.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    o : stream of free slots.
    release, slot : gives a slot back.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "o": Out(stream.Signature(params.slot_bits)),
                "release": In(1),
                "slot": In(params.slot_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        free = Signal(self.params.psum_slots, init=-1)
        lowest = Signal(self.params.slot_bits)
        take = Signal()
        for slot in reversed(range(self.params.psum_slots)):
            with m.If(free[slot]):
                m.d.comb += lowest.eq(slot)
        m.d.comb += take.eq(free.any() & ~self.o.valid)
        m.d.sync += free.eq((free | (self.release << self.slot)) & ~(take << lowest))
        with m.If(take):
            m.d.sync += [self.o.payload.eq(lowest), self.o.valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m
