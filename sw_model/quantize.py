"""Post-training quantisation: `python -m sw_model.quantize --checkpoint runs/x/decay.ckpt --data FOLDER --out FILE`.

What it does is told in `sw_model.quantisation.post_training`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from cdgate.cli import Parser, run
from cdgate.files import write_json
from sw_model.data.sources import DIGITS
from sw_model.evaluation.gating_report import print_evaluation
from sw_model.quantisation.post_training import quantize_checkpoint
from sw_model.training.options import check_numbers, check_output

__all__ = ["main"]

PROG = "sw_model.quantize"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROG, description="Quantise a trained network, and evaluate it before and after.")
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="training checkpoint, as runs/NAME/decay.ckpt, or of --float16")
    add("--data", required=True, help=f"{DIGITS} or a folder, see sw_model/data/sources.py")
    add("--out", type=Path, help="safetensors file to write (default: network.safetensors beside the checkpoint)")
    add("--float16", type=Path, help="safetensors file for the network before it was quantised")
    add("--results", type=Path, help="JSON file that the figures are written to")
    add("--limit", type=int, help="evaluate only the first test images")
    add("--batches", type=int, default=50, help="batches of 256 for BatchNorm's statistics (default: %(default)s)")
    add("--batches2", type=int, default=50, help="the same for branch 2's saliency (default: %(default)s)")
    add("--workers", type=int, default=1, help="processes of the evaluation, threads of the rest")
    return parser


def quantize(args: argparse.Namespace, command: str) -> int:
    """Quantise, evaluate, print, and write the results; returns the exit status."""
    check_numbers(args, "batches", "batches2", "workers")
    out = args.out or args.checkpoint.with_name("network.safetensors")
    for option, path in (("--out", out), ("--float16", args.float16), ("--results", args.results)):
        check_output(option, path)
    figures = quantize_checkpoint(
        args.checkpoint, args.data, out, float16=args.float16, limit=args.limit, batches=args.batches,
        batches2=args.batches2, workers=args.workers,
    )  # fmt: skip
    try:
        print_evaluation(figures)
    finally:  # a closed terminal costs no results
        if args.results:
            write_json(args.results, {"command": command, **figures})
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""

    def work() -> int:
        args = build_parser().parse_args(argv)
        words = sys.argv[1:] if argv is None else argv
        return quantize(args, shlex.join(["python", "-m", PROG, *words]))

    return run(PROG, work)


if __name__ == "__main__":
    sys.exit(main())
