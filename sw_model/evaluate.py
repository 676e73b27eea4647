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

from rich.console import Console

from cdgate.errors import DataError
from sw_model.data.sources import DIGITS, load_data
from sw_model.evaluation.gating_report import as_json, gating_table
from sw_model.evaluation.workers import Task, check_classes, evaluate_all, held_out
from sw_model.integer.checkpoint import DEFAULT_CHECKPOINT, load

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Evaluate a checkpoint; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sw_model.evaluate", description="Evaluate a quantised network.")
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="safetensors file")
    parser.add_argument("--data", required=True, help=f"{DIGITS} or a folder, see sw_model/data/sources.py")
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
