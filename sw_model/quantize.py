"""Post-training quantisation: `python -m sw_model.quantize --checkpoint runs/x/last.ckpt --data FOLDER --out FILE`.

What it does is told in `sw_model.quantisation.post_training`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cdgate.errors import DataError
from sw_model.data.sources import DIGITS
from sw_model.evaluation.gating_report import print_quantisation
from sw_model.quantisation.post_training import quantize_checkpoint

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Quantise a training checkpoint and evaluate it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sw_model.quantize", description="Quantise a trained network.")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="training checkpoint, as runs/NAME/decay.ckpt, or of --float16"
    )
    parser.add_argument("--data", required=True, help=f"{DIGITS} or a folder, see sw_model/data/sources.py")
    parser.add_argument(
        "--out", type=Path, help="safetensors file to write (default: network.safetensors beside the checkpoint)"
    )
    parser.add_argument("--float16", type=Path, help="safetensors file for the network before it was quantised")
    parser.add_argument("--results", type=Path, help="JSON file that the figures are written to")
    parser.add_argument("--limit", type=int, help="evaluate only the first test images")
    parser.add_argument("--batches", type=int, default=50, help="batches of 256 for BatchNorm's statistics")
    parser.add_argument("--batches2", type=int, default=50, help="the same for those of branch 2's saliency")
    parser.add_argument("--workers", type=int, default=1, help="processes of the evaluation, threads of the rest")
    args = parser.parse_args(argv)
    try:
        _run(args, ["python", "-m", "sw_model.quantize", *(sys.argv[1:] if argv is None else argv)])
    except (DataError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace, command: list[str]) -> None:
    for name in ("batches", "batches2", "workers"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, not {getattr(args, name)}")
    if not args.checkpoint.is_file():
        raise ValueError(f"training checkpoint must exist, not {args.checkpoint}")
    out = args.out or args.checkpoint.with_name("network.safetensors")
    figures = quantize_checkpoint(
        args.checkpoint, args.data, out, float16=args.float16, limit=args.limit, batches=args.batches,
        batches2=args.batches2, workers=args.workers,
    )  # fmt: skip
    figures = {"command": " ".join(command), **figures}
    if args.results:
        args.results.parent.mkdir(parents=True, exist_ok=True)
        args.results.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print_quantisation(figures)


if __name__ == "__main__":
    sys.exit(main())
