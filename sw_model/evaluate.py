"""Accuracy and gating of a quantised network: `python -m sw_model.evaluate --data digits|FOLDER`.

Three accuracies of the same checkpoint are given: gated, base-only (no decision fires) and all-fire. The last two are
no baselines, since the network was trained with its gates. Sparsities are counted on all images evaluated; whether the
gating is dynamic, on the first 200; zeros in the ofmaps, on the default photographs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from . import accounting
from .checkpoint import DEFAULT_CHECKPOINT, load
from .data import DIGITS, DataError, DataSet, load_data
from .images import default_images
from .int_accuracy import Gating
from .int_model import IntNetwork
from .parallel import Task, evaluate_all

__all__ = ["as_json", "check_classes", "gating_table", "held_out", "main", "zeros"]


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


def check_classes(classes: int, data: DataSet) -> None:
    """Refuse a network with another number of classes than the data set has.

    Raises:
        ValueError: It has.
    """
    if classes != len(data.classes):
        raise ValueError(f"network for {data.name} must have {len(data.classes)} classes, not {classes}")


def held_out(data: DataSet, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the test images and labels of a data set, or the first ones of them."""
    count = len(data.test) if limit is None else limit
    if not 1 <= count <= len(data.test):
        raise ValueError(f"limit must be 1 to {len(data.test)}, not {limit}")
    return data.test[:count].numpy(), data.test_labels[:count].numpy()


def main(argv: list[str] | None = None) -> int:
    """Evaluate a checkpoint; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sw_model.evaluate", description="Evaluate a quantised network.")
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="safetensors file")
    parser.add_argument("--data", required=True, help=f"{DIGITS} or a folder, see sw_model/data.py")
    parser.add_argument("--limit", type=int, help="evaluate only the first test images")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="file that the figures are written to")
    args = parser.parse_args(argv)
    try:
        if args.workers < 1:
            raise ValueError(f"--workers must be at least 1, not {args.workers}")
        net = load(args.checkpoint)
        data = load_data(args.data)
        check_classes(len(net.meta["classes"]), data)
        images, labels = held_out(data, args.limit)
        results = evaluate_all(Task(net, None, images, labels), args.workers)
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
    text = f"gated {top1[0]}, base-only {top1[1]}, all-fire {top1[2]}"
    console.print(f"top-1 on {len(images)} images: {text}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
