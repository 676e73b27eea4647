"""Pictures of what the gates decide: masks, and saliencies against their thresholds.

All numbers are those of the golden model's taps, with which the engine's own decisions have been compared before.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cdgate.drawing import new_figure
from sim.show.style import BASE, CONDITIONAL
from sw_model.integer.layer import IntLayer
from sw_model.integer.network import Tap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["fired_share", "mask_picture", "mask_sheet", "relative_saliency"]

#: Images of a pass that are shown; the others are in the histogram alone.
SHOWN = 3

#: Thresholds at the ends of int32 are no thresholds: always and never.
_ALWAYS, _NEVER = -(2**31), 2**31 - 1


def fired_share(tap: Tap) -> np.ndarray:
    """Return the share of fired decisions of every pixel, (N, H', W'), 0 to 1."""
    if tap.decision is None:
        raise ValueError("an ungated layer has no decisions")
    return tap.decision.numpy().mean(axis=1)


def relative_saliency(layer: IntLayer, tap: Tap) -> np.ndarray:
    """Return (saliency - K) / (standard deviation of the saliency) of every decision, by slice or channel.

    A decision fires where this is above 0. Each slice is divided by its own deviation, so that all slices of a layer
    can be counted together. Slices whose threshold is at an end of int32, which fire always or never, are left out.

    Returns
    -------
    numpy.ndarray
        (decisions,) float64.
    """
    if tap.decision is None or layer.K is None:
        raise ValueError("an ungated layer has no decisions")
    images, count = tap.decision.shape[:2]
    # One row for each threshold: the channels that share a decision, and all places.
    saliency = tap.psum_base.numpy().reshape(images, count, layer.out_ch // count, -1).sum(axis=2)
    threshold = layer.K.numpy().astype(np.int64)
    if len(threshold) < count:  # thresholds of slices, decisions of channels
        each = count // len(threshold)
        threshold = np.repeat(threshold >> (each.bit_length() - 1), each)
    rows = saliency.transpose(1, 0, 2).reshape(count, -1)
    spread = rows.std(axis=1)
    spread[spread == 0] = 1
    real = (threshold != _ALWAYS) & (threshold != _NEVER)
    return ((rows - threshold[:, None]) / spread[:, None])[real].reshape(-1)


def _show_image(axes: Any, pixels: np.ndarray, title: str) -> None:
    axes.imshow(pixels, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()


def _show_mask(axes: Any, share: np.ndarray, title: str) -> Any:
    shown = axes.imshow(share, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(True)
    return shown


def _decisions(tap: Tap, layer: IntLayer) -> tuple[int, str]:
    """Return how many decisions a pixel has, and of what."""
    assert tap.decision is not None
    count = tap.decision.shape[1]
    return count, "slices" if count < layer.out_ch else "channels"


def _sparsity(tap: Tap) -> float:
    assert tap.decision is not None
    return 1 - float(tap.decision.numpy().mean())


def mask_picture(layer: IntLayer, tap: Tap, images: np.ndarray, names: Sequence[str], mode: str, note: str) -> Figure:
    """Draw the images beside a gated layer's mask, and its saliencies against the thresholds.

    Parameters
    ----------
    layer, tap
        The layer and what it computed on all images.
    images, names
        (N, H, W, 3) uint8, and what they are called.
    mode
        The gate mode, for the title.
    note
        A line below: where the numbers come from.
    """
    shown = min(len(images), SHOWN)
    share, (count, unit) = fired_share(tap), _decisions(tap, layer)
    figure = new_figure(9.2, 3.2 + 2.1 * (shown - 1))
    grid = figure.add_gridspec(shown, 3, width_ratios=(1, 1, 1.75))
    masks = []
    for n in range(shown):
        _show_image(figure.add_subplot(grid[n, 0]), images[n], Path(names[n]).name[-30:])
        masks.append(figure.add_subplot(grid[n, 1]))
        place = f"{share.shape[1]} x {share.shape[2]} pixels, sparsity {1 - share[n].mean():.3f}"
        mapped = _show_mask(masks[-1], share[n], place)
    figure.colorbar(mapped, ax=masks, label=f"share of fired {unit}", shrink=0.9, ticks=(0, 0.25, 0.5, 0.75, 1))
    _histogram(figure.add_subplot(grid[:, 2]), layer, tap, unit, mode)
    more = f", {len(images)} images" if len(images) > 1 else ""
    figure.suptitle(
        f"{layer.name}, {mode} mode: sparsity {_sparsity(tap):.3f} over {count} {unit} a pixel{more}",
        fontsize=11,
    )
    figure.supxlabel(note, fontsize=7)
    return figure


def _histogram(axes: Any, layer: IntLayer, tap: Tap, unit: str, mode: str) -> None:
    values = relative_saliency(layer, tap)
    fires = float((values > 0).mean()) if len(values) else 0.0
    # Farther values, which are few, count in the outermost bars.
    low, high = (max(values.min(), -6), min(values.max(), 6)) if len(values) else (-1, 1)
    width = max(float(high - low), 1e-3) / 60
    # An edge at 0, and a tie, which does not fire, left of it.
    edges = np.arange(min(np.floor(low / width), -1), max(np.ceil(high / width), 1) + 1) * width
    inside = np.clip(values, edges[0], edges[-1])
    left, right = inside[values <= 0], inside[values > 0]
    axes.hist(
        np.where(left == 0, -width / 2, left),
        bins=edges,
        color=CONDITIONAL,
        hatch="////",
        edgecolor="white",
        linewidth=0,
        label=f"not above K: {100 * (1 - fires):.1f} %",
    )
    axes.hist(right, bins=edges, color=BASE, label=f"above K: {100 * fires:.1f} %")
    axes.axvline(0, color="black", linewidth=1.2)
    axes.set_xlabel(f"(saliency - K) / standard deviation, by {unit[:-1]}")
    axes.set_ylabel("decisions")
    axes.set_ylim(top=1.02 * axes.get_ylim()[1])
    told = "" if mode in ("gated", "channel") else f" (not used in {mode} mode)"
    axes.set_title(f"saliency against the threshold{told}", pad=24)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, borderaxespad=0.2)


def mask_sheet(taps: Sequence[tuple[IntLayer, Tap]], image: np.ndarray, name: str, mode: str, note: str) -> Figure:
    """Draw the masks of all gated layers on one image, in the order of the network.

    Parameters
    ----------
    taps
        The gated layers, each with what it computed; the first image is shown.
    image, name
        (H, W, 3) uint8, and what it is called.
    mode, note
        As of `mask_picture`.
    """
    across = 4
    down = -(-len(taps) // across)
    figure = new_figure(10.5, 0.9 + 1.95 * down)
    grid = figure.add_gridspec(down, across + 1, width_ratios=(1.25, *[1] * across))
    _show_image(figure.add_subplot(grid[0, 0]), image, Path(name).name[-24:])
    masks = []
    for n, (layer, tap) in enumerate(taps):
        share = fired_share(tap)[0]
        masks.append(figure.add_subplot(grid[n // across, 1 + n % across]))
        mapped = _show_mask(
            masks[-1], share, f"{layer.name}, {share.shape[0]} x {share.shape[1]}\nsparsity {1 - share.mean():.3f}"
        )
    _, unit = _decisions(taps[0][1], taps[0][0])
    figure.colorbar(
        mapped,
        ax=masks,
        label=f"share of fired {unit} at a pixel",
        shrink=0.6,
        aspect=30,
        ticks=(0, 0.25, 0.5, 0.75, 1),
    )
    decided = sum(tap.decision[0].numel() for _, tap in taps if tap.decision is not None)
    fired = sum(int(tap.decision[0].sum()) for _, tap in taps if tap.decision is not None)
    figure.suptitle(
        f"masks of the {len(taps)} gated layers, {mode} mode: sparsity {1 - fired / decided:.3f}", fontsize=11
    )
    figure.supxlabel(note, fontsize=7)
    return figure
