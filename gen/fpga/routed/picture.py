"""Draws a placed design: which component sits where on the die, and its longest paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cdgate.drawing import drawing, new_figure, save
from gen.fpga.components import COMPONENTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "draw", "picture"]

#: Colours of the components, which the colour-blind tell apart, too (Okabe and Ito).
COLOURS = dict(
    zip(
        COMPONENTS,
        ("#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#0072b2", "#f0e442", "#bbbbbb"),
        strict=True,
    )
)

#: Cells of a tile that is full of logic: eight tables, eight flip-flops.
_FULL = 16

#: How blocks are drawn.
_MARKS = {"multiplier": "o", "RAM": "s"}

_STYLE = {"font.size": 9, "legend.fontsize": 8, "savefig.dpi": 150}


def _shades(layout: Mapping[str, Any]) -> np.ndarray:
    """Return the colours of the tiles, (rows, columns, 3): a mixture by cells, the paler the emptier."""
    tiles = [tile for found in layout["logic"].values() for tile in found]
    tiles += [block[2:] for block in layout["blocks"]]
    columns, rows = (max((tile[axis] for tile in tiles), default=0) + 1 for axis in (0, 1))
    mixed, cells = np.zeros((rows, columns, 3)), np.zeros((rows, columns, 1))
    for name, found in layout["logic"].items():
        colour = np.array([int(COLOURS[name][at : at + 2], 16) / 255 for at in (1, 3, 5)])
        for x, y, count in found:
            mixed[y, x] += count * colour
            cells[y, x] += count
    fill = np.minimum(1, 0.25 + 0.75 * cells / _FULL) * (cells > 0)
    return 1 - fill + fill * mixed / np.maximum(cells, 1)


def picture(layout: Mapping[str, Any], title: str) -> Figure:
    """Return the picture of a design, as `gen.fpga.routed.layout.layout` returns it."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shades = _shades(layout)
    rows, columns = shades.shape[:2]
    figure = new_figure(10.0, 2.2 + 8.5 * rows / columns)
    axes = figure.add_subplot()
    axes.imshow(shades, interpolation="nearest")
    axes.set_xlabel("tile, X")
    axes.set_ylabel("tile, Y")
    size = 9 * min(1.0, 60 / columns)  # as large as a tile is wide
    for kind, mark in _MARKS.items():
        found = [block for block in layout["blocks"] if block[1] == kind]
        axes.scatter(
            [x for *_, x, _ in found],
            [y for *_, y in found],
            s=size**2,
            c=[COLOURS[component] for component, *_ in found],
            marker=mark,
            edgecolors="black",
            linewidths=0.4,
        )
    for path in reversed(layout["paths"]):
        first = path is layout["paths"][0]
        axes.plot(
            [x for x, _ in path["tiles"]],
            [y for _, y in path["tiles"]],
            color="red" if first else "black",
            linewidth=1.4 if first else 0.7,
            marker=".",
            markersize=3,
        )
    used = {*layout["logic"], *(block[0] for block in layout["blocks"])}
    keys: list[Any] = [Patch(label=name, facecolor=COLOURS[name]) for name in COMPONENTS if name in used]
    keys += [
        Line2D([], [], label=kind, marker=mark, linestyle="", markerfacecolor="white", markeredgecolor="black")
        for kind, mark in _MARKS.items()
    ]
    if layout["paths"]:
        longest = layout["paths"][0]["ns"]
        keys.append(Line2D([], [], label=f"longest path, {longest:.2f} ns", color="red"))
    if len(layout["paths"]) > 1:
        label = f"the next {len(layout['paths']) - 1}, to {layout['paths'][-1]['ns']:.2f} ns"
        keys.append(Line2D([], [], label=label, color="black", linewidth=0.7))
    axes.legend(handles=keys, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure


def draw(layout: Mapping[str, Any], title: str, path: Path) -> Path:
    """Draw a design as PNG and return the path; `UserError` if it cannot be written."""
    with drawing(_STYLE):
        return save(picture(layout, title), path)
