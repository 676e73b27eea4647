"""Where the blocks and the clock's buffer of an ECP5 are: what a floorplan has to know of a device.

Multipliers and block RAMs stand in rows across the die, four of either kind to a column of blocks. The columns are the
same in all rows. Names are those of nextpnr's sites ("BELs").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["DEVICES", "PER_COLUMN", "UNROUTED", "Device", "Site", "Unrouted"]

#: Multipliers, and block RAMs, of a column of blocks in one of their rows.
PER_COLUMN = 4

#: Offset in X and number of each multiplier of a column, of each block RAM.
_MULTIPLIERS = ((0, 0), (1, 1), (4, 4), (5, 5))
_RAMS = ((0, 0), (2, 1), (4, 2), (6, 3))


@dataclass(frozen=True)
class Site:
    """A place for a block: its name, and its coordinates in tiles."""

    name: str
    x: int
    y: int


@dataclass(frozen=True)
class Device:
    """A device in its package.

    Attributes
    ----------
    title
        Its name for people, without the speed grade.
    arguments
        Which it is, for nextpnr.
    luts
        Its tables of four inputs; it has as many flip-flops.
    columns
        First X of each column of blocks.
    multiplier_rows, ram_rows
        Y of the rows.
    clock_buffer
        Buffer of the clock network, to which pin `clk` has a way of its own.
    pins
        Pins of the harness. Only from the clock's is there a way to the buffer that is nobody else's; from others it
        leads through the fabric, where some seeds find none.
    """

    title: str
    arguments: tuple[str, ...]
    luts: int
    columns: tuple[int, ...]
    multiplier_rows: tuple[int, ...]
    ram_rows: tuple[int, ...]
    clock_buffer: str
    pins: Mapping[str, str]

    @property
    def room(self) -> dict[str, int]:
        """What it has of each resource of a report."""
        multipliers, rams = (PER_COLUMN * len(self.columns) * len(r) for r in (self.multiplier_rows, self.ram_rows))
        return {"luts": self.luts, "ffs": self.luts, "dsps": multipliers, "brams": rams}

    def multipliers(self, row: int) -> list[Site]:
        """Return the multipliers of the row at Y `row`, from left to right."""
        return [
            Site(f"X{column + offset}/Y{row}/MULT18_{number}", column + offset, row)
            for column in self.columns
            for offset, number in _MULTIPLIERS
        ]

    def rams(self, row: int, column: int) -> list[Site]:
        """Return the block RAMs of one column, at X `column`, of the row at Y `row`."""
        return [Site(f"X{column + offset}/Y{row}/EBR{number}", column + offset, row) for offset, number in _RAMS]

    def ram_blocks(self) -> Iterator[tuple[int, int]]:
        """Yield row and column of every four block RAMs that stand together."""
        for row in self.ram_rows:
            for column in self.columns:
                yield row, column

    def constraints(self) -> str:
        """Return the text of the file that tells nextpnr the pins."""
        return "".join(f'LOCATE COMP "{name}" SITE "{pin}";\n' for name, pin in self.pins.items())


@dataclass(frozen=True)
class Unrouted:
    """A device for which there is no place and route here: what it has, to tell whether an engine would find room.

    Attributes
    ----------
    title
        Its name for people.
    cells
        Its logic cells, of a table of four inputs and a flip-flop each.
    multipliers, products
        Its multipliers, and the products of 8 x 8 bits that each of them takes.
    rams
        Its RAMs by kind: how many of how many bits.
    """

    title: str
    cells: int
    multipliers: int
    products: int
    rams: tuple[tuple[int, int], ...]

    @property
    def memory_bits(self) -> int:
        """Bits of all RAMs."""
        return sum(count * bits for count, bits in self.rams)


#: Devices that somebody may ask for. Half of an iCE40UP5K's multiplier is one of 8 x 8 bits; it has 30 RAMs of 4 kbit
#: with two ports, and four of 256 kbit with one.
UNROUTED: Mapping[str, Unrouted] = MappingProxyType(
    {
        "ice40up5k": Unrouted(
            title="iCE40UP5K", cells=5280, multipliers=8, products=2, rams=((30, 4 * 1024), (4, 256 * 1024))
        )
    }
)

DEVICES: Mapping[str, Device] = MappingProxyType(
    {
        "ecp5-85f": Device(
            title="ECP5-85F, CABGA756",
            arguments=("--85k", "--package", "CABGA756"),
            luts=83_640,
            columns=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114),
            multiplier_rows=(10, 34, 58),
            ram_rows=(22, 46, 70, 82),
            clock_buffer="X67/Y0/TDCC0",
            pins=MappingProxyType({"clk": "A17", "rst": "P28", "i": "N27", "o": "N30"}),
        ),
        "ecp5-45f": Device(
            title="ECP5-45F, CABGA381",
            arguments=("--45k", "--package", "CABGA381"),
            luts=43_848,
            columns=(4, 13, 22, 31, 42, 51, 60, 69, 78),
            multiplier_rows=(22, 46),
            ram_rows=(10, 34, 58),
            clock_buffer="X40/Y0/TDCC0",
            pins=MappingProxyType({"clk": "A10", "rst": "L19", "i": "J19", "o": "J20"}),
        ),
        "ecp5-25f": Device(
            title="ECP5-25F, CABGA381",
            arguments=("--25k", "--package", "CABGA381"),
            luts=24_288,
            columns=(4, 13, 22, 33, 42, 51, 60),
            multiplier_rows=(13,),
            ram_rows=(25, 37),
            clock_buffer="X31/Y0/TDCC0",
            pins=MappingProxyType({"clk": "A10", "rst": "L19", "i": "J19", "o": "J20"}),
        ),
    }
)
