"""Train a network: contrastive phase, supervised phase, linear decay of the learning rate, then quantisation.

    python -m sw_model.train                                        # digits, which need no download
    python -m sw_model.train --data FOLDER --run runs/full          # CIFAR or a folder of images

The same command continues a run that was killed. The supervised phase has a constant learning rate and may be ended at
any time (`--decay-at`, or a file `decay-now` in the run's folder); the decay phase then takes the rate to zero. With
`--from CHECKPOINT` another run goes on with the network. Options that are not given have values that suit the data set.
"""

import argparse
import datetime
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch

from cdgate.errors import UsageError
from sw_model.data.dataset import DataSet
from sw_model.data.sources import DIGITS, load_data
from sw_model.evaluation.gating_report import print_quantisation
from sw_model.network.methods import METHODS
from sw_model.network.resnet import ResNet
from sw_model.network.weights import load_model, training_facts
from sw_model.quantisation.folding import obstacle
from sw_model.quantisation.post_training import quantize_checkpoint
from sw_model.training.machine import PRECISIONS, hardware
from sw_model.training.options import Parser, check_machine, command_line, exit_status, keep_options, write_json
from sw_model.training.phase import PHASES, Phase, Settings, first_process, phase_facts, train_phase

LAUNCHES = "launches.jsonl"  # commands of a run that was restarted, perhaps with other options

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
    parser = Parser(
        prog="python -m sw_model.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", default=DIGITS, help="digits, or a folder, see sw_model/data/sources.py (default: %(default)s)")
    add("--run", type=Path, help=f"folder of checkpoints and logs ({default('run')})")
    add("--seed", type=int, default=1, help="of weights, order and augmentation (default: %(default)s)")
    add("--quantize", action=argparse.BooleanOptionalAction,
        help="quantise and evaluate (default: only on digits, and only what the engine can run)")  # fmt: skip
    add("--from", dest="start", type=Path, metavar="CKPT",
        help="begin with the network of this training checkpoint, or of its float16 file; no contrastive phase then "
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

    The T that a network was trained with comes with its checkpoint, in `train`.
    """
    if args.start is not None and args.contrastive_epochs is None:
        args.contrastive_epochs = 0
    for name, values in DEFAULTS.items():
        if getattr(args, name) is None and (name != "supervised_target" or args.start is None):
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
    for phase in PHASES:
        if not 0 <= getattr(args, f"{phase}_epochs") < math.inf:
            raise UsageError(f"--{phase}-epochs must be 0 or more, not {getattr(args, f'{phase}_epochs')}")
        if getattr(args, f"{phase}_batch") < 2:
            raise UsageError(f"--{phase}-batch must be at least 2, not {getattr(args, f'{phase}_batch')}")
    if not any(getattr(args, f"{phase}_epochs") for phase in PHASES):
        raise UsageError("--contrastive-epochs, --supervised-epochs or --decay-epochs must be more than 0")
    check_machine(args, [getattr(args, f"{phase}_batch") for phase in PHASES])
    if args.decay_at is not None:
        try:
            datetime.time.fromisoformat(args.decay_at)
        except ValueError:
            raise UsageError(f"--decay-at must be a time HH:MM, not {args.decay_at!r}") from None


def fit_to_data(args: argparse.Namespace, data: DataSet) -> None:
    """Choose the sizes of crops that were left out, and refuse what the images do not allow."""
    for phase in PHASES:
        size = getattr(args, f"{phase}_size")
        if size is None:
            size = data.size if phase == "decay" else max(16, data.size * 3 // 4)
            setattr(args, f"{phase}_size", size)
        if not 8 <= size <= data.size:
            raise UsageError(f"--{phase}-size must be between 8 and {data.size}, not {size}")
        batch = getattr(args, f"{phase}_batch")
        if batch > len(data.train):
            raise UsageError(f"--{phase}-batch must be at most {len(data.train)}, not {batch}")


def deadline(clock: str, started: float) -> float:
    """The first moment after `started` at which the UTC clock shows HH:MM; both in seconds since 1970."""
    day = datetime.datetime.fromtimestamp(started, datetime.UTC)
    moment = datetime.datetime.combine(day.date(), datetime.time.fromisoformat(clock), datetime.UTC).timestamp()
    return moment if moment > started else moment + 86400


def make_phase(args: argparse.Namespace, name: str) -> Phase:
    """What the options say about a phase; the decay goes on with rate and target of the supervised phase."""
    like = "supervised" if name == "decay" else name
    return Phase(
        name=name,
        epochs=getattr(args, f"{name}_epochs"),
        size=getattr(args, f"{name}_size"),
        batch_size=getattr(args, f"{name}_batch"),
        lr=getattr(args, f"{like}_lr"),
        target=getattr(args, f"{like}_target"),
        schedule="linear" if name == "decay" else "constant",
    )


def make_model(args: argparse.Namespace, data: DataSet) -> ResNet:
    """The network that the options and the data set ask for, untrained or from a checkpoint."""
    try:
        if args.start is not None:
            return start_model(args.start, data)
        model = ResNet(
            args.width, args.depth, args.groups, args.slice_size, num_classes=len(data.classes), density=args.density,
            stem=data.stem, **METHODS[args.method].network,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(str(error)) from None
    model.mean.copy_(torch.tensor(data.mean).view(3, 1, 1))
    model.std.copy_(torch.tensor(data.std).view(3, 1, 1))
    return model


def start_model(path: Path, data: DataSet) -> ResNet:
    """The network of a checkpoint, if it suits the data set; raises ValueError if not."""
    model = load_model(path)
    for name, found, wanted in (
        ("classes are", model.hparams["num_classes"], len(data.classes)),
        ("stem is", model.hparams["stem"], data.stem),
    ):  # fmt: skip
        if found != wanted:
            raise ValueError(f"--from needs a network for {data.name}, whose {name} {wanted}, not {found}")
    return model


def fixed_options(args: argparse.Namespace, model: ResNet, data: DataSet) -> dict[str, Any]:
    """What a run's folder must go on with; epochs, rates and T may change from one launch to the next."""
    names = ("seed", "start", *(f"{phase}_{name}" for phase in PHASES for name in ("batch", "size")))
    return {"data": data.name, "network": model.hparams, **{name: getattr(args, name) for name in names}}


def write_summary(args: argparse.Namespace, model: ResNet, data: DataSet, command: str) -> None:
    """Write `summary.json`: what was run, phase by phase."""
    phases: dict[str, Any] = {}
    for name in PHASES:
        facts = phase_facts(args.run / f"{name}.ckpt")
        if facts:
            images = facts["steps"] * facts["batch_size"]
            phase = make_phase(args, name)
            phases[name] = {
                "steps": facts["steps"],
                "epochs": round(images / len(data.train), 3),
                "batch_size": facts["batch_size"],
                "image_size": facts["size"],
                "peak_lr": phase.lr,
                "target": phase.target,
                "wall_seconds": round(facts["seconds"], 1),
                "images_per_second": round(images / facts["seconds"], 1),
                "sparsity": facts["sparsity"],
                "complete": facts["complete"],
            }
    summary = {
        "command": command,
        "launches": [json.loads(line) for line in (args.run / LAUNCHES).read_text().splitlines()],
        "seed": args.seed,
        "data_set": data.name,
        "network": dict(model.hparams),
        "regulariser": 1e-2,
        "weight_decay": 5e-4,
        "optimiser": "SGD, Nesterov momentum 0.9",
        "precision": args.precision,
        "phases": phases,
        "wall_seconds": round(sum(p["wall_seconds"] for p in phases.values()), 1),
        "hardware": hardware(),
        "torch": torch.__version__,
    }  # fmt: skip
    write_json(args.run / "summary.json", summary)


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
    args.run.mkdir(parents=True, exist_ok=True)
    if first_process():
        keep_options(args.run / "options.json", fixed_options(args, model, data))
        with (args.run / LAUNCHES).open("a") as file:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            file.write(json.dumps({"time": now, "command": command}) + "\n")
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
            write_summary(args, model, data, command)
    if not first_process() or args.quantize is False or (args.quantize is None and args.data != DIGITS):
        return 0
    if reason:
        print(f"not quantised: {reason}", flush=True)
        return 0
    finish(args)
    return 0


def finish(args: argparse.Namespace) -> None:
    """Quantise and evaluate the network of the last phase that was trained."""
    last = next(path for name in reversed(PHASES) if (path := args.run / f"{name}.ckpt").exists())
    out, results = args.run / "network.safetensors", args.run / "results.json"
    options = ["--checkpoint", last, "--data", args.data, "--out", out, "--workers", args.threads]
    figures = quantize_checkpoint(last, str(args.data), out, workers=args.threads)
    write_json(results, {"command": " ".join(map(str, ["python -m sw_model.quantize", *options])), **figures})
    print_quantisation(figures)
    print(f"network: {out}\nresults: {results}", flush=True)


def start_time(args: argparse.Namespace) -> float:
    """The moment of `--decay-at`, fixed when the run first starts so that a later restart does not wait a day."""
    note = args.run / f"decay-at-{args.decay_at.replace(':', '')}"
    if not note.exists():
        note.write_text(str(deadline(args.decay_at, time.time())))
    return float(note.read_text())


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 2 for bad input, 130 if interrupted."""

    def work() -> int:
        args = build_parser().parse_args(argv)
        fill(args)
        check(args)
        torch.set_num_threads(args.threads)
        return train(args, command_line("sw_model.train", argv, str(args.data)))

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
