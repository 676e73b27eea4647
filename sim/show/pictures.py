"""Pictures of a simulation layer by layer: what the gates decided, and where the cycles went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cdgate.drawing import drawing, new_figure, save
from sim.plan.layer import Pass
from sim.show.masks import mask_picture, mask_sheet
from sim.show.style import BASE, CONDITIONAL, IDLE, STYLE, key
from sw_model.integer.layer import IntLayer
from sw_model.integer.network import Tap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cycles_chart", "draw"]


def cycles_chart(reports: Sequence[Mapping[str, Any]], mode: str) -> Figure:
    """Draw the cycles of each layer, dense beside the other mode, split into base steps, conditional steps and idle.

    Parameters
    ----------
    reports
        What `sim.show.report.layer_report` returned for each layer.
    mode
        The mode that was run beside the dense one, or "dense".
    """
    images = reports[0]["images"]
    figure = new_figure(max(5.0, 2.5 + 0.42 * len(reports)), 4.2)
    axes = figure.add_subplot()
    runs = ["dense"] if mode == "dense" else ["dense", mode]
    places = np.arange(len(reports))
    width = 0.4 if len(runs) > 1 else 0.7
    sums = {}
    for n, run in enumerate(runs):
        parts = [
            (
                report["runs"][run]["steps"]["base"],
                report["runs"][run]["steps"]["conditional"],
                sum(report["runs"][run]["idle"].values()),
            )
            for report in reports
        ]
        heights = np.array(parts) / images / 1000
        sums[run] = heights.sum(axis=0)
        at = places + (n - (len(runs) - 1) / 2) * (width + 0.03)
        bottom = np.zeros(len(reports))
        for column, (colour, hatch) in enumerate(((BASE, None), (CONDITIONAL, "////"), (IDLE, None))):
            axes.bar(
                at, heights[:, column], width, bottom=bottom, color=colour, hatch=hatch, linewidth=0, edgecolor="white"
            )
            bottom += heights[:, column]
        axes.bar(
            at,
            bottom,
            width,
            color="none",
            edgecolor="black",
            linewidth=0.5,
            linestyle="-" if run != "dense" else (0, (1, 1)),
        )
    axes.set_xticks(places, [report["layer"] for report in reports], rotation=60, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.7, len(reports) - 0.3)
    axes.set_ylabel("thousand cycles an image")
    axes.yaxis.grid(True, color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)
    idle = 100 * sums[runs[-1]][2] / sums[runs[-1]].sum()
    axes.legend(
        handles=[
            key("base steps", facecolor=BASE),
            key("conditional steps", facecolor=CONDITIONAL, hatch="////", edgecolor="white"),
            key(f"idle ({idle:.2f} % in {runs[-1]} mode)", facecolor=IDLE, edgecolor="black", linewidth=0.5),
        ],
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=3,
        frameon=False,
    )
    totals = [float(sums[run].sum()) for run in runs]
    text = f"cycles of each layer: dense, {totals[0]:,.0f} thousand in all"
    if len(runs) > 1:
        text = (
            f"cycles of each layer: left dense, right {mode}; in all {totals[0]:,.0f} and {totals[1]:,.0f} thousand"
            f", {totals[0] / totals[1]:.2f} to 1"
        )
    figure.suptitle(text, fontsize=11)
    return figure


def _joined(passes: Sequence[Pass]) -> tuple[IntLayer, Tap]:
    """Put the passes of one layer in one mode together again."""
    import torch

    parts = [planned.tap for planned in passes]
    decisions = [part.decision for part in parts if part.decision is not None]
    return passes[0].layer, Tap(
        parts[0].ifmap,
        None,
        torch.cat([part.psum_base for part in parts]),
        parts[0].psum,
        torch.cat(decisions) if decisions else None,
        parts[0].ofmap,
    )


def draw(
    passes: Sequence[Pass],
    images: np.ndarray,
    names: Sequence[str],
    mode: str,
    reports: Sequence[Mapping[str, Any]],
    folder: Path,
    whole: bool,
) -> list[Path]:
    """Draw what belongs to a simulation and return the files written.

    Parameters
    ----------
    passes
        What was run.
    images, names
        (N, H, W, 3) uint8, and what they are called.
    mode
        The mode run beside the dense one, or "dense".
    reports
        Of each layer.
    folder
        Where the files go.
    whole
        Whether all layers were run: a sheet of masks and a chart of cycles instead of one layer's mask.

    Raises
    ------
    cdgate.errors.UserError
        If a file cannot be written.
    """
    by_name: dict[str, list[Pass]] = {}
    for planned in passes:
        if planned.mode == mode and planned.layer.gated and planned.leading:
            by_name.setdefault(planned.layer.name, []).append(planned)
    joined = [_joined(group) for group in by_name.values()]
    checked, wrong = (
        sum(report["runs"][mode][name] for report in reports) for name in ("decisions_checked", "mismatches")
    )
    note = f"golden model's decisions; the engine made the same, {checked:,} compared"
    if wrong:
        note = f"golden model's decisions; the engine differs from the golden model in {wrong:,} places"
    elif not checked:
        note = f"golden model; nothing is decided in {mode} mode"
    if whole and len(images) > 1:
        note += f"; shown is the first of {len(images)} images"
    written = []
    with drawing(STYLE):
        if whole:
            if joined:
                written.append(save(mask_sheet(joined, images[0], names[0], mode, note), folder / "masks.png"))
            written.append(save(cycles_chart(reports, mode), folder / "cycles.png"))
        else:
            written += [save(mask_picture(*gated, images, names, mode, note), folder / "mask.png") for gated in joined]
    return written
