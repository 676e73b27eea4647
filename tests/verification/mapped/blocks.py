"""Multiplier and block RAM in slow Python, from what the vendor's guides say, bit by bit."""

from dataclasses import dataclass, field, replace

#: Bits of a byte.
BYTE = 9


@dataclass
class Multiplier:
    """A multiplier with some of its registers: of a, of b, of the product."""

    registers: tuple
    held_a: int = 0
    held_b: int = 0
    held_product: int = 0

    def step(self, a, b, signed_a, signed_b, enable, reset):
        """Return the product before a clock edge, then go on to after it."""
        a -= (signed_a and a >> 17) << 18
        b -= (signed_b and b >> 17) << 18
        product = (self.held_a if "a" in self.registers else a) * (self.held_b if "b" in self.registers else b)
        seen = self.held_product if "p" in self.registers else product
        if reset:
            self.held_a = self.held_b = self.held_product = 0
        elif enable:
            self.held_a, self.held_b, self.held_product = a, b, product
        return seen % 2**36


@dataclass(frozen=True)
class Port:
    """What a port does in a cycle."""

    enable: int
    write: int
    address: int
    data: int
    register: int


@dataclass
class Ram:
    """A block RAM; a bit that cannot be known is None."""

    widths: tuple
    registered: tuple
    read_before_write: tuple
    initial: dict = field(default_factory=dict)

    def __post_init__(self):
        self.bits = {(byte, n): 0 for byte in range(2048) for n in range(BYTE)} | self.initial
        self.latches = [[0] * width for width in self.widths]
        self.outputs = [[0] * width for width in self.widths]

    def places(self, port, address):
        """Return the places of a word's bits, each a byte's number and a bit's, and which bits are written."""
        width = self.widths[port]
        if width < BYTE:
            first = address % 8 // width * width
            return [(address // 8, first + n) for n in range(width)], [True] * width
        count = width // BYTE
        byte = address // 8 // count * count
        enables = [count == 1 or bool(address >> n & 1) for n in range(count)]
        return [(byte + n // BYTE, n % BYTE) for n in range(width)], [enables[n // BYTE] for n in range(width)]

    def written(self, port, use):
        """Return the places that a port writes, with what it writes there."""
        if not (use.enable and use.write):
            return {}
        places, enabled = self.places(port, use.address)
        return {place: use.data >> n & 1 for n, (place, on) in enumerate(zip(places, enabled, strict=True)) if on}

    def step(self, uses):
        """Return the outputs of both ports before a clock edge, then go on to after it; `uses` are the two `Port`.

        Outputs are lists of bits, the lowest first. Words of 36 bits are written by port A and read by port B, which
        lend their halves of data and outputs to each other.
        """
        values = list(zip(self.latches, self.outputs, strict=True))
        if 36 in self.widths:
            uses = replace(uses[0], data=uses[0].data | uses[1].data << 18), uses[1]
            values = [[part[:18] for part in values[1]], [part[18:] for part in values[1]]]
        seen = [both[on] for both, on in zip(values, self.registered, strict=True)]
        written = [self.written(port, use) for port, use in enumerate(uses)]
        for port, use in enumerate(uses):
            if use.register:
                self.outputs[port] = self.latches[port]
        for port, use in enumerate(uses):
            if use.enable and (not use.write or self.read_before_write[port]):
                places, _ = self.places(port, use.address)
                other = written[1 - port]
                self.latches[port] = [None if place in other else self.bits[place] for place in places]
        for changes in written:
            self.bits |= changes
        return seen


def initial_bits(rows):
    """Return the bits that INITVAL parameters give, by place; `rows` are their values by number."""
    return {
        (2 * (16 * row + word) + n // BYTE, n % BYTE): value >> 20 * word + n & 1
        for row, value in rows.items()
        for word in range(16)
        for n in range(2 * BYTE)
    }
