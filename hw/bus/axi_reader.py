"""Read side of the AXI master: bursts of several clients share the bus."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.interface.axi import MAX_BURST, OUTSTANDING, Axi4, Burst, ReadBeat, Response
from hw.streams.queue import Queue

__all__ = ["AxiReader"]


class AxiReader(wiring.Component):
    """Asks for bursts in turn, client by client, and hands each client its beats in order.

    All bursts have one ID, so the data come in the order of the addresses. Up to ``OUTSTANDING`` bursts are under
    way. An address is on the bus one cycle after its burst was taken, a burst is taken every other cycle, and a beat is
    offered to its client three cycles after it came: each client has a short queue of its own, so that its ``ready``
    reaches nothing else. A client that does not take its beats holds up the others: it must not ask for what it has no
    room for.

    Where a burst ends is counted, not taken from ``rlast``: one that is wrong is an error, and shifts no beats from a
    burst, or from a client, to another. Beats that nobody has asked for are thrown away.

    Parameters
    ----------
    params : :class:`HwParams`
    clients : :class:`int`
        Number of clients.

    Members
    -------
    axi : the bus; of its members the read channels are used.
    bursts, data : by client: stream of bursts, and of the beats read. ``last`` marks the last beat of a burst that is
        the last of its transfer.
    beats : by client: strobe, a beat that was read for it is handed to it, or thrown away in drain.
    error, error_decode, error_last, error_client : strobe, one cycle after a beat was taken: it had an error; DECERR,
        not SLVERR; neither, but ``rlast`` at a beat that is not the burst's last, or not at it; whose it was.
    drain : nothing new is asked for, and what comes is thrown away. An offer to a client is withdrawn in the next
        cycle.
    idle : nothing is under way.
    """

    #: Beats that may wait for their client.
    DEPTH = 4

    #: Beats that may wait at each client.
    OFFERS = 2

    def __init__(self, params, clients):
        self.params = params
        self.clients = clients
        super().__init__(
            {
                "axi": Out(Axi4(params.axi_bits)),
                "bursts": In(stream.Signature(Burst)).array(clients),
                "data": Out(stream.Signature(ReadBeat(params.axi_bits))).array(clients),
                "beats": Out(1).array(clients),
                "error": Out(1),
                "error_decode": Out(1),
                "error_last": Out(1),
                "error_client": Out(range(clients)),
                "drain": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params, axi = self.params, self.axi
        whose = data.StructLayout({"client": range(self.clients), "last": 1, "beats": range(MAX_BURST)})
        arrived = data.StructLayout({"data": params.axi_bits, "resp": 2, "last": 1})
        m.submodules.order = order = Queue(whose, OUTSTANDING)
        m.submodules.arrivals = arrivals = Queue(arrived, self.DEPTH, buffered=True)

        # Addresses: the next client after the last one that has a burst.
        turn = Signal(range(self.clients))
        m.d.comb += [
            axi.arsize.eq((params.axi_bytes - 1).bit_length()),
            axi.arburst.eq(1),  # INCR
        ]
        with m.If(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        with m.If(~axi.arvalid & ~self.drain & order.i.ready):
            with m.Switch(turn):
                for first in range(self.clients):
                    with m.Case(first):
                        ranked = [(first + n) % self.clients for n in range(self.clients)]
                        for rank, client in enumerate(ranked):
                            burst = self.bursts[client]
                            with m.If(burst.valid) if rank == 0 else m.Elif(burst.valid):
                                m.d.comb += [
                                    burst.ready.eq(1),
                                    order.i.valid.eq(1),
                                    order.i.p.client.eq(client),
                                    order.i.p.last.eq(burst.p.last),
                                    order.i.p.beats.eq(burst.p.length - 1),
                                ]
                                m.d.sync += [
                                    axi.arvalid.eq(1),
                                    axi.araddr.eq(burst.p.address),
                                    axi.arlen.eq(burst.p.length - 1),
                                    turn.eq((client + 1) % self.clients),
                                ]

        # Data. What arrives waits in a few registers, so that no client's ready reaches the bus.
        beat, owner = arrivals.o.payload, order.o.payload
        gives = Signal(self.clients)
        taken = Signal()
        position = Signal(range(MAX_BURST))  # in its burst, of the beat at hand
        ends = Signal()
        failed = Signal()  # its response is an error
        m.d.comb += [
            ends.eq(position == owner.beats),
            failed.eq(beat.resp >= Response["SLVERR"]),
            arrivals.i.p.data.eq(axi.rdata),
            arrivals.i.p.resp.eq(axi.rresp),
            arrivals.i.p.last.eq(axi.rlast),
            arrivals.i.valid.eq(axi.rvalid),
            axi.rready.eq(arrivals.i.ready),
            arrivals.o.ready.eq(taken),
            order.o.ready.eq(taken & ends),
        ]
        for client, port in enumerate(self.data):
            offers = Queue(ReadBeat(params.axi_bits), self.OFFERS)
            m.submodules[f"offers_{client}"] = ResetInserter(self.drain)(offers)
            wiring.connect(m, offers.o, wiring.flipped(port))
            m.d.comb += [
                gives[client].eq(
                    arrivals.o.valid & order.o.valid & (owner.client == client) & offers.i.ready & ~self.drain
                ),
                self.beats[client].eq(taken & order.o.valid & (owner.client == client)),
                offers.i.valid.eq(gives[client]),
                offers.i.p.data.eq(beat.data),
                offers.i.p.last.eq(ends & owner.last),
            ]
        unasked = arrivals.o.valid & ~order.o.valid
        m.d.comb += taken.eq(Mux(self.drain, arrivals.o.valid, gives.any() | unasked))
        with m.If(taken & order.o.valid):
            m.d.sync += position.eq(Mux(ends, 0, position + 1))
        m.d.sync += [
            self.error.eq(taken & order.o.valid & (failed | (beat.last != ends))),
            self.error_decode.eq(beat.resp == Response["DECERR"]),
            self.error_last.eq(~failed),
            self.error_client.eq(owner.client),
        ]
        m.d.comb += self.idle.eq(~axi.arvalid & ~order.o.valid)
        return m
