"""Which component of the engine a cell of a flat netlist is of, by the names that Yosys derives from the hierarchy.

Components are coarser than those of `hw`, so that each is large enough to be seen and to be estimated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

__all__ = ["COMPONENTS", "HARNESS", "components"]

#: What is around the engine: nothing of it.
HARNESS = "harness"

#: Components by name, with what is in them.
COMPONENTS: Mapping[str, str] = MappingProxyType(
    {
        "lanes": "multipliers, adder trees, psums and weights of the MAC array",
        "banks": "activation banks",
        "requantiser": "output stage",
        "parameters": "memories of scales and thresholds",
        "jobs": "the rest of the core: scheduler, slices, steps, decisions, pooling, counters",
        "units": "instructions, transfers, bus, registers",
        HARNESS: "pins and their registers",
    }
)

#: Submodules of the core that are components, or are in one; the others are "jobs".
_OF_CORE = {"array": "lanes", "ring": "lanes", "banks": "banks", "output": "requantiser", "parameters": "parameters"}


def components(cells: Iterable[str]) -> dict[str, str]:
    """Return by cell the component, one of `COMPONENTS`, of an engine, or of its core alone, in its harness."""
    names = list(cells)
    whole = any(name.startswith("core.core.") for name in names)

    def component(name: str) -> str:
        path = name.split(".")
        if path[0] != "core" or len(path) == 1:
            return HARNESS
        if whole and path[1] != "core":
            return "units"
        inner = path[2:] if whole else path[1:]
        return _OF_CORE.get(inner[0], "jobs") if len(inner) > 1 else "jobs"

    return {name: component(name) for name in names}
