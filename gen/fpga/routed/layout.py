"""Where nextpnr put the cells of a design, and where its longest paths run: as little of it as a picture needs.

The netlist that nextpnr writes has 59 MB of `tiny`, so it is read line by line and kept by nobody.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gen.fpga.components import components

__all__ = ["Cell", "layout", "read_cells"]

#: Blocks by what they are called; all else is logic.
_BLOCKS = {"MULT18X18D": "multiplier", "DP16KD": "RAM", "PDPW16KD": "RAM"}

#: Cells that are drawn: tables, flip-flops and blocks. Carries and small RAMs have become the former.
_LOGIC = ("TRELLIS_COMB", "TRELLIS_FF", "TRELLIS_RAMW")

_NAME = re.compile(r' {8}"(.+)": \{')
_TYPE = re.compile(r' {10}"type": "(.+)"')
_PLACE = re.compile(r' {12}"NEXTPNR_BEL": "X(\d+)/Y(\d+)/')


@dataclass(frozen=True)
class Cell:
    """A cell after placing: its type, and the tile that it is in."""

    kind: str
    x: int
    y: int


def read_cells(lines: Iterable[str]) -> dict[str, Cell]:
    """Return the cells of a placed design by name, from the lines of the JSON file that nextpnr writes."""
    found: dict[str, Cell] = {}
    name = kind = ""
    for line in lines:
        if match := _NAME.match(line):
            name = match[1]
        elif match := _TYPE.match(line):
            kind = match[1]
        elif match := _PLACE.match(line):
            found[name] = Cell(kind, int(match[1]), int(match[2]))
    return found


def layout(cells: Mapping[str, Cell], paths: Sequence[tuple[float, Sequence[str]]]) -> dict[str, Any]:
    """Return what is drawn of a placed design, as it is kept in JSON.

    Parameters
    ----------
    cells
        By name.
    paths
        Of each its ns and the cells along it.

    Returns
    -------
    dict
        ``logic``, by component the tiles with the number of its cells there; ``blocks``, each with component, kind and
        tile; ``paths``, each with its ``ns`` and the tiles along it.
    """
    component = components(cells)
    logic: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    blocks = []
    for name, cell in cells.items():
        if cell.kind in _BLOCKS:
            blocks.append([component[name], _BLOCKS[cell.kind], cell.x, cell.y])
        elif cell.kind in _LOGIC:
            logic[component[name]][cell.x, cell.y] += 1
    return {
        "logic": {name: [[x, y, count] for (x, y), count in tiles.items()] for name, tiles in logic.items()},
        "blocks": blocks,
        "paths": [
            {"ns": round(ns, 3), "tiles": [[cells[name].x, cells[name].y] for name in names if name in cells]}
            for ns, names in paths
        ],
    }
