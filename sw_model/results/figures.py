"""Figures of `make table`: accuracy against FLOP reduction, sparsity by layer, training curves, masks over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cdgate.drawing import drawing, new_figure, save
from sw_model.data.photographs import default_images
from sw_model.integer.checkpoint import DEFAULT_CHECKPOINT, load
from sw_model.integer.network import IntNetwork
from sw_model.network.methods import METHODS
from sw_model.results.poster import METHOD_ROWS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "mask_sheet"]

Rows = Mapping[str, Sequence[dict[str, Any]]]
#: Layers whose masks are shown, the finest and one of each coarser stage.
SHOWN_LAYERS = ("conv2_1", "conv2_4", "conv3_2", "conv4_2")
MASKS_CAPTION = (
    "Where the shipped network computes its conditional paths: brightness is the share of slices that fire, relative "
    "to the layer's brightest pixel"
)
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 110,
         "savefig.bbox": "tight"}  # fmt: skip


def _accuracy(rows: Rows) -> Figure:
    """Linear accuracy against the whole network's MAC-true reduction, deciding included."""
    figure = new_figure(6, 4, layout=None)
    axes = figure.add_subplot(xlabel="FLOP reduction, MAC-true, whole network, deciding included",
                              ylabel="linear evaluation, top-1 %")  # fmt: skip
    for row, runs in rows.items():
        x = [run["linear"]["1"]["reduction"]["with_decisions"] for run in runs]
        y = [100 * run["linear"]["1"]["linear"] for run in runs]
        axes.scatter(x, y, s=24, label=METHODS[row].title)
    axes.set_title("poster: " + ", ".join(f"{r.method.split('_')[0]} {r.linear:.1f} at {r.reduction:.2f}x"
                                          for r in METHOD_ROWS), fontsize=8)  # fmt: skip
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _sparsity(layers: Mapping[str, Mapping[str, float]]) -> Figure:
    """Sparsity by gated layer, a line for every network."""
    figure = new_figure(7, 3.5, layout=None)
    axes = figure.add_subplot(ylabel="sparsity, %", ylim=(0, 100))
    for title, values in layers.items():
        axes.plot(list(values), [100 * v for v in values.values()], marker="o", markersize=3, label=title)
    axes.tick_params(axis="x", rotation=60)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _curves(rows: Rows) -> Figure:
    """Contrastive loss, kNN accuracy and sparsity over the steps, a line for the first seed of every row."""
    figure = new_figure(9, 3, layout=None)
    axes = figure.subplots(1, 3)
    for i, (row, runs) in enumerate(rows.items()):
        points = [point for point in runs[0]["curve"] if point["phase"] == "contrastive"]
        for axis, key, scale in zip(axes, ("loss", "knn", "sparsity"), (1, 100, 100), strict=True):
            found = [(point["step"], scale * point[key]) for point in points if key in point]
            if found:
                axis.plot(*zip(*found, strict=True), label=METHODS[row].title, color=f"C{i}", linewidth=1)
    for axis, text in zip(axes, ("NT-Xent", "kNN top-1, %", "sparsity of the batch, %"), strict=True):
        axis.set(xlabel="contrastive step", ylabel=text)
    axes[0].legend(frameon=False, fontsize=6)
    figure.tight_layout()
    return figure


def mask_sheet(net: IntNetwork, images: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Images, and over them where a layer's conditional path is computed: bright where many slices fire.

    Parameters
    ----------
    net
        A gated network.
    images
        Names and (H, W, 3) uint8 pixels.
    """
    taps = net.run(np.stack([pixels for _, pixels in images]), only=SHOWN_LAYERS).taps
    figure = new_figure(1.6 * (1 + len(SHOWN_LAYERS)), 1.7 * len(images), layout=None)
    axes = figure.subplots(len(images), 1 + len(SHOWN_LAYERS), squeeze=False)
    for i, (name, pixels) in enumerate(images):
        axes[i][0].imshow(pixels)
        axes[i][0].set_ylabel(name)
        for axis, layer in zip(axes[i][1:], SHOWN_LAYERS, strict=True):
            decision = taps[layer].decision
            assert decision is not None
            share = decision[i].double().mean(0).numpy()
            scale = pixels.shape[0] // share.shape[0]
            fired = np.kron(share, np.ones((scale, scale)))[..., None]
            axis.imshow(pixels / 255 * (0.15 + 0.85 * fired / max(fired.max(), 1e-9)))
            axis.set_title(f"{layer}, {100 * share.mean():.0f} % fire", fontsize=7)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.tight_layout()
    return figure


def draw(rows: Rows, shipped: Mapping[str, Any] | None, docs: Path) -> list[tuple[str, str]]:
    """Draw what the results allow into docs/results/.

    Parameters
    ----------
    rows
        Results of the comparison, by row.
    shipped
        Results of the network that the repository ships, or None.
    docs
        Folder of the documentation.

    Returns
    -------
    list[tuple[str, str]]
        File name relative to `docs`, and caption, of every figure.
    """
    made: dict[str, tuple[Figure, str]] = {}
    layers = {METHODS[row].title: runs[0]["linear"]["1"]["layers"] for row, runs in rows.items()}
    layers = {title: values for title, values in layers.items() if values}
    if shipped is not None:
        gated = {name: row for name, row in shipped["layers"].items() if row["dynamic_slices"] is not None}
        layers["shipped network"] = {name: row["sparsity"]["output"] for name, row in gated.items()}
    with drawing(STYLE):
        if rows:
            made["accuracy"] = _accuracy(rows), "Accuracy against FLOP reduction, a point for every seed"
            made["curves"] = _curves(rows), "Contrastive training, first seed of every row"
        if layers:
            made["sparsity"] = _sparsity(layers), "Share of decisions that do not fire, by gated layer, test images"
        if DEFAULT_CHECKPOINT.is_file():
            sheet = mask_sheet(load(), default_images(3))
            made["masks"] = sheet, MASKS_CAPTION
        for name, (figure, _) in made.items():
            save(figure, docs / "results" / f"{name}.png")
    return [(f"results/{name}.png", caption) for name, (_, caption) in made.items()]
