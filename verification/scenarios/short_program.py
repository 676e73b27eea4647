"""The beginning of a network's program, up to the first map that is stored: short enough to be run many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gen.layer.places import MapPlace
from gen.network.instruction import pack_instructions
from hw.interface.instructions import BODY_OFFSET, Header, Opcode, Transfer
from hw.params import HwParams
from sim.plan.network import Plan

__all__ = ["ShortProgram", "beginning", "field_of", "with_field"]


@dataclass(frozen=True, kw_only=True)
class ShortProgram:
    """A program that loads, computes and stores one layer, and its memory.

    Attributes
    ----------
    instructions
        Of 64 bytes each.
    regions
        What it reads: (address, bytes), without the program.
    program
        Address of the program.
    result
        Address of the map that it stores.
    expected
        That map.
    reads
        By number of a loading instruction the first address that it reads, and the bytes.
    params
        The engine.
    steps
        MAC steps of its layer.
    base
        First byte of all this.
    """

    instructions: tuple[bytes, ...]
    regions: tuple[tuple[int, bytes], ...]
    program: int
    result: int
    expected: bytes
    reads: Mapping[int, tuple[int, int]]
    params: HwParams
    steps: int
    base: int = 0

    def memory(self) -> bytes:
        """Return what memory holds before a run, from `base` on."""
        written = ((self.program, b"".join(self.instructions)), *self.regions)
        ends = [address + len(data) for address, data in written] + [self.result + len(self.expected)]
        content = bytearray(-(-(max(ends) - self.base) // 4096) * 4096)
        for address, data in written:
            content[address - self.base : address - self.base + len(data)] = data
        return bytes(content)

    def moved(self, base: int) -> ShortProgram:
        """Return the same, `base` bytes higher in memory."""
        moved = [
            text if Opcode(text[0] & 15) is Opcode.COMPUTE else with_field(text, "address", base, add=True)
            for text in self.instructions
        ]
        return replace(
            self,
            instructions=tuple(moved),
            regions=tuple((address + base, data) for address, data in self.regions),
            base=self.base + base,
            program=self.program + base,
            result=self.result + base,
            reads={number: (address + base, size) for number, (address, size) in self.reads.items()},
        )


def _place(name: str) -> tuple[int, int]:
    """Return offset and width of a field of the header, as ``take.load``, or of a transfer."""
    path = name.split(".")
    in_header = path[0] in Header.members
    shape: Any = Header if in_header else Transfer
    offset, width = 0 if in_header else BODY_OFFSET, 0
    for part in path:
        field = shape[part]
        offset, width, shape = offset + field.offset, field.width, field.shape
    return offset, width


def field_of(text: bytes, name: str) -> int:
    """Return the value of a field of an instruction; see `with_field`."""
    offset, width = _place(name)
    return int.from_bytes(text, "little") >> offset & (1 << width) - 1


def with_field(text: bytes, name: str, value: int, *, add: bool = False) -> bytes:
    """Return an instruction with another value of a field of the header, as ``take.load``, or of a transfer.

    Parameters
    ----------
    text
        The instruction.
    name
        Of the field.
    value
        Of it.
    add
        Whether it is added to what is there.

    Raises
    ------
    ValueError
        If there is no room for it.
    """
    offset, width = _place(name)
    old = field_of(text, name)
    new = old + value if add else value
    if not 0 <= new < 1 << width:
        raise ValueError(f"{name} has {width} bits, not room for {new}")
    word = int.from_bytes(text, "little") ^ (old ^ new) << offset
    return word.to_bytes(len(text), "little")


def beginning(planned: Plan) -> ShortProgram:
    """Return the beginning of a network's program, whose first layer's map must be stored and wait for no other."""
    program, params = planned.program, planned.program.params
    opcodes = [instruction.opcode for instruction in program.instructions]
    last = opcodes.index(Opcode.STORE_MAP)
    texts = [row.tobytes() for row in pack_instructions(program.instructions[: last + 1], params)]
    for number, opcode in enumerate(opcodes[: last + 1]):  # no tokens for instructions that are not there any more
        for unit, unwanted in (
            ("load", True),
            ("compute", opcode is Opcode.STORE_MAP),
            ("store", opcode is not Opcode.COMPUTE),
        ):
            if unwanted:
                texts[number] = with_field(texts[number], f"give.{unit}", 0)
    [name] = [name for name, region in program.stored_maps.items() if name == program.network.layers[0].name]
    region, tap = program.stored_maps[name], planned.golden.taps[name].ofmap.numpy()
    images, channels, rows, cols = tap.shape
    words = channels // params.in_par
    place = MapPlace(bank=0, base=0, image_step=rows * cols * words, images=images, rows=rows, cols=cols, words=words)
    expected = place.to_words(tap, params.in_par).tobytes()
    content = [*planned.job.network.regions, (planned.job.network.images[0], planned.job.images)]
    reads: dict[int, tuple[int, int]] = {}
    used: list[tuple[int, bytes]] = []
    for number, instruction in enumerate(program.instructions[:last]):
        if instruction.opcode is Opcode.COMPUTE:
            continue
        start = int(instruction.fields["address"])
        [(address, data)] = [(a, d) for a, d in content if a <= start < a + len(d)]
        used.append((address, data))
        reads[number] = (start, address + len(data) - start)
    return ShortProgram(
        instructions=tuple(texts),
        regions=tuple(used),
        program=program.image["program"].address,
        result=region.address,
        expected=expected[: region.size],
        reads=reads,
        params=params,
        steps=planned.counts[name].base,
    )
