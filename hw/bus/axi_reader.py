"""Read side of the AXI master: bursts of several clients share the bus."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.interface.axi import MAX_BURST, OUTSTANDING, Axi4, Burst, ReadBeat, Response
from hw.streams.queue import Queue
from hw.streams.stream_register import StreamRegister

__all__ = ["AxiReader"]


class AxiReader(wiring.Component):
    """Asks for bursts in turn, client by client, and hands each client its beats in order.

    All bursts have one ID, so the data come in the order of the addresses. Up to ``OUTSTANDING`` bursts are under
    way. A burst is chosen one cycle before it is taken, its address is on the bus one cycle after, one is taken every
    third cycle, and a beat is offered to its client three cycles after it came: of the three registers on its way each
    has a ready of its own, so that no client's reaches the bus. A client that does not take its beats holds up the
    others: it must not ask for what it has no room for.

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
    drain : nothing new is chosen, and what comes is thrown away. An offer to a client is withdrawn in the next cycle.
    idle : nothing is under way.
    """

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
        grant = Signal(self.clients)  # whose burst is taken in this cycle, a bit for each client
        ended = Signal()
        under_way = Signal(range(OUTSTANDING + 1))
        m.d.sync += under_way.eq(under_way + grant.any() - ended)
        m.d.comb += self.idle.eq((under_way == 0) & ~grant.any())

        whose = data.StructLayout({"client": self.clients, "last": 1, "beats": range(MAX_BURST)})
        m.submodules.order = order = Queue(whose, OUTSTANDING)
        self._ask(m, grant, under_way, order.i)
        self._hand_on(m, order.o, ended)
        return m

    def _ask(self, m, grant, under_way, order):
        """Puts up addresses: of the next client after the last one that has a burst."""
        axi = self.axi
        turn = Signal(range(self.clients))
        may = Signal(init=1)  # lags by a cycle, less than one burst behind the other
        chosen = Signal(Burst)
        m.d.comb += [
            axi.arsize.eq((self.params.axi_bytes - 1).bit_length()),
            axi.arburst.eq(1),  # INCR
            order.valid.eq(grant.any()),
            order.p.client.eq(grant),
            order.p.last.eq(chosen.last),
            order.p.beats.eq(chosen.length - 1),
        ]
        m.d.sync += [may.eq(under_way != OUTSTANDING), grant.eq(0)]
        for client, burst in enumerate(self.bursts):
            m.d.comb += burst.ready.eq(grant[client])
            with m.If(grant[client]):
                m.d.comb += chosen.eq(burst.payload)
        with m.If(grant.any()):
            m.d.sync += axi.arvalid.eq(1)
        with m.Elif(axi.arready):
            m.d.sync += axi.arvalid.eq(0)
        with m.If(~axi.arvalid):  # what it has before an address is up is of no account
            m.d.sync += [axi.araddr.eq(chosen.address), axi.arlen.eq(chosen.length - 1)]
        with m.If(~axi.arvalid & ~grant.any() & may & ~self.drain):
            with m.Switch(turn):
                for first in range(self.clients):
                    with m.Case(first):
                        ranked = [(first + n) % self.clients for n in range(self.clients)]
                        for rank, client in enumerate(ranked):
                            valid = self.bursts[client].valid
                            with m.If(valid) if rank == 0 else m.Elif(valid):
                                m.d.sync += [grant[client].eq(1), turn.eq((client + 1) % self.clients)]

    def _hand_on(self, m, order, ended):
        """Hands beats to those who asked for them; ``ended`` strobes with the last one of each burst."""
        params, axi = self.params, self.axi
        arrived = data.StructLayout({"data": params.axi_bits, "resp": 2, "last": 1})
        owned = data.StructLayout(
            {"data": params.axi_bits, "resp": 2, "client": self.clients, "last": 1, "ends": 1, "misplaced": 1}
        )
        m.submodules.arrivals = arrivals = StreamRegister(arrived)
        m.submodules.beats = beats = StreamRegister(owned)

        # The burst whose beats come, and how many are left of it. It stands here before its first beat can come.
        active = Signal()
        client = Signal(self.clients, reset_less=True)
        last = Signal(reset_less=True)
        left = Signal(range(MAX_BURST), reset_less=True)  # behind the one at hand
        ends = Signal()
        move = Signal()
        m.d.comb += [
            arrivals.i.p.data.eq(axi.rdata),
            arrivals.i.p.resp.eq(axi.rresp),
            arrivals.i.p.last.eq(axi.rlast),
            arrivals.i.valid.eq(axi.rvalid),
            axi.rready.eq(arrivals.i.ready),
            # Beats that nobody has asked for go nowhere.
            arrivals.o.ready.eq(Mux(active, beats.i.ready, ~order.valid)),
            beats.i.valid.eq(active & arrivals.o.valid),
            beats.i.p.data.eq(arrivals.o.p.data),
            beats.i.p.resp.eq(arrivals.o.p.resp),
            beats.i.p.client.eq(client),
            beats.i.p.last.eq(ends & last),
            beats.i.p.ends.eq(ends),
            beats.i.p.misplaced.eq(arrivals.o.p.last != ends),
            move.eq(active & arrivals.o.valid & beats.i.ready),
            order.ready.eq(~active | (move & ends)),
        ]
        with m.If(move):
            m.d.sync += [left.eq(left - 1), ends.eq(left == 1)]
        with m.If(order.ready):
            m.d.sync += [
                active.eq(order.valid),
                client.eq(order.p.client),
                last.eq(order.p.last),
                left.eq(order.p.beats),
                ends.eq(order.p.beats == 0),
            ]

        beat = beats.o.payload
        gives = Signal(self.clients)
        taken = Signal()
        for number, port in enumerate(self.data):
            offers = StreamRegister(ReadBeat(params.axi_bits))
            m.submodules[f"offers_{number}"] = ResetInserter(self.drain)(offers)
            wiring.connect(m, offers.o, wiring.flipped(port))
            m.d.comb += [
                gives[number].eq(beat.client[number] & offers.i.ready),
                self.beats[number].eq(taken & beat.client[number]),
                offers.i.valid.eq(beats.o.valid & beat.client[number]),  # none gets through while it is reset
                offers.i.p.data.eq(beat.data),
                offers.i.p.last.eq(beat.last),
            ]
        m.d.comb += [
            beats.o.ready.eq(gives.any() | self.drain),
            taken.eq(beats.o.valid & beats.o.ready),
            ended.eq(taken & beat.ends),
        ]
        failed = beat.resp >= Response["SLVERR"]
        m.d.sync += [
            self.error.eq(taken & (failed | beat.misplaced)),
            self.error_decode.eq(beat.resp == Response["DECERR"]),
            self.error_last.eq(~failed),
            self.error_client.eq(sum(Mux(beat.client[n], n, 0) for n in range(self.clients))),
        ]
