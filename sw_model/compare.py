"""Train and judge one row of the poster's tables: `python -m sw_model.compare --row cdg0 --data FOLDER`.

A row is pre-trained contrastively, judged by linear evaluation and kNN through both branches, and, where the poster
does, fine-tuned with labels and judged again. T of the thresholds is adjusted on the training batches until the
output-weighted sparsity is as wanted. The same command continues a row that was killed. `make table` turns the results
files into tables beside the poster's numbers.

All rows have the same scale and budget by default: quarter width, 8 contrastive epochs of 24x24 crops, 3 epochs of
fine-tuning at 32x32, evaluation at 32x32. On digits, which have 16x16 pixels, crops are 16x16.
"""

import argparse
import json
import math
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cdgate.cli import Parser, run
from cdgate.errors import UsageError
from cdgate.files import write_json
from sw_model.data.dataset import DataSet
from sw_model.data.sources import DIGITS, load_data
from sw_model.evaluation import flops
from sw_model.evaluation.protocols import fine_tuned_evaluation, linear_evaluation
from sw_model.network.methods import METHODS
from sw_model.network.resnet import STAGES, ResNet, current_arguments
from sw_model.training.callbacks import read_log
from sw_model.training.machine import PRECISIONS, hardware, on_gpu
from sw_model.training.options import (
    INTERRUPTED,
    check_machine,
    check_numbers,
    check_output,
    command_line,
    keep_options,
    only_run,
    read_json,
)
from sw_model.training.phase import Phase, Settings, first_process, phase_facts, train_phase

__all__ = ["FINE_TUNED", "ROWS", "main"]

#: Rows in the order in which they are trained. CGNet is not among them: it is cdg100, listed twice by the tables.
ROWS = ("dense", "cdg0", "cdg100", "scdg", "fbs", "dgc", "cdg50", "cdg75")
#: Rows that the poster gives a fine-tuned accuracy for, and the dense baseline.
FINE_TUNED = ("dense", "cdg0", "cdg100", "scdg", "fbs", "dgc")
#: Middle of the band of sparsities, 0.68 to 0.75, in which rows are comparable.
SPARSITY = 0.715
PROG = "sw_model.compare"
BRANCHES = (1, 2)
TUNE_BATCH = 64
CURVE_POINTS = 200


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROG, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--row", required=True, help=f"one of {', '.join(ROWS)}")
    add("--data", required=True, help=f"{DIGITS} or a folder, see sw_model/data/sources.py")
    add("--run", type=Path, help="folder of checkpoints and log (default: runs/table/ROW-SEED)")
    add("--results", type=Path, default=Path("results"), help="folder of the results file (default: %(default)s)")
    add("--seed", type=int, default=1, help="of weights, order and augmentation (default: %(default)s)")
    add("--width", type=float, default=0.25, help="multiplier of the channel counts (default: %(default)s)")
    add("--depth", type=int, default=18, help="of the ResNet: 10, 18, 20 or 34 (default: %(default)s)")
    add("--groups", type=int, default=4, help="gating groups G (default: %(default)s)")
    add("--epochs", type=float, default=8, help="contrastive epochs (default: %(default)s)")
    add("--tune-epochs", type=float, default=3, help="epochs of fine-tuning (default: %(default)s)")
    add("--size", type=int, help="height of the contrastive crops (default: three quarters, 24 of 32, but at least 16)")
    add("--batch", type=int, default=128, help="images in a contrastive batch (default: %(default)s)")
    add("--lr", type=float, default=0.12, help="peak rate, contrastive (default: %(default)s)")
    add("--tune-lr", type=float, default=0.03, help="peak rate, fine-tuning (default: %(default)s)")
    add("--sparsity", type=float, default=SPARSITY, help="wanted, output-weighted (default: %(default)s)")
    add("--steps", type=int, help="at most this many steps of each phase: a trial, whose results stay in its folder")
    add("--bn-batches", type=int, default=50, help="batches of 256 for BatchNorm's statistics (default: %(default)s)")
    add("--threads", type=int, default=1, help="threads of this process on the CPU (default: %(default)s)")
    # At quarter width float32 is a quarter faster on a CPU without matrix units.
    add("--precision", default="32-true", help=f"{' or '.join(PRECISIONS)} (default: %(default)s)")
    add("--accelerator", default="cpu", help="cpu, gpu or auto (default: %(default)s)")
    add("--devices", type=int, default=1, help="devices trained on together by DDP (default: %(default)s)")
    return parser


def check(args: argparse.Namespace) -> None:
    """Refuse values that would fail later.

    Raises
    ------
    UsageError
        Names the option and what is allowed.
    """
    if args.row not in ROWS:
        raise UsageError(f"--row must be one of {', '.join(ROWS)}, not {args.row!r}")
    check_numbers(args, "batch", "bn_batches", "groups", "epochs", "tune_epochs", "lr", "tune_lr", "sparsity")
    check_machine(args, (args.batch, TUNE_BATCH))
    for name in ("epochs", "tune_epochs"):
        if not getattr(args, name):
            raise UsageError(f"--{name.replace('_', '-')} must be more than 0, not {getattr(args, name)}")


def phases(args: argparse.Namespace, data: DataSet) -> tuple[Phase, Phase]:
    """The contrastive phase and the fine-tuning."""
    size = max(16, data.size * 3 // 4) if args.size is None else args.size
    if not 8 <= size <= data.size:
        raise UsageError(f"--size must be between 8 and {data.size}, not {size}")
    if args.batch > len(data.train):
        raise UsageError(f"--batch must be at most {len(data.train)}, not {args.batch}")
    contrastive = Phase(
        name="contrastive", epochs=args.epochs, size=size, batch_size=args.batch, lr=args.lr, schedule="cosine",
        target=0.57, sparsity=args.sparsity,
    )  # fmt: skip
    tuning = replace(
        contrastive, name="supervised", epochs=args.tune_epochs, size=data.size, batch_size=TUNE_BATCH, lr=args.tune_lr,
        schedule="linear",
    )  # fmt: skip
    return contrastive, tuning


def make_model(args: argparse.Namespace, data: DataSet) -> ResNet:
    """The row's network, untrained; slices are of 8 channels, or of 4, 2 or 1 where 8 do not divide an output group."""
    torch.manual_seed(args.seed)
    narrowest = int(STAGES[args.depth][0] * args.width) // args.groups if args.depth in STAGES else 8
    model = ResNet(
        args.width, args.depth, args.groups, math.gcd(8, narrowest), num_classes=len(data.classes), stem=data.stem,
        **METHODS[args.row].network,
    )  # fmt: skip
    model.mean.copy_(torch.tensor(data.mean).view(3, 1, 1))
    model.std.copy_(torch.tensor(data.std).view(3, 1, 1))
    return model


class Evaluations:
    """Evaluations of a run, kept in a file so that none is made twice.

    Parameters
    ----------
    path
        The file.
    device
        Where the networks are evaluated.
    """

    def __init__(self, path: Path, device: str) -> None:
        self.path, self.device = path, device
        self.known: dict[str, Any] = read_json(path) if path.is_file() else {}

    def __call__(self, name: str, protocol: Any, model: ResNet, data: DataSet, branch: int, batches: int) -> Any:
        """The result of a protocol through a branch, with the work that its fire rates make."""
        key = f"{name}, branch {branch}"
        if key not in self.known:
            print(f"{key}: evaluating", flush=True)
            result = protocol(model.to(self.device), data, branch, batches)
            result |= flops.figures(model, data.size, result.pop("fire_rates"))
            self.known[key] = result
            write_json(self.path, self.known)
        known = self.known[key]
        scores = ", ".join(f"{k} {100 * known[k]:.2f} %" for k in ("linear", "knn", "top1") if k in known)
        gates = f", sparsity {known['sparsity']['output']:.3f}" if known["sparsity"] else ""
        print(f"{key}: {scores}{gates}", flush=True)
        return known


def curve(log: Path) -> list[dict[str, Any]]:
    """Loss, sparsity and kNN accuracy over the steps, thinned for a figure; a step that was repeated counts once."""
    rows: dict[tuple[str, int, bool], dict[str, Any]] = {}
    for row in read_log(log):
        point = {"phase": row["phase"], "step": row["step"]}
        point |= {key: round(row[key], 4) for key in ("loss", "knn") if key in row}
        if "sparsity_output" in row:
            point["sparsity"] = round(row["sparsity_output"], 4)
        rows[row["phase"], row["step"], "knn" in row] = point
    points = list(rows.values())
    stride = -(-len(points) // CURVE_POINTS)
    return [point for i, point in enumerate(points) if i % stride == 0 or "knn" in point]


def slug(name: str) -> str:
    """A data set's name as a part of a file's name: the letters and digits before the first comma."""
    return re.sub(r"[^a-z0-9]+", "", name.split(",")[0].lower())


def refuse_to_replace(path: Path, scale: dict[str, Any]) -> None:
    """Refuse to lose results of another scale or budget, before anything is trained.

    Raises
    ------
    UsageError
        The file has such results.
    """
    if path.is_file():
        known, new = read_json(path), json.loads(json.dumps(scale))
        known["network"] = current_arguments(known.get("network", {}))
        other = [name for name, value in new.items() if known.get(name) != value]
        if other:
            raise UsageError(f"{path} must not be replaced by results of another {' and '.join(other)}; name other "
                             "--results")  # fmt: skip


def run_row(args: argparse.Namespace, command: str) -> int:
    """Train and judge a row; returns the exit status."""
    data = load_data(args.data)
    contrastive, tuning = phases(args, data)
    model = make_model(args, data)
    start = time.monotonic()
    folder = args.run or Path(f"runs/table/{args.row}-{args.seed}")
    scale = {
        "data": data.name, "images": {"train": len(data.train), "test": len(data.test)}, "image_size": data.size,
        "network": model.hparams,
        "contrastive": {"epochs": args.epochs, "size": contrastive.size, "batch": args.batch, "lr": args.lr},
        "fine_tuning": {"epochs": args.tune_epochs, "size": tuning.size, "batch": TUNE_BATCH, "lr": args.tune_lr},
        "precision": args.precision,
    }  # fmt: skip
    out = folder / "result.json" if args.steps else args.results / f"{args.row}_{slug(data.name)}_seed{args.seed}.json"
    if not args.steps:
        check_output("--results", out)
        refuse_to_replace(out, scale)
    settings = Settings(
        run=folder, seed=args.seed, steps=args.steps, accelerator=args.accelerator, devices=args.devices,
        precision=args.precision,
    )  # fmt: skip
    if not first_process():
        # Only the first process judges; the others wait for it in the fine-tuning.
        train_phase(contrastive, model, data, settings)
        if args.row in FINE_TUNED:
            train_phase(
                replace(tuning, target=phase_facts(folder / "contrastive.ckpt")["target"]), model, data, settings
            )
        return 0
    with only_run(folder):
        machine = ("run", "results", "threads", "accelerator", "devices")
        keep_options(
            folder / "options.json", {name: value for name, value in vars(args).items() if name not in machine}
        )
        judged = train_and_judge(args, model, data, settings, contrastive, tuning)
    result = {
        "experiment": "comparison", "row": args.row, "title": METHODS[args.row].title, "command": command,
        "seed": args.seed, **scale, "trial_steps": args.steps, "batch_norm_batches": args.bn_batches, **judged,
        "hardware": hardware(), "torch": torch.__version__,
    }  # fmt: skip
    result["wall_seconds"]["this_launch"] = time.monotonic() - start
    write_json(out, result)
    print(f"results: {out}", flush=True)
    return 0


def train_and_judge(
    args: argparse.Namespace, model: ResNet, data: DataSet, settings: Settings, contrastive: Phase, tuning: Phase
) -> dict[str, Any]:
    """Train a row and judge it after either phase; what its results file says of that."""
    folder, device = settings.run, "cuda" if on_gpu(args.accelerator) else "cpu"
    evaluate, seconds = Evaluations(folder / "evaluations.json", device), {}
    train_phase(contrastive, model, data, settings)
    facts = phase_facts(folder / "contrastive.ckpt")
    seconds["contrastive"] = facts["seconds"]
    branches = {b: evaluate("linear evaluation", linear_evaluation, model, data, b, args.bn_batches) for b in BRANCHES}
    tuned = None
    if args.row in FINE_TUNED:
        train_phase(replace(tuning, target=facts["target"]), model, data, settings)
        seconds["fine_tuning"] = phase_facts(folder / "supervised.ckpt")["seconds"]
        tuned = {b: evaluate("fine-tuned", fine_tuned_evaluation, model, data, b, args.bn_batches) for b in BRANCHES}
    return {"target": facts["target"], "linear": branches, "fine_tuned": tuned, "curve": curve(folder / "log.csv"),
            "wall_seconds": seconds}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 2 for bad input, 1 if training diverges, 130 if interrupted."""

    def work() -> int:
        args = build_parser().parse_args(argv)
        check(args)
        torch.set_num_threads(args.threads)
        return run_row(args, command_line("sw_model.compare", argv, args.data))

    return run(PROG, work, INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
