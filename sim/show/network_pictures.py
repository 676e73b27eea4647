"""Chart of a whole network's cycles: what each layer spent them on, dense beside gated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cdgate.drawing import drawing, new_figure, save
from hw.interface.layouts import IdleCause
from sim.show.style import BASE, CONDITIONAL, IDLE, STYLE, key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_network", "network_chart"]

#: Colour and hatching of the idle causes, the most frequent one plain: they differ in grey, too.
_CAUSES = {
    IdleCause.WEIGHTS: (IDLE, None),
    IdleCause.DECISION: ("#a6923c", "xxxx"),
    IdleCause.OUTPUT: ("#5c5c5c", "...."),
    IdleCause.INPUT: ("#7d8db8", "\\\\\\\\"),
    IdleCause.START: ("#ffffff", "||||"),
    IdleCause.END: ("#d0d0d0", "----"),
    IdleCause.POOL: ("#7fae8c", "oo"),
}


def network_chart(report: Mapping[str, Any]) -> Figure:
    """Draw the cycles of each layer, and below, as parts of them, the idle ones by cause.

    Parameters
    ----------
    report
        From `sim.show.network_report.network_report`; bars are of its runs, dense left of gated.
    """
    layers, runs = report["layers"], [mode for mode in ("dense", "gated") if mode in report["runs"]]
    figure = new_figure(max(6.0, 2.5 + 0.42 * len(layers)), 6.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for n, mode in enumerate(runs):
        width = 0.4 if len(runs) > 1 else 0.7
        at = np.arange(len(layers)) + (n - (len(runs) - 1) / 2) * (width + 0.03)
        shares = [layer["runs"][mode] for layer in layers]
        cycles = np.array([max(1, share["cycles"]) for share in shares])
        idle = {cause: np.array([share["idle"][cause.name.lower()] for share in shares]) for cause in _CAUSES}
        scale = 1000 * report["images"]
        parts = [
            (np.array([share["steps"]["base"] for share in shares]), BASE, None),
            (np.array([share["steps"]["conditional"] for share in shares]), CONDITIONAL, "////"),
            *((idle[cause], *look) for cause, look in _CAUSES.items()),
        ]
        _stack(upper, at, [(values / scale, colour, hatch) for values, colour, hatch in parts], width, mode)
        _stack(lower, at, [(100 * values / cycles, colour, hatch) for values, colour, hatch in parts[2:]], width, mode)
    names = [layer["layer"] for layer in layers]
    lower.set_xticks(np.arange(len(layers)), names, rotation=60, ha="right", rotation_mode="anchor")
    lower.set_xlim(-0.7, len(layers) - 0.3)
    upper.set_ylabel("thousand cycles an image")
    lower.set_ylabel("% of the layer's cycles idle")
    for axes in (upper, lower):
        axes.yaxis.grid(True, color="0.85", linewidth=0.6)
        axes.set_axisbelow(True)
    black = {"edgecolor": "black", "linewidth": 0.5}
    handles = [
        key("base steps", facecolor=BASE),
        key("conditional steps", facecolor=CONDITIONAL, hatch="////", edgecolor="white"),
        *(
            key(f"idle: {cause.name.lower()}", facecolor=colour, hatch=hatch, **black)
            for cause, (colour, hatch) in _CAUSES.items()
        ),
    ]
    upper.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    cycles = report["cycles"]
    text = f"gated, {cycles['gated'] / report['images'] / 1000:,.0f} thousand cycles an image"
    if "dense" in cycles:
        text = (
            f"left dense, right gated; {cycles['dense'] / report['images'] / 1000:,.0f} and "
            f"{cycles['gated'] / report['images'] / 1000:,.0f} thousand cycles an image, "
            f"{cycles['dense'] / max(1, cycles['gated']):.2f} to 1"
        )
    memory = report["memory"]
    figure.suptitle(
        f"{report['images']} images, {memory['bytes_per_cycle_limit']} bytes a cycle, latency "
        f"{memory['latency_cycles']}: {text}",
        fontsize=10,
    )
    return figure


def _stack(
    axes: Any, at: np.ndarray, parts: Sequence[tuple[np.ndarray, str, str | None]], width: float, mode: str
) -> None:
    bottom = np.zeros(len(at))
    for heights, colour, hatch in parts:
        dark = colour in (BASE, CONDITIONAL, "#5c5c5c")
        axes.bar(
            at,
            heights,
            width,
            bottom=bottom,
            color=colour,
            hatch=hatch,
            linewidth=0,
            edgecolor="white" if dark else "black",
        )
        bottom += heights
    axes.bar(
        at,
        bottom,
        width,
        color="none",
        edgecolor="black",
        linewidth=0.5,
        linestyle="-" if mode != "dense" else (0, (1, 1)),
    )


def draw_network(report: Mapping[str, Any], folder: Path) -> Path:
    """Write the chart as ``cycles.png`` and return its path; `UserError` if it cannot be written."""
    with drawing(STYLE):
        return save(network_chart(report), folder / "cycles.png")
