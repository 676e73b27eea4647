"""Accuracy and gating of a quantised network: `python -m sw_model.evaluate --data FOLDER`.

Three accuracies of the same checkpoint are given: gated, base-only (no decision fires) and all-fire. The last two are
no baselines, since the network was trained with its gates. Sparsities are counted on all images evaluated; whether the
gating is dynamic, on the first 200; zeros in the ofmaps, on the default photographs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from . import accounting
from .checkpoint import DEFAULT_CHECKPOINT, load
from .data import DataError, load_cifar10
from .images import default_images
from .int_model import IntNetwork

__all__ = ["Accuracy", "Gating", "Progress", "accuracy", "as_json", "chunk_size",
           "gating_table", "held_out", "main", "zeros"]  # fmt: skip

#: Images whose decisions tell how dynamic a slice is, and the shares of fired pixels between which it is.
DYNAMIC_IMAGES, DYNAMIC_RANGE = 200, (0.02, 0.98)
_BATCH = 50


class Progress:
    """A line on standard error every few seconds: what is done, at which rate, and how long it takes still."""

    def __init__(self, what: str, total: int, every: float = 5.0) -> None:
        self.what, self.total, self.every = what, total, every
        self.start = self.last = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last < self.every:
            return
        self.last = now
        rate = done / (now - self.start)
        left = (self.total - done) / rate
        print(f"{self.what}: {done}/{self.total} images, {rate:.1f} img/s, {left:.0f} s left", file=sys.stderr)


@dataclass
class Gating:
    """What the decisions of many images add up to.

    Attributes:
        counts: Work by layer, summed over the images.
        fired: By gated layer, (slices,) int64: pixels that fired in the first `DYNAMIC_IMAGES` images.
        pixels: By gated layer: pixels looked at for `fired`.
    """

    counts: dict[str, accounting.LayerCount] = field(default_factory=dict)
    fired: dict[str, Tensor] = field(default_factory=dict)
    pixels: dict[str, int] = field(default_factory=dict)

    def add(self, count: accounting.LayerCount, decision: Tensor | None, looked_at: int) -> None:
        """Add one layer's count of one batch; the first `looked_at` images of it count for `fired`."""
        name = count.name
        self.counts[name] = accounting.total([self.counts[name], count], name) if name in self.counts else count
        if decision is not None and looked_at > 0:
            part = decision[:looked_at]
            self.fired[name] = self.fired.get(name, torch.zeros(1, dtype=torch.int64)) + part.sum((0, 2, 3))
            self.pixels[name] = self.pixels.get(name, 0) + len(part) * part.shape[2] * part.shape[3]

    def gated(self) -> list[accounting.LayerCount]:
        """Return the counts of the gated layers."""
        return [count for count in self.counts.values() if count.decisions]

    def dynamic(self, name: str) -> float:
        """Return the share of a layer's slices that fire on between 2 % and 98 % of their pixels."""
        rate = self.fired[name].to(torch.float64) / self.pixels[name]
        lo, hi = DYNAMIC_RANGE
        return float(((rate >= lo) & (rate <= hi)).to(torch.float64).mean())

    def dynamic_all(self) -> float:
        """Return the same share over the slices of all gated layers."""
        slices = sum(len(f) for f in self.fired.values())
        return sum(self.dynamic(name) * len(f) for name, f in self.fired.items()) / slices if slices else 0.0


@dataclass(frozen=True)
class Accuracy:
    """Images evaluated, how many of them were classified rightly, and the gating (of mode "gated" alone)."""

    images: int
    correct: int
    gating: Gating

    @property
    def top1(self) -> float:
        """Share of images classified rightly."""
        return self.correct / self.images


def chunk_size(net: IntNetwork) -> int:
    """Return the largest chunk of 16, 8, 4, 2 or 1 input channels that divides every gated layer's input groups.

    Sparsities and speed-ups of gated layers do not depend on it.
    """
    sizes = [layer.in_ch // layer.groups for layer in net.layers if layer.gated]
    return next(chunk for chunk in (16, 8, 4, 2, 1) if all(size % chunk == 0 for size in sizes))


def accuracy(
    net: IntNetwork,
    images: np.ndarray,
    labels: np.ndarray,
    mode: str = "gated",
    progress: Callable[[int], None] | None = None,
) -> Accuracy:
    """Evaluate the integer network.

    Args:
        net: The network.
        images: (N, H, W, 3), uint8.
        labels: (N,), integers.
        mode: "gated", "base" or "dense".
        progress: Called with the number of images done.

    Returns:
        The accuracy; its gating is empty unless the mode is "gated".
    """
    correct, gating, in_par = 0, Gating(), chunk_size(net)
    for start in range(0, len(images), _BATCH):
        batch = torch.from_numpy(images[start : start + _BATCH])
        best = torch.zeros(0, dtype=torch.int64)
        for layer, tap in net.walk(batch, mode):
            if mode == "gated":
                size = (tap.ifmap.shape[2], tap.ifmap.shape[3])
                count = accounting.count_layer(layer, size, len(batch), in_par, tap.decision)
                gating.add(count, tap.decision, DYNAMIC_IMAGES - start)
            if layer.kind == "fc":
                best = (tap.ofmap == tap.ofmap.amax(1, keepdim=True)).to(torch.int64).argmax(1)
        correct += int((best == torch.from_numpy(labels[start : start + _BATCH])).sum())
        if progress is not None:
            progress(start + len(batch))
    return Accuracy(len(images), correct, gating)


def zeros(net: IntNetwork, count: int = 8) -> dict[str, float]:
    """Return, by convolution, the greatest share of zeros in the ofmap of any of the first default images."""
    images = np.stack([image for _, image in default_images(count)])
    shares = {}
    for layer, tap in net.walk(images):
        if layer.kind == "conv":
            shares[layer.name] = float((tap.ofmap == 0).flatten(1).to(torch.float64).mean(1).max())
    return shares


def as_json(net: IntNetwork, gating: Gating) -> dict[str, Any]:
    """Return what a results file says about the gating: sparsities, reductions and the figures of every layer."""
    gated, everything = accounting.total(gating.gated()), accounting.total(gating.counts.values())
    groups = max(layer.groups for layer in net.layers)
    shares = zeros(net)
    return {
        "sparsity": {"output": gated.sparsity_output, "mac": gated.sparsity_mac},
        "flop_reduction": {
            "output_weighted": accounting.flop_reduction(gated.sparsity_output, groups),
            "mac_weighted": gated.speedup,
            "whole_network": everything.speedup,
        },
        "dynamic_slices": gating.dynamic_all(),
        "layers": {
            name: {
                "sparsity": {"output": count.sparsity_output, "mac": count.sparsity_mac},
                "theoretical_speedup": count.speedup,
                "dynamic_slices": gating.dynamic(name) if name in gating.fired else None,
                "zeros_max": shares.get(name),
            }
            for name, count in gating.counts.items()
        },
    }


def gating_table(figures: dict[str, Any]) -> Table:
    """Return the table of `as_json`'s figures."""
    table = Table(title="Gating, in % unless said", title_justify="left")
    table.add_column("layer")
    for column in ("sparsity, output", "sparsity, MAC", "speed-up (x)", "dynamic slices", "zeros, worst photograph"):
        table.add_column(column, justify="right")

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    for name, row in figures["layers"].items():
        gated = row["dynamic_slices"] is not None
        sparsity = [percent(row["sparsity"][key]) if gated else "-" for key in ("output", "mac")]
        speedup = f"{row['theoretical_speedup']:.3f}" if gated else "-"
        table.add_row(name, *sparsity, speedup, percent(row["dynamic_slices"]), percent(row["zeros_max"]))
    reduction = figures["flop_reduction"]
    sparsity = [percent(figures["sparsity"][key]) for key in ("output", "mac")]
    table.add_section()
    table.add_row("gated layers", *sparsity, f"{reduction['mac_weighted']:.3f}", percent(figures["dynamic_slices"]), "")
    table.add_row("whole network", "", "", f"{reduction['whole_network']:.3f}", "", "")
    return table


def held_out(folder: Path, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the test images and labels of a data folder, or the first ones of them."""
    _, _, images, labels = load_cifar10(folder)
    count = len(images) if limit is None else limit
    if not 1 <= count <= len(images):
        raise ValueError(f"limit must be 1 to {len(images)}, not {limit}")
    return images[:count], labels[:count]


def main(argv: list[str] | None = None) -> int:
    """Evaluate a checkpoint; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sw_model.evaluate", description="Evaluate a quantised network.")
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="safetensors file")
    parser.add_argument("--data", type=Path, required=True, help="folder with CIFAR-10, see sw_model/data.py")
    parser.add_argument("--limit", type=int, help="evaluate only the first test images")
    parser.add_argument("--json", type=Path, help="file that the figures are written to")
    args = parser.parse_args(argv)
    try:
        net = load(args.checkpoint)
        images, labels = held_out(args.data, args.limit)
        results = {
            mode: accuracy(net, images, labels, mode, Progress(f"int8 {mode}", len(images)))
            for mode in ("gated", "base", "dense")
        }
        figures = as_json(net, results["gated"].gating)
        figures["accuracy"] = {
            "int8": results["gated"].top1,
            "int8_base_only": results["base"].top1,
            "int8_all_fire": results["dense"].top1,
            "images": len(images),
        }
        if args.json:
            args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    except (DataError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console()
    console.print(gating_table(figures))
    top1 = [f"{100 * figures['accuracy'][key]:.2f} %" for key in ("int8", "int8_base_only", "int8_all_fire")]
    console.print(f"top-1 on {len(images)} images: gated {top1[0]}, base-only {top1[1]}, all-fire {top1[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
