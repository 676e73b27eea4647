"""Accuracy and gating of a quantised network: `python -m sw_model.evaluate --data digits|FOLDER`.

Three accuracies of the same checkpoint are given: gated, base-only (no decision fires) and all-fire. The last two are
no baselines, since the network was trained with its gates. Sparsities are counted on all images evaluated; whether the
gating is dynamic, on the first 200; zeros in the ofmaps, on the default photographs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cdgate.cli import Parser, run
from cdgate.files import write_json
from sw_model.data.sources import DIGITS, load_data
from sw_model.evaluation.gating_report import as_json, print_evaluation
from sw_model.evaluation.workers import Task, check_classes, evaluate_all, held_out
from sw_model.integer.checkpoint import DEFAULT_CHECKPOINT, load
from sw_model.training.options import check_numbers, check_output

__all__ = ["main"]

PROG = "sw_model.evaluate"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROG, description="Evaluate a quantised network.")
    add = parser.add_argument
    add("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="safetensors file (default: the repository's)")
    add("--data", required=True, help=f"{DIGITS} or a folder, see sw_model/data/sources.py")
    add("--limit", type=int, help="evaluate only the first test images")
    add("--workers", type=int, default=1, help="processes (default: %(default)s)")
    add("--json", type=Path, help="file that the figures are written to")
    return parser


def evaluate(args: argparse.Namespace) -> int:
    """Evaluate a checkpoint, print the figures and write them; returns the exit status."""
    check_numbers(args, "workers")
    check_output("--json", args.json)
    net = load(args.checkpoint)
    data = load_data(args.data)
    check_classes(net.layers[-1].out_ch, data)
    images, labels = held_out(data, args.limit)
    results = evaluate_all(Task(net, None, images, labels), args.workers)
    figures = {"checkpoint_sha256": net.digest, **as_json(net, results["gated"].gating)}
    figures["accuracy"] = {
        "int8": results["gated"].top1,
        "int8_base_only": results["base"].top1,
        "int8_all_fire": results["dense"].top1,
        "images": len(images),
    }
    try:
        print_evaluation(figures)
    finally:  # a closed terminal costs no results
        if args.json:
            write_json(args.json, figures)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run(PROG, lambda: evaluate(build_parser().parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
