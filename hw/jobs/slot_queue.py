"""A queue of psum slots."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SlotQueue"]


class SlotQueue(wiring.Component):
    """First-in first-out queue of slot numbers. It holds every slot at once, so it is never full.

    A slot put in a cycle can leave in the next one. ``o`` follows the stream rules; one slot a cycle in and out.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    put, slot : adds a slot, which must not be in the queue.
    o : stream of slots.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "put": In(1),
                "slot": In(params.slot_bits),
                "o": Out(stream.Signature(params.slot_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        m.submodules.slots = slots = memory.Memory(shape=params.slot_bits, depth=1 << params.slot_bits, init=[])
        write = slots.write_port()
        read = slots.read_port(domain="comb")

        # One bit more than the slots' numbers: equal counts mean empty, and full cannot look like it.
        put_count = Signal(params.slot_bits + 1)
        got_count = Signal(params.slot_bits + 1)
        m.d.comb += [
            write.en.eq(self.put),
            write.addr.eq(put_count[: params.slot_bits]),
            write.data.eq(self.slot),
            read.addr.eq(got_count[: params.slot_bits]),
            self.o.payload.eq(read.data),
            self.o.valid.eq(put_count != got_count),
        ]
        m.d.sync += [
            put_count.eq(put_count + self.put),
            got_count.eq(got_count + (self.o.valid & self.o.ready)),
        ]
        return m
