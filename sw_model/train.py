"""Train a network: contrastive phase, supervised phase, linear decay of the learning rate, then quantisation.

    python -m sw_model.train                                        # digits, which need no download
    python -m sw_model.train --data FOLDER --run runs/full          # CIFAR or a folder of images

The same command continues a run that was killed. The supervised phase has a constant learning rate and may be ended at
any time (`--decay-at`, or a file `decay-now` in the run's folder); the decay phase then takes the rate to zero. With
`--seconds` the phases share a time, all launches together, in the ratio of their epochs, and end with it. With
`--from CHECKPOINT` another run goes on with the network. Options that are not given have values that suit the data set.
"""

import argparse
import datetime
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch

from cdgate.cli import Parser, run
from cdgate.errors import UsageError
from cdgate.files import write_json
from sw_model.data.dataset import DataSet
from sw_model.data.sources import DIGITS, load_data
from sw_model.evaluation.gating_report import print_evaluation
from sw_model.network.methods import METHODS
from sw_model.network.resnet import ResNet
from sw_model.network.weights import load_model, training_facts
from sw_model.quantisation.folding import obstacle
from sw_model.quantisation.post_training import quantize_checkpoint
from sw_model.training.machine import PRECISIONS
from sw_model.training.options import (
    INTERRUPTED,
    check_machine,
    check_numbers,
    command_line,
    keep_options,
    only_run,
    read_json,
)
from sw_model.training.phase import PHASES, Phase, Settings, first_process, train_phase
from sw_model.training.record import note_launch, write_summary

PROG = "sw_model.train"

#: Defaults: (usual ones, those of digits). Crops are three quarters of the image, but at least 16 pixels; the decay
#: sees whole images.
DEFAULTS: dict[str, tuple[Any, Any]] = {
    "run": (Path("runs/full"), Path("runs/digits")),
    "width": (1.0, 0.5),
    "contrastive_epochs": (1, 8),
    "contrastive_batch": (128, 128),
    "contrastive_lr": (0.06, 0.06),
    "contrastive_target": (0.57, 0.57),
    "supervised_epochs": (3, 12),
    "supervised_batch": (64, 64),
    "supervised_lr": (0.06, 0.06),
    "supervised_target": (0.2, 0.57),
    "decay_epochs": (1, 4),
    "decay_batch": (64, 64),
}


def default(name: str) -> str:
    """Text of an option's defaults, for its help."""
    usual, digits = DEFAULTS[name]
    return f"default: {usual}" + (f", of digits {digits}" if digits != usual else "")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog=PROG, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", default=DIGITS, help="digits, or a folder, see sw_model/data/sources.py (default: %(default)s)")
    add("--run", type=Path, help=f"folder of checkpoints and logs ({default('run')})")
    add("--seed", type=int, default=1, help="of weights, order and augmentation (default: %(default)s)")
    add("--quantize", action=argparse.BooleanOptionalAction,
        help="quantise and evaluate (default: only on digits, and only what the engine can run)")  # fmt: skip
    add("--from", dest="start", type=Path, metavar="CKPT",
        help="begin with the network of this training checkpoint or quantised network; no contrastive phase then "
        "unless --contrastive-epochs asks for it, and T goes on as it was")  # fmt: skip
    network = parser.add_argument_group("network", "without effect beside --from")
    network.add_argument("--method", default="scdg", help=f"one of {', '.join(METHODS)} (default: %(default)s)")
    network.add_argument("--width", type=float, help=f"multiplier of the channel counts ({default('width')})")
    network.add_argument("--depth", type=int, default=18, help="of the ResNet: 10, 18, 20 or 34 (default: %(default)s)")
    network.add_argument("--groups", type=int, default=4, help="gating groups G (default: %(default)s)")
    network.add_argument(
        "--slice-size", type=int, default=8, help="output channels that share a decision in SCDG (default: %(default)s)"
    )
    network.add_argument("--density", type=float, help="share of channels kept, in FBS (default: 0.62) and DGC (0.47)")
    for phase in PHASES:
        group = parser.add_argument_group(f"{phase} phase")
        for name, kind, text in (
            ("epochs", float, "passes over the images, need not be whole"),
            ("batch", int, "images in a batch"),
            ("lr", float, "peak learning rate"),
            ("target", float, "T of the thresholds"),
        ):
            if f"{phase}_{name}" in DEFAULTS:
                group.add_argument(f"--{phase}-{name}", type=kind, help=f"{text} ({default(f'{phase}_{name}')})")
        share = "the image's" if phase == "decay" else "three quarters of the image's, at least 16"
        group.add_argument(f"--{phase}-size", type=int, help=f"height of the crops (default: {share})")
    budget = parser.add_argument_group("budget")
    add = budget.add_argument
    add("--steps", type=int, help="at most this many steps of each phase, for a trial")
    add("--seconds", type=float, metavar="S", help="train so long in all, instead of whole epochs")
    add("--decay-at", metavar="HH:MM", help="end the supervised phase at this time, UTC")
    add("--save-every", type=float, default=300, metavar="S", help="seconds between saves (default: %(default)s)")
    add("--precision", default="bf16-mixed", help=f"{' or '.join(PRECISIONS)} (default: %(default)s)")
    add("--compile", action="store_true", help="compile the network: minutes to start, then a quarter faster")
    add("--accelerator", default="cpu", help="cpu, gpu or auto (default: %(default)s)")
    add("--devices", type=int, default=1, help="devices trained on together by DDP (default: %(default)s)")
    add("--threads", type=int, default=1, help="threads of this process on the CPU (default: %(default)s)")
    return parser


def fill(args: argparse.Namespace) -> None:
    """Give the options that were left out the values that suit the data set, and the network's training so far.

    The T that a network was trained with comes with its checkpoint, in `train`; batches come with the data.
    """
    if args.start is not None and args.contrastive_epochs is None:
        args.contrastive_epochs = 0
    for name, values in DEFAULTS.items():
        later = name.endswith("_batch") or (name == "supervised_target" and args.start is not None)
        if getattr(args, name) is None and not later:
            setattr(args, name, values[args.data == DIGITS])


def check(args: argparse.Namespace) -> None:
    """Refuse values that would fail later.

    Raises
    ------
    UsageError
        Names the option and what is allowed.
    """
    if args.method not in METHODS:
        raise UsageError(f"--method must be one of {', '.join(METHODS)}, not {args.method!r}")
    check_numbers(args, *(f"{phase}_{name}" for phase in PHASES for name in ("epochs", "batch")))
    check_numbers(args, *(f"{phase}_{name}" for phase in PHASES[:2] for name in ("lr", "target")))
    check_numbers(args, "groups", "save_every", "seconds")
    if not phases_to_train(args):
        raise UsageError("--contrastive-epochs, --supervised-epochs or --decay-epochs must be more than 0")
    check_machine(args, [])
    if args.decay_at is not None:
        try:
            datetime.time.fromisoformat(args.decay_at)
        except ValueError:
            raise UsageError(f"--decay-at must be a time HH:MM, not {args.decay_at!r}") from None


def phases_to_train(args: argparse.Namespace) -> list[str]:
    """The phases that have epochs."""
    return [phase for phase in PHASES if getattr(args, f"{phase}_epochs") > 0]


def fit_to_data(args: argparse.Namespace, data: DataSet) -> None:
    """Choose the batches and the sizes of crops that were left out, and refuse what the images do not allow."""
    for phase in PHASES:
        if getattr(args, f"{phase}_batch") is None:
            usual, digits = DEFAULTS[f"{phase}_batch"]
            # A small folder of images is one batch, as even as the devices need it.
            most = len(data.train) // args.devices * args.devices
            setattr(args, f"{phase}_batch", min(digits if args.data == DIGITS else usual, most))
    for phase in phases_to_train(args):
        size = getattr(args, f"{phase}_size")
        if size is None:
            size = data.size if phase == "decay" else max(16, data.size * 3 // 4)
            setattr(args, f"{phase}_size", size)
        if not 8 <= size <= data.size:
            raise UsageError(f"--{phase}-size must be between 8 and {data.size}, not {size}")
        batch = getattr(args, f"{phase}_batch")
        if batch > len(data.train):
            raise UsageError(f"--{phase}-batch must be at most {len(data.train)}, not {batch}")
    check_machine(args, [getattr(args, f"{phase}_batch") for phase in phases_to_train(args)])


def deadline(clock: str, started: float) -> float:
    """The first moment after `started` at which the UTC clock shows HH:MM; both in seconds since 1970."""
    day = datetime.datetime.fromtimestamp(started, datetime.UTC)
    moment = datetime.datetime.combine(day.date(), datetime.time.fromisoformat(clock), datetime.UTC).timestamp()
    return moment if moment > started else moment + 86400


def make_phase(args: argparse.Namespace, name: str) -> Phase:
    """What the options say about a phase; the decay goes on with rate and target of the supervised phase."""
    like = "supervised" if name == "decay" else name
    epochs, seconds = getattr(args, f"{name}_epochs"), math.inf
    if args.seconds is not None and epochs:
        all_epochs = sum(getattr(args, f"{phase}_epochs") for phase in PHASES)
        epochs, seconds = math.inf, args.seconds * epochs / all_epochs
    return Phase(
        name=name,
        epochs=epochs,
        seconds=seconds,
        size=getattr(args, f"{name}_size"),
        batch_size=getattr(args, f"{name}_batch"),
        lr=getattr(args, f"{like}_lr"),
        target=getattr(args, f"{like}_target"),
        schedule="linear" if name == "decay" else "constant",
    )


def make_model(args: argparse.Namespace, data: DataSet) -> ResNet:
    """The network that the options and the data set ask for, untrained or from a checkpoint."""
    if args.start is not None:
        return start_model(args.start, data)
    model = ResNet(
        args.width, args.depth, args.groups, args.slice_size, num_classes=len(data.classes), density=args.density,
        stem=data.stem, **METHODS[args.method].network,
    )  # fmt: skip
    model.mean.copy_(torch.tensor(data.mean).view(3, 1, 1))
    model.std.copy_(torch.tensor(data.std).view(3, 1, 1))
    return model


def start_model(path: Path, data: DataSet) -> ResNet:
    """The network of a checkpoint, if it suits the data set; raises UserError if not."""
    model = load_model(path)
    for name, found, wanted in (
        ("classes are", model.hparams["num_classes"], len(data.classes)),
        ("stem is", model.hparams["stem"], data.stem),
    ):  # fmt: skip
        if found != wanted:
            raise UsageError(f"--from needs a network for {data.name}, whose {name} {wanted}, not {found}")
    return model


def fixed_options(args: argparse.Namespace, model: ResNet, data: DataSet) -> dict[str, Any]:
    """What a run's folder must go on with; epochs, rates and T may change from one launch to the next."""
    names = ("seed", "start", *(f"{phase}_{name}" for phase in PHASES for name in ("batch", "size")))
    return {"data": data.name, "network": model.hparams, **{name: getattr(args, name) for name in names}}


def train(args: argparse.Namespace, command: str) -> int:
    """Run all phases that are not complete, and quantise; returns the exit status."""
    data = load_data(args.data)
    fit_to_data(args, data)
    torch.manual_seed(args.seed)
    model = make_model(args, data)
    if args.supervised_target is None:
        usual = DEFAULTS["supervised_target"][args.data == DIGITS]
        args.supervised_target = training_facts(args.start).get("target", usual)
    reason = obstacle(model)
    if args.quantize and reason:
        raise UsageError(f"--quantize must be left out here: {reason}")
    if not first_process():
        return run_phases(args, model, data, command)
    with only_run(args.run):
        keep_options(args.run / "options.json", fixed_options(args, model, data))
        note_launch(args.run, command)
        run_phases(args, model, data, command)
    if args.quantize is False or (args.quantize is None and args.data != DIGITS):
        return 0
    if reason:
        print(f"not quantised: {reason}", flush=True)
        return 0
    finish(args)
    return 0


def run_phases(args: argparse.Namespace, model: ResNet, data: DataSet, command: str) -> int:
    """Run all phases that are not complete."""
    if args.decay_at is not None:
        args.stop_time = start_time(args)

    def stop() -> bool:
        late = args.decay_at is not None and time.time() >= args.stop_time
        return late or (args.run / "decay-now").exists()

    settings = Settings(
        run=args.run, seed=args.seed, steps=args.steps, save_every=args.save_every, compiled=args.compile,
        accelerator=args.accelerator, devices=args.devices, precision=args.precision,
    )  # fmt: skip
    for name in PHASES:
        never = name != "supervised"
        train_phase(make_phase(args, name), model, data, settings, (lambda: False) if never else stop)
        if first_process():
            content = {"command": command, "seed": args.seed, "data_set": data.name, "network": dict(model.hparams),
                       "precision": args.precision}  # fmt: skip
            write_summary(args.run, content, [make_phase(args, name) for name in PHASES], len(data.train))
    return 0


def finish(args: argparse.Namespace) -> None:
    """Quantise and evaluate the network of the last phase that was trained."""
    last = next(path for name in reversed(PHASES) if (path := args.run / f"{name}.ckpt").exists())
    out, results = args.run / "network.safetensors", args.run / "results.json"
    options = ["--checkpoint", last, "--data", args.data, "--out", out, "--workers", args.threads]
    figures = quantize_checkpoint(last, str(args.data), out, workers=args.threads)
    try:
        print_evaluation(figures)
    finally:  # a closed terminal costs no results
        write_json(results, {"command": " ".join(map(str, ["python -m sw_model.quantize", *options])), **figures})
    print(f"network: {out}\nresults: {results}", flush=True)


def start_time(args: argparse.Namespace) -> float:
    """The moment of `--decay-at`, fixed when the run first starts so that a later restart does not wait a day."""
    note = args.run / f"decay-at-{args.decay_at.replace(':', '')}"
    if not note.exists():
        write_json(note, deadline(args.decay_at, time.time()))
    return float(read_json(note))


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 2 for bad input, 1 if training diverges, 130 if interrupted."""

    def work() -> int:
        args = build_parser().parse_args(argv)
        fill(args)
        check(args)
        torch.set_num_threads(args.threads)
        return train(args, command_line("sw_model.train", argv, str(args.data)))

    return run(PROG, work, INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
