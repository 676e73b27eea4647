"""The other side of ``m_axi`` for the tests of reader and writer: memories that stall at random and check the rules."""

import random
from types import SimpleNamespace

from amaranth.hdl import Cat

from hw.interface.axi import MAX_BURST, PAGE_BYTES
from tests.hw.helpers import monitor

#: Bursts that the engine may have under way.
OUTSTANDING = 8

_PAYLOADS = {
    "aw": ("addr", "len", "size", "burst", "id"),
    "ar": ("addr", "len", "size", "burst", "id"),
    "w": ("data", "strb", "last"),
    "b": ("id", "resp"),
    "r": ("id", "data", "resp", "last"),
}
_LITE_PAYLOADS = {
    "aw": ("addr", "prot"),
    "ar": ("addr", "prot"),
    "w": ("data", "strb"),
    "b": ("resp",),
    "r": ("data", "resp"),
}


def channel(axi, prefix):
    """Return a channel in the form of a stream: valid, ready, and all the rest as the payload."""
    payloads = _PAYLOADS if hasattr(axi, "awlen") else _LITE_PAYLOADS
    return SimpleNamespace(
        valid=getattr(axi, prefix + "valid"),
        ready=getattr(axi, prefix + "ready"),
        payload=Cat(getattr(axi, prefix + name) for name in payloads[prefix]),
    )


class Slave:
    """Common to the memories of reads and of writes: stalls, addresses and what is allowed of them.

    Parameters
    ----------
    axi, params
        The master's side of the bus, parameters of the engine.
    latency : :class:`int`
        Cycles from a burst's acceptance (a write's last beat) to its first beat (its response).
    gap : :class:`float`
        Probability of a stall, on every channel and in every cycle.
    shy : :class:`bool`
        Whether ready comes only after valid, which AXI allows a slave.
    broken : dict
        Response other than OKAY by address of a beat (reads) or of a burst (writes).
    """

    def __init__(self, axi, params, *, latency=40, gap=0.0, shy=False, broken=None, seed=0):
        self.axi, self.params = axi, params
        self.latency, self.gap, self.shy, self.seed = latency, gap, shy, seed
        self.broken = broken or {}
        self.bursts = []  # accepted: (address, beats)
        self.under_way = 0  # accepted and not finished
        self.most = 0  # of these at a time
        self.open = True  # whether data and responses are sent
        self.cycle = 0

    def _rng(self, offset):
        return random.Random(self.seed * 16 + offset)

    async def accept(self, ctx, prefix, rng):
        """Wait for a transfer on a channel that the master drives; return its payload's fields as integers."""
        axi = self.axi
        names = _PAYLOADS[prefix]
        valid, ready = getattr(axi, prefix + "valid"), getattr(axi, prefix + "ready")
        offered = False
        while True:
            ctx.set(ready, rng.random() >= self.gap and (offered or not self.shy))
            _, _, offered, taken, *values = await ctx.tick().sample(
                valid, ready, *(getattr(axi, prefix + name) for name in names)
            )
            if offered and taken:
                ctx.set(ready, 0)
                return dict(zip(names, map(int, values), strict=True))

    def check_address(self, fields):
        """Note a burst that was accepted; assert that it is allowed, and that there are not too many."""
        address, beats, size = fields["addr"], fields["len"] + 1, self.params.axi_bytes
        text = f"{beats} beats at {address:#x} (seed {self.seed})"
        assert 1 <= beats <= MAX_BURST, text
        assert address % size == 0, text
        assert address // PAGE_BYTES == (address + beats * size - 1) // PAGE_BYTES, text
        assert (1 << fields["size"], fields["burst"], fields["id"]) == (size, 1, 0), text
        self.bursts.append((address, beats))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        assert self.under_way <= OUTSTANDING, text

    async def clock(self, ctx):
        """Count the cycles."""
        while True:
            await ctx.tick()
            self.cycle += 1

    def nothing_new(self, port, drain):
        """Return a background process that asserts that no address comes up in drain; one that was up may stay.

        That of a burst that was chosen in the last cycle before may come up in the second one.
        """

        async def process(ctx):
            drained = before = held = 0
            async for _, _, valid, ready, draining in ctx.tick().sample(port.valid, port.ready, drain):
                assert not (valid and drained and before and not held), f"an address in drain (seed {self.seed})"
                drained, before, held = draining, drained, valid and not ready

        return process


class ReadMemory(Slave):
    """Answers bursts in order; what is read is `value_at` its address.

    Parameters
    ----------
    flipped : set
        Addresses of beats whose ``rlast`` is the opposite of what it must be.
    """

    def __init__(self, *args, flipped=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.flipped = set(flipped)
        self.due = []  # beats: (cycle from which on, address, last)
        self.times = []  # cycles in which a beat passed

    def value_at(self, address):
        """Return the beat at an address: different everywhere, all bits in use."""
        return random.Random(address).getrandbits(self.params.axi_bits)

    async def addresses(self, ctx):
        rng = self._rng(1)
        while True:
            fields = await self.accept(ctx, "ar", rng)
            self.check_address(fields)
            for n in range(fields["len"] + 1):
                self.due.append(
                    (self.cycle - 1 + self.latency, fields["addr"] + n * self.params.axi_bytes, int(n == fields["len"]))
                )

    async def beats(self, ctx):
        axi, rng = self.axi, self._rng(2)
        while True:
            while not (self.open and self.due and self.due[0][0] <= self.cycle) or rng.random() < self.gap:
                await ctx.tick()
            _, address, last = self.due.pop(0)
            ctx.set(axi.rdata, self.value_at(address))
            ctx.set(axi.rresp, self.broken.get(address, 0))
            ctx.set(axi.rlast, last ^ (address in self.flipped))
            ctx.set(axi.rvalid, 1)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(axi.rready)
            ctx.set(axi.rvalid, 0)
            ctx.set(axi.rresp, 3)  # means nothing, nor does the next line
            ctx.set(axi.rlast, 1)
            self.times.append(self.cycle)
            self.under_way -= last

    def processes(self, drain):
        """Background processes; `drain` is the reader's input."""
        port = channel(self.axi, "ar")
        return [self.clock, self.addresses, self.beats, self.nothing_new(port, drain), monitor(port, self.seed)]


class WriteMemory(Slave):
    """Takes addresses and beats, whichever come first, and answers each burst.

    Parameters
    ----------
    order : :class:`str`
        ``"any"``, or ``"address"``: no beat is taken before its address, or ``"data"``: no address before its last
        beat.
    """

    def __init__(self, *args, order="any", **kwargs):
        super().__init__(*args, **kwargs)
        self.order = order
        self.beats = []  # that passed: (data, strobe, last)
        self.times = []  # cycles in which they did
        self.complete = 0  # bursts whose last beat passed
        self.due = []  # responses: cycle from which on

    async def addresses(self, ctx):
        rng = self._rng(3)
        while True:
            while self.order == "data" and self.complete <= len(self.bursts):
                await ctx.tick()
            self.check_address(await self.accept(ctx, "aw", rng))

    async def data(self, ctx):
        rng = self._rng(4)
        while True:
            while self.order == "address" and len(self.bursts) <= self.complete:
                await ctx.tick()
            fields = await self.accept(ctx, "w", rng)
            self.beats.append((fields["data"], fields["strb"], fields["last"]))
            self.times.append(self.cycle)
            self.complete += fields["last"]
            self.due += [self.cycle - 1 + self.latency] * fields["last"]

    async def responses(self, ctx):
        axi, rng = self.axi, self._rng(5)
        answered = 0
        while True:
            while (
                not (self.open and self.due and self.due[0] <= self.cycle)
                or len(self.bursts) <= answered
                or rng.random() < self.gap
            ):
                await ctx.tick()
            self.due.pop(0)
            ctx.set(axi.bresp, self.broken.get(self.bursts[answered][0], 0))
            ctx.set(axi.bvalid, 1)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(axi.bready)
            ctx.set(axi.bvalid, 0)
            ctx.set(axi.bresp, 3)  # means nothing
            answered += 1
            self.under_way -= 1

    def contents(self):
        """Assert that each burst has as many beats as it said; return the bytes written, by address."""
        written, beats = {}, iter(self.beats)
        for address, length in self.bursts:
            for n in range(length):
                data, strobe, last = next(beats)
                assert last == (n == length - 1), f"beat {n} of {length} at {address:#x} (seed {self.seed})"
                for byte in range(self.params.axi_bytes):
                    if strobe >> byte & 1:
                        written[address + n * self.params.axi_bytes + byte] = data >> 8 * byte & 0xFF
        assert next(beats, None) is None, f"a beat of no burst (seed {self.seed})"
        return written

    def processes(self, drain):
        """Background processes; `drain` is the writer's input."""
        port = channel(self.axi, "aw")
        return [
            self.clock,
            self.addresses,
            self.data,
            self.responses,
            self.nothing_new(port, drain),
            monitor(port, self.seed),
            monitor(channel(self.axi, "w"), self.seed),
        ]
