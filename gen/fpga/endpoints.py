"""Which registers' paths are the longest after routing, by class: read from the delays that nextpnr writes as SDF.

A report of the longest path alone tells one wire to mend; what limits the clock are all those within a tenth of it.
Bits of a register, lanes, banks and copies are one class, from where to where.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Timing", "classes", "longest", "read_timing"]

_DELAY = r"\(([-\d.]+):([-\d.]+):([-\d.]+)\)"
_WIRE = re.compile(rf"\(INTERCONNECT (\S+) (\S+) {_DELAY}")
_CELL = re.compile(rf"\(IOPATH (\S+) (\S+) {_DELAY}")
_SETUP = re.compile(rf"\(SETUPHOLD \((?:pos|neg)edge (\S+)\) \((?:pos|neg)edge (\S+)\) {_DELAY}")

#: Ports by which cells are clocked.
_CLOCKS = ("CLK", "CLKA", "CLKB", "CLK0", "CLK1", "CLK2", "CLK3", "WCK")


@dataclass(frozen=True)
class _Arc:
    source: str
    target: str
    ps: float
    wire: bool


@dataclass
class Timing:
    """Delays of a routed design, in ps. A point is a cell's name, a slash and its port.

    Attributes
    ----------
    arcs
        By point what leads to it, but from clocks.
    launches
        By output of a clocked cell its delay from the clock.
    setups
        By input of a clocked cell what it must be there before.
    fanout
        By output the inputs that it drives.
    """

    arcs: dict[str, list[_Arc]] = field(default_factory=lambda: defaultdict(list))
    launches: dict[str, float] = field(default_factory=dict)
    setups: dict[str, float] = field(default_factory=dict)
    fanout: Counter[str] = field(default_factory=Counter)

    def arrivals(self) -> dict[str, tuple[float, _Arc | None]]:
        """Return when each point is stable after the clock, and by which arc; those that no register drives are not."""
        found: dict[str, tuple[float, _Arc | None]] = {point: (ps, None) for point, ps in self.launches.items()}
        seen = set(found)
        for start in self.setups:
            stack = [start]
            while stack:
                point = stack[-1]
                ahead = [arc.source for arc in self.arcs.get(point, ()) if arc.source not in seen]
                if ahead:
                    seen.update(ahead)
                    stack += ahead
                    continue
                stack.pop()
                for arc in self.arcs.get(point, ()):
                    before = found.get(arc.source)
                    if before and (point not in found or before[0] + arc.ps > found[point][0]):
                        found[point] = before[0] + arc.ps, arc
        return found


def read_timing(lines: Iterable[str]) -> Timing:
    """Return the delays of a file in the Standard Delay Format, as nextpnr writes it: the greatest of each three."""
    timing, instance = Timing(), ""
    for line in lines:
        text = line.strip().replace("\\", "")
        if text.startswith("(INSTANCE"):
            instance = text[10:].rstrip(") ")
        elif match := _WIRE.match(text):
            source, target = match[1], match[2]
            timing.fanout[source] += 1
            if _port(target) not in _CLOCKS:
                timing.arcs[target].append(_Arc(source, target, float(match[5]), wire=True))
        elif match := _CELL.match(text):
            source, target = f"{instance}/{match[1]}", f"{instance}/{match[2]}"
            if match[1] not in _CLOCKS:
                timing.arcs[target].append(_Arc(source, target, float(match[5]), wire=False))
            elif match[1] != "WCK":
                timing.launches[target] = max(timing.launches.get(target, 0.0), float(match[5]))
        elif match := _SETUP.match(text):
            point = f"{instance}/{match[1]}"
            timing.setups[point] = max(timing.setups.get(point, 0.0), float(match[3]))
    return timing


def _port(point: str) -> str:
    return point.rsplit("/", 1)[1]


def _class(point: str) -> str:
    """Return the name of a register without bits, numbers of lanes and banks, and what the tools add to it."""
    cell = point.rsplit("/", 1)[0]
    cell = re.split(r"_TRELLIS_|_LUT4_|_CCU2C_|_PFUMX_|_L6MUX|_MULT18|_DP16KD|\$PACK|\$nextpnr", cell)[0]
    cell = re.sub(r"\$\d+|\[\d+\]", "", cell)
    return re.sub(r"\d+", "#", cell)


def _path(point: str, arrivals: dict[str, tuple[float, _Arc | None]]) -> Iterator[_Arc]:
    while arc := arrivals[point][1]:
        yield arc
        point = arc.source


def _ends(timing: Timing, arrivals: dict[str, tuple[float, _Arc | None]]) -> list[tuple[float, str]]:
    """Return the inputs of registers, each behind the ps of the longest path that ends there, the longest first."""
    return sorted(((arrivals[p][0] + ps, p) for p, ps in timing.setups.items() if p in arrivals), reverse=True)


def longest(timing: Timing, count: int = 10) -> list[tuple[float, list[str]]]:
    """Return the longest paths, of which no two end at the same point: of each its ns and the cells along it."""
    arrivals = timing.arrivals()
    found = []
    for total, point in _ends(timing, arrivals)[:count]:
        points = [point, *(arc.source for arc in _path(point, arrivals))]
        cells = dict.fromkeys(name.rsplit("/", 1)[0] for name in reversed(points))
        found.append((total / 1000, list(cells)))
    return found


def classes(timing: Timing, count: int = 300) -> list[dict[str, Any]]:
    """Return the classes of the longest paths, the longest first.

    Parameters
    ----------
    timing
        Delays of the routed design.
    count
        Number of registers' inputs that are looked at.

    Returns
    -------
    list
        By class where it starts and ends, how many there are, the longest one's ns, the share of them along wires, its
        levels of logic and the greatest fan-out on it.
    """
    arrivals = timing.arrivals()
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for total, point in _ends(timing, arrivals)[:count]:
        arcs = list(_path(point, arrivals))
        start = arcs[-1].source if arcs else point
        row = found.setdefault(
            (_class(start), _class(point)),
            {
                "from": _class(start),
                "to": _class(point),
                "count": 0,
                "ns": round(total / 1000, 3),
                "wires": round(sum(arc.ps for arc in arcs if arc.wire) / total, 3),
                "levels": sum(not arc.wire for arc in arcs),
                "fanout": max((timing.fanout[arc.source] for arc in arcs if arc.wire), default=0),
            },
        )
        row["count"] += 1
    return list(found.values())
