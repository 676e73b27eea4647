"""Gives every multiplier and block RAM of an engine its place on an ECP5, from what the architecture says of it.

The blocks stand in a few rows all over the die, and whoever places them one by one learns too late which belong
together. What is known beforehand: the lanes are a chain, a lane's multipliers are the leaves of one tree, its weights
go nowhere else, the same bits of the four banks meet at one multiplexer, and codes and psums pass the requantiser.

- The lanes take runs of neighbouring multipliers, and the chain is the shortest path over the die that begins beside
  the banks and comes back to its start.
- The requantiser takes what multipliers are left beside the banks.
- A lane's weights take the nearest block RAMs between the rows of multipliers.
- The parameters stand at the requantiser's edge of the banks' rows.
- The banks take the rows above, a granule of their words beside the next, the same bits of the four banks together.

Cells are found by the names that Yosys derives from the hierarchy.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cdgate.errors import UserError
from gen.fpga.devices import PER_COLUMN, Device, Site

__all__ = ["check_room", "fix_clock", "floorplan", "place"]

#: A run of multipliers for a lane: its sites, and the number of its row and of its place within the row.
_Run = tuple[list[Site], int, int]

#: Name of a part's cells, behind the names of those that it is in: the multipliers of a lane and of the requantiser,
#: the block RAMs of weights, banks and parameters.
_PARTS = {
    "MULT18X18D": (("lane", r"array\.lane_(\d+)\."), ("requantise", r"output\.requantise_(\d+)\.")),
    "DP16KD": (
        ("weights", r"array\.lane_(\d+)\.weights"),
        ("bank", r"banks\.bank_(\d+)_(\d+)\b"),
        ("parameters", r"parameters\.()"),
    ),
}


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which numbers in names are sorted as such."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", name)]


def _parts(cells: Mapping[str, Any]) -> dict[str, dict[tuple[int, ...], list[str]]]:
    """Return the blocks by part and, in it, by the numbers of lane, or bank and granule; each list in order."""
    found: dict[str, dict[tuple[int, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(cells, key=_natural):
        kind = "DP16KD" if cells[name]["type"] == "PDPW16KD" else cells[name]["type"]
        for part, pattern in _PARTS.get(kind, ()):
            match = re.search(rf"(?:^|\.){pattern}", name)
            if match:
                found[part][tuple(int(number) for number in match.groups() if number)].append(name)
                break
    return found


def _centre(sites: Sequence[Site]) -> tuple[float, float]:
    return sum(site.x for site in sites) / len(sites), sum(site.y for site in sites) / len(sites)


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _chains(runs: Mapping[tuple[int, int], _Run], count: int) -> Iterator[list[tuple[int, int]]]:
    """Yield every path of `count` neighbouring runs, as their places, that starts in the top row."""
    top = max(row for row, _ in runs)

    def grow(path: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        if len(path) == count:
            yield path
            return
        row, place = path[-1]
        for step in ((row, place - 1), (row - 1, place), (row + 1, place), (row, place + 1)):
            if step in runs and step not in path:
                yield from grow([*path, step])

    for start in runs:
        if start[0] == top:
            yield from grow([start])


def _place_lanes(device: Device, lanes: Sequence[Sequence[str]], others: int) -> list[list[Site]]:
    """Return the sites of each lane's multipliers, such that `others` more find a place together."""
    width = len(lanes[0])
    runs: dict[tuple[int, int], _Run] = {}
    for number, row in enumerate(device.multiplier_rows):
        sites = device.multipliers(row)
        for place in range(len(sites) // width):
            runs[number, place] = sites[place * width : (place + 1) * width], number, place
    banks = (sum(device.columns) / len(device.columns), float(max(device.ram_rows)))
    centres = {key: _centre(run[0]) for key, run in runs.items()}

    def length(path: Sequence[tuple[int, int]]) -> float:
        chain = sum(_distance(centres[a], centres[b]) for a, b in zip(path, path[1:], strict=False))
        left = _free(device, [site for key in path for site in runs[key][0]])[:others]
        spread = _distance((left[0].x, left[0].y), (left[-1].x, left[-1].y)) if left else 0
        return chain + _distance(banks, centres[path[0]]) + _distance(centres[path[-1]], centres[path[0]]) + 2 * spread

    best = min(_chains(runs, len(lanes)), key=length, default=None)
    if best is None:  # an odd die: one after the other
        best = list(runs)[: len(lanes)]
    return [runs[key][0] for key in best]


def _free(device: Device, used: Sequence[Site]) -> list[Site]:
    """Return the multipliers that are not `used`, those beside the banks first."""
    taken = set(used)
    return [site for row in reversed(device.multiplier_rows) for site in device.multipliers(row) if site not in taken]


class _Rams:
    """The block RAMs that are still free, by four that stand together."""

    def __init__(self, device: Device) -> None:
        self.blocks = {block: device.rams(*block) for block in device.ram_blocks()}

    def take(self, count: int, near: tuple[float, float], rows: Sequence[int] = (), rise: float = 1) -> list[Site]:
        """Take `count` RAMs, the nearest first: of blocks that have as many, and of `rows`, before others.

        A tile up or down is as far as `rise` to the left or right.
        """

        def far(block: tuple[int, int]) -> float:
            x, y = _centre(self.blocks[block])
            return abs(x - near[0]) + rise * abs(y - near[1])

        taken: list[Site] = []
        whole = min(count, PER_COLUMN)
        for block in sorted(
            self.blocks, key=lambda block: (len(self.blocks[block]) < whole, block[0] not in rows, far(block))
        ):
            if len(taken) == count:
                break
            sites = self.blocks.pop(block)
            part = sites[: count - len(taken)]
            taken += part
            if len(part) < len(sites):
                self.blocks[block] = sites[len(part) :]
        return taken


def place(device: Device, netlist: Mapping[str, Any], top: str) -> dict[str, Site]:
    """Return the site of every multiplier and block RAM of the engine in module `top`, by the cell's name.

    Raises
    ------
    UserError
        If the device has too few of them.
    """
    cells = netlist["modules"][top]["cells"]
    parts = _parts(cells)
    kinds = [cell["type"] for cell in cells.values()]
    check_room(device, kinds.count("MULT18X18D"), kinds.count("DP16KD") + kinds.count("PDPW16KD"))
    sites: dict[str, Site] = {}
    if not parts["lane"]:
        return sites

    lanes = [names for _, names in sorted(parts["lane"].items())]
    requantise = [name for _, names in sorted(parts["requantise"].items()) for name in names]
    lane_sites = _place_lanes(device, lanes, len(requantise))
    for names, run in zip(lanes, lane_sites, strict=True):
        sites |= dict(zip(names, run, strict=True))
    sites |= dict(zip(requantise, _free(device, list(sites.values())), strict=False))

    rams = _Rams(device)
    between = [row for row in device.ram_rows if row < max(device.multiplier_rows)]
    for (_, names), run in zip(sorted(parts["weights"].items()), lane_sites, strict=True):
        sites |= dict(zip(names, rams.take(len(names), _centre(run), between), strict=True))
    x, y = _centre([sites[name] for name in requantise])
    corner = float(min(device.columns[0], device.columns[-1], key=lambda column: abs(column - x))), y
    parameters = [name for names in parts["parameters"].values() for name in names]
    sites |= dict(zip(parameters, rams.take(len(parameters), corner, _upper(device)), strict=True))
    sites |= _place_banks(device, parts["bank"], rams)
    return sites


def _upper(device: Device) -> list[int]:
    """Return the rows of block RAMs that are the banks' before all others."""
    above = [row for row in device.ram_rows if row > max(device.multiplier_rows)]
    return above or list(device.ram_rows[-1:])


def _place_banks(device: Device, banks: Mapping[tuple[int, ...], Sequence[str]], rams: _Rams) -> dict[str, Site]:
    """Return the sites of the banks' RAMs: a column for the same bits of all of them, granule beside granule."""
    granules: dict[int, list[list[str]]] = defaultdict(list)
    for (_, granule), names in sorted(banks.items()):
        granules[granule].append(list(names))
    groups = [group for granule in sorted(granules) for group in zip(*granules[granule], strict=True)]
    flat = [list(group) for group in groups]
    middle = (sum(device.columns) / len(device.columns), float(max(device.ram_rows)))
    chosen: list[list[Site]] = [rams.take(len(group), middle, _upper(device), rise=10) for group in flat]
    # From left to right, so that a granule's columns stand together.
    chosen.sort(key=lambda block: (block[0].x, -block[0].y))
    return {
        name: site for group, block in zip(flat, chosen, strict=True) for name, site in zip(group, block, strict=True)
    }


def check_room(device: Device, multipliers: int, rams: int) -> None:
    """Raise an error if a device has too few blocks.

    Parameters
    ----------
    device
        The device.
    multipliers, rams
        How many are wanted.

    Raises
    ------
    UserError
        If it has less of either.
    """
    for what, wanted, rows in (
        ("multipliers", multipliers, device.multiplier_rows),
        ("block RAMs", rams, device.ram_rows),
    ):
        room = PER_COLUMN * len(device.columns) * len(rows)
        if wanted > room:
            raise UserError(f"configuration must take at most the {room} {what} of an {device.title}, not {wanted}")


def floorplan(device: Device, netlist: Mapping[str, Any], top: str) -> int:
    """Write the places of `place` into a netlist, for nextpnr to keep to; return how many."""
    cells = netlist["modules"][top]["cells"]
    sites = place(device, netlist, top)
    for name, site in sites.items():
        cells[name].setdefault("attributes", {})["BEL"] = site.name
    return len(sites)


def fix_clock(device: Device, netlist: Mapping[str, Any], top: str, port: str = "clk") -> None:
    """Put the buffer of the clock's network into a netlist, at the device's place for it.

    nextpnr would put one in by itself, at a place that it takes for near, and sometimes finds no way to it then.
    """
    module = netlist["modules"][top]
    [source] = module["ports"][port]["bits"]
    used = [bits for cell in module["cells"].values() for bits in cell["connections"].values()]
    used += [wires["bits"] for wires in module["ports"].values()]  # of which some may lead to no cell
    clock = max(bit for bits in used for bit in bits if isinstance(bit, int)) + 1
    for cell in module["cells"].values():
        for name, wires in cell["connections"].items():
            cell["connections"][name] = [clock if bit == source else bit for bit in wires]
    module["cells"]["clock_buffer"] = {
        "hide_name": 0,
        "type": "DCCA",
        "parameters": {},
        "attributes": {"BEL": device.clock_buffer},
        "port_directions": {"CLKI": "input", "CE": "input", "CLKO": "output"},
        "connections": {"CLKI": [source], "CE": ["1"], "CLKO": [clock]},
    }
