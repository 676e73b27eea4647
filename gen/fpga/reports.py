"""What is read from the tools' netlists and reports: cells, resources, the longest path."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["RESOURCES", "cells_of", "critical_path", "resources"]

#: Resources of the report, as sums of cells. A RAM of 16 x 4 bits takes the place of four LUTs, a carry cell of two.
RESOURCES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "luts": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
        "ffs": {"TRELLIS_FF": 1},
        "dsps": {"MULT18X18D": 1},
        "brams": {"DP16KD": 1, "PDPW16KD": 1},
    }
)


def resources(cells: Mapping[str, int]) -> dict[str, int]:
    """Return LUTs, flip-flops, multipliers and block RAMs of a count of `cells` by type."""
    return {
        name: sum(weight * cells.get(cell, 0) for cell, weight in weights.items())
        for name, weights in RESOURCES.items()
    }


def cells_of(netlist: Mapping[str, Any], top: str) -> dict[str, int]:
    """Return the number of cells by type of module `top` of a flat netlist in Yosys' JSON format."""
    counts: dict[str, int] = {}
    for cell in netlist["modules"][top]["cells"].values():
        if not cell["type"].startswith(("$", f"{top}.")):  # notes on the former hierarchy; a black box
            counts[cell["type"]] = counts.get(cell["type"], 0) + 1
    return dict(sorted(counts.items()))


def critical_path(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the longest path between two registers from nextpnr's report: its hops with their delay in ns.

    A hop through a cell bears the name of the cell, a hop along a wire that of the net.
    """
    clocked = [path for path in report["critical_paths"] if "async" not in path["from"] + path["to"]]
    longest = max(clocked, key=lambda path: sum(hop["delay"] for hop in path["path"]))
    return [
        {
            "kind": hop["type"],
            "delay_ns": round(hop["delay"], 3),
            "name": hop["net"] if hop["type"] == "routing" else hop["to"]["cell"],
            "from": hop["from"]["loc"],
            "to": hop["to"]["loc"],
        }
        for hop in longest["path"]
    ]
