"""Accuracy of the integer network on labelled images, and what its decisions add up to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sw_model.integer import steps as accounting
from sw_model.integer.network import IntNetwork

__all__ = ["Accuracy", "Gating", "accuracy", "chunk_size"]

#: Images whose decisions tell how dynamic a slice is, and the shares of fired pixels between which it is.
DYNAMIC_IMAGES, DYNAMIC_RANGE = 200, (0.02, 0.98)
_BATCH = 50


@dataclass
class Gating:
    """What the decisions of many images add up to.

    Attributes
    ----------
    counts
        Work by layer, summed over the images.
    fired
        By gated layer, (slices,) int64: pixels that fired in the first `DYNAMIC_IMAGES` images.
    pixels
        By gated layer: pixels looked at for `fired`.
    """

    counts: dict[str, accounting.LayerCount] = field(default_factory=dict)
    fired: dict[str, Tensor] = field(default_factory=dict)
    pixels: dict[str, int] = field(default_factory=dict)

    def add(self, count: accounting.LayerCount, decision: Tensor | None, looked_at: int) -> None:
        """Add one layer's count of one batch; the first `looked_at` images of it count for `fired`."""
        batch = Gating({count.name: count})
        if decision is not None and looked_at > 0:
            part = decision[:looked_at]
            batch.fired[count.name] = part.sum((0, 2, 3))
            batch.pixels[count.name] = len(part) * part.shape[2] * part.shape[3]
        self.merge(batch)

    def merge(self, other: Gating) -> None:
        """Add what other images gave."""
        for name, count in other.counts.items():
            self.counts[name] = accounting.total([self.counts[name], count], name) if name in self.counts else count
        for name, fired in other.fired.items():
            self.fired[name] = self.fired[name] + fired if name in self.fired else fired
            self.pixels[name] = self.pixels.get(name, 0) + other.pixels[name]

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
    first: int = 0,
) -> Accuracy:
    """Evaluate the integer network.

    Parameters
    ----------
    net
        The network.
    images
        (N, H, W, 3), uint8.
    labels
        (N,), integers.
    mode
        "gated", "base" or "dense".
    progress
        Called with the number of images done.
    first
        Place of the first image in a larger set, whose first `DYNAMIC_IMAGES` are looked at for the dynamics.

    Returns
    -------
    Accuracy
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
                gating.add(count, tap.decision, DYNAMIC_IMAGES - first - start)
            if layer.kind == "fc":
                best = (tap.ofmap == tap.ofmap.amax(1, keepdim=True)).to(torch.int64).argmax(1)
        correct += int((best == torch.from_numpy(labels[start : start + _BATCH])).sum())
        if progress is not None:
            progress(start + len(batch))
    return Accuracy(len(images), correct, gating)
