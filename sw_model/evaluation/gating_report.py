"""What a results file says about a network's gating, and the table of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from rich.table import Table

from cdgate.cli import console, table
from sw_model.data.photographs import default_images
from sw_model.evaluation.accuracy import Gating
from sw_model.integer import steps as accounting
from sw_model.integer.network import IntNetwork

__all__ = ["as_json", "gating_table", "print_evaluation", "zeros"]

#: Accuracies by their keys in `as_json`'s figures, with the words for them.
_ACCURACIES = {"float32": "float32", "int8": "gated", "int8_base_only": "base-only", "int8_all_fire": "all-fire"}


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
    headings = ("output\nsparsity", "MAC\nsparsity", "speed-up\n(x)", "dynamic\nslices", "zeros, worst\nphotograph")
    made = table("Gating, in % unless said", "layer", *headings)

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    for name, row in figures["layers"].items():
        gated = row["dynamic_slices"] is not None
        sparsity = [percent(row["sparsity"][key]) if gated else "-" for key in ("output", "mac")]
        speedup = f"{row['theoretical_speedup']:.3f}" if gated else "-"
        made.add_row(name, *sparsity, speedup, percent(row["dynamic_slices"]), percent(row["zeros_max"]))
    reduction = figures["flop_reduction"]
    sparsity = [percent(figures["sparsity"][key]) for key in ("output", "mac")]
    made.add_section()
    made.add_row("gated layers", *sparsity, f"{reduction['mac_weighted']:.3f}", percent(figures["dynamic_slices"]), "")
    made.add_row("whole network", "", "", f"{reduction['whole_network']:.3f}", "", "")
    return made


def print_evaluation(figures: dict[str, Any]) -> None:
    """Print the table of `as_json`'s figures, and the accuracies that are among them."""
    out, top1 = console(), figures["accuracy"]
    out.print(gating_table(figures))
    text = ", ".join(f"{name} {100 * top1[key]:.2f} %" for key, name in _ACCURACIES.items() if key in top1)
    out.print(f"top-1 on {top1['images']} images: {text}", soft_wrap=True)
