"""Train the gated network: contrastive phase, supervised phase, linear decay of the learning rate.

    python -m sw_model.train --run runs/full

The same command continues a run that was killed. The supervised phase has a constant learning rate and may be ended at
any time (`--decay-at`, or a file `decay-now` in the run's folder); the decay phase then takes the rate to zero.
"""

import argparse
import datetime
import json
import logging
import math
import platform
import shlex
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import torch

from sw_model.data import DataError, data_set_name, load_cifar10
from sw_model.gating import MODES
from sw_model.resnet import ResNet
from sw_model.schedule import linear_decay, warmup_constant
from sw_model.training import (
    Checkpointer,
    ContrastiveModule,
    PhaseModule,
    Progress,
    SupervisedModule,
    TrainingData,
    load_model,
)

PHASES = ("contrastive", "supervised", "decay")
WARMUP_STEPS = 50
LAUNCHES = "launches.jsonl"  # commands of a run that was restarted, perhaps with other options


class UsageError(Exception):
    """An option's value is not allowed; the message says what is."""


class Parser(argparse.ArgumentParser):
    """Parser that reports a wrong option as every other bad input is reported: one line, no usage text."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise UsageError(f"{message}; see --help")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(
        prog="python -m sw_model.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--run", type=Path, default=Path("runs/full"), help="folder of checkpoints and logs (default: %(default)s)")
    add("--data", type=Path, default=Path("data"), help="folder with CIFAR-10 (default: %(default)s)")
    add("--seed", type=int, default=1)
    network = parser.add_argument_group("network")
    network.add_argument("--width", type=float, default=1.0, help="multiplier of the channel counts")
    network.add_argument("--groups", type=int, default=4, help="gating groups G")
    network.add_argument("--slice-size", type=int, default=8, help="output channels that share a decision")
    network.add_argument("--gate-mode", default="slice", help=f"one of {', '.join(MODES)}")
    defaults = (
        ("contrastive", 1, 24, 128, 0.06, 0.57),
        ("supervised", 3, 24, 64, 0.06, 0.2),
        ("decay", 1, 32, 64, None, None),
    )
    for phase, epochs, size, batch, lr, target in defaults:
        group = parser.add_argument_group(f"{phase} phase")
        group.add_argument(f"--{phase}-epochs", type=float, default=epochs, help="default: %(default)s")
        group.add_argument(f"--{phase}-size", type=int, default=size, help="height of the crops (default: %(default)s)")
        group.add_argument(f"--{phase}-batch", type=int, default=batch, help="images in a batch (default: %(default)s)")
        if lr is not None:
            group.add_argument(
                f"--{phase}-lr", type=float, default=lr, help="peak learning rate (default: %(default)s)"
            )
            group.add_argument(
                f"--{phase}-target", type=float, default=target, help="T of the thresholds (default: %(default)s)"
            )
    budget = parser.add_argument_group("budget")
    add = budget.add_argument
    add("--steps", type=int, help="at most this many steps of each phase, for a trial")
    add("--decay-at", metavar="HH:MM", help="end the supervised phase at this time, UTC")
    add("--decay-from", type=Path, metavar="CKPT", help="only the decay phase, from this training checkpoint")
    add("--save-every", type=float, default=300, metavar="S", help="seconds between saves (default: %(default)s)")
    add("--compile", action="store_true", help="compile the network: minutes to start, then a quarter faster")
    return parser


def check(args: argparse.Namespace) -> None:
    """Refuse values that would fail later.

    Raises:
        UsageError: Names the option and what is allowed.
    """
    for phase in PHASES:
        if not getattr(args, f"{phase}_epochs") >= 0:
            raise UsageError(f"--{phase}-epochs must be at least 0, not {getattr(args, f'{phase}_epochs')}")
        if not 8 <= getattr(args, f"{phase}_size") <= 32:
            raise UsageError(f"--{phase}-size must be between 8 and 32, not {getattr(args, f'{phase}_size')}")
        if getattr(args, f"{phase}_batch") < 2:
            raise UsageError(f"--{phase}-batch must be at least 2, not {getattr(args, f'{phase}_batch')}")
    if args.steps is not None and args.steps < 1:
        raise UsageError(f"--steps must be at least 1, not {args.steps}")
    if args.seed < 0:
        raise UsageError(f"--seed must be at least 0, not {args.seed}")
    if args.decay_at is not None:
        try:
            datetime.time.fromisoformat(args.decay_at)
        except ValueError:
            raise UsageError(f"--decay-at must be a time HH:MM, not {args.decay_at!r}") from None


def deadline(clock: str, started: float) -> float:
    """The first moment after `started` at which the UTC clock shows HH:MM; both in seconds since 1970."""
    day = datetime.datetime.fromtimestamp(started, datetime.UTC)
    moment = datetime.datetime.combine(day.date(), datetime.time.fromisoformat(clock), datetime.UTC).timestamp()
    return moment if moment > started else moment + 86400


def phase_facts(path: Path) -> dict[str, Any]:
    """Facts of a phase's checkpoint; empty if there is none."""
    if not path.is_file():
        return {}
    facts: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["facts"]
    return facts


def make_module(args: argparse.Namespace, phase: str, model: ResNet, total: int) -> PhaseModule:
    """The Lightning module of one phase."""
    lr, target = peak(args, phase)
    kind = ContrastiveModule if phase == "contrastive" else SupervisedModule

    def factor(step: int) -> float:
        return linear_decay(step, total) if phase == "decay" else warmup_constant(step, WARMUP_STEPS)

    return kind(model, lr, factor, target=target, compiled=args.compile)


def peak(args: argparse.Namespace, phase: str) -> tuple[float, float]:
    """Peak learning rate and target T of a phase; the decay goes on with those of the supervised phase."""
    if phase == "contrastive":
        return args.contrastive_lr, args.contrastive_target
    return args.supervised_lr, args.supervised_target


def train_phase(args: argparse.Namespace, phase: str, model: ResNet, data: tuple[torch.Tensor, torch.Tensor]) -> bool:
    """Train one phase, or what is left of it; the network of its checkpoint ends up in `model`.

    Returns:
        Whether the phase is complete (False: it was interrupted).
    """
    path = args.run / f"{phase}.ckpt"
    facts = phase_facts(path)
    size, batch_size = getattr(args, f"{phase}_size"), getattr(args, f"{phase}_batch")
    total = math.ceil(getattr(args, f"{phase}_epochs") * len(data[0]) / batch_size)
    total = min(total, args.steps or total)
    if total == 0:
        return True
    if facts.get("complete"):
        model.load_state_dict(load_model(path).state_dict())
        print(f"{phase}: complete after {facts['steps']} steps", flush=True)
        return True
    started = facts.get("started", time.time())
    module = make_module(args, phase, model.train(), total)
    module.facts.update(started=started, phase=phase, size=size, batch_size=batch_size, total_steps=total)

    def stop() -> bool:
        if phase != "supervised":
            return False
        late = args.decay_at is not None and time.time() >= args.stop_time
        return late or (args.run / "decay-now").exists()

    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        precision="bf16-mixed",
        max_steps=total,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            Progress(phase, args.run / "log.jsonl", total, batch_size, show=lambda s: print(s, flush=True)),
            Checkpointer(path, total, args.save_every, stop),
        ],
    )
    batches = TrainingData(*data, phase, size, batch_size, args.seed)
    trainer.fit(module, batches, ckpt_path=str(path) if facts else None, weights_only=True)
    return bool(module.facts.get("complete"))


def write_summary(args: argparse.Namespace, command: str) -> None:
    """Write `summary.json`: what was run, phase by phase."""
    phases: dict[str, Any] = {}
    for phase in PHASES:
        facts = phase_facts(args.run / f"{phase}.ckpt")
        if facts:
            images = facts["steps"] * facts["batch_size"]
            lr, target = peak(args, phase)
            phases[phase] = {
                "steps": facts["steps"],
                "epochs": round(images / 50_000, 3),
                "batch_size": facts["batch_size"],
                "image_size": facts["size"],
                "peak_lr": lr,
                "target": target,
                "wall_seconds": round(facts["seconds"], 1),
                "images_per_second": round(images / facts["seconds"], 1),
                "sparsity": facts["sparsity"],
                "complete": facts["complete"],
            }
    summary = {
        "command": command,
        "launches": [json.loads(line) for line in (args.run / LAUNCHES).read_text().splitlines()],
        "seed": args.seed,
        "data_set": data_set_name(args.data),
        "network": dict(width=args.width, groups=args.groups, slice_size=args.slice_size, gate_mode=args.gate_mode),
        "regulariser": 1e-2,
        "weight_decay": 5e-4,
        "optimiser": "SGD, Nesterov momentum 0.9",
        "precision": "bf16 autocast",
        "phases": phases,
        "wall_seconds": round(sum(p["wall_seconds"] for p in phases.values()), 1),
        "hardware": f"{processor()}, {torch.get_num_threads()} thread",
        "torch": torch.__version__,
    }
    part = args.run / "summary.part"
    part.write_text(json.dumps(summary, indent=1) + "\n")
    part.replace(args.run / "summary.json")


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def train(args: argparse.Namespace, command: str) -> int:
    """Run all phases that are not complete; returns the exit status."""
    torch.manual_seed(args.seed)
    try:
        if args.decay_from is not None:
            model = load_model(args.decay_from)
        else:
            model = ResNet(args.width, 18, args.groups, args.slice_size, args.gate_mode)
    except ValueError as error:
        raise UsageError(str(error)) from None
    x_train, y_train, _, _ = load_cifar10(args.data)
    args.run.mkdir(parents=True, exist_ok=True)
    with (args.run / LAUNCHES).open("a") as file:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        file.write(json.dumps({"time": now, "command": command}) + "\n")
    if args.decay_at is not None:
        args.stop_time = start_time(args)
    data = torch.from_numpy(x_train), torch.from_numpy(y_train)
    for phase in PHASES if args.decay_from is None else PHASES[-1:]:
        if not train_phase(args, phase, model, data):
            return 130
        write_summary(args, command)
    return 0


def start_time(args: argparse.Namespace) -> float:
    """The moment of `--decay-at`, fixed when the run first starts so that a later restart does not wait a day."""
    note = args.run / f"decay-at-{args.decay_at.replace(':', '')}"
    if not note.exists():
        note.write_text(str(deadline(args.decay_at, time.time())))
    return float(note.read_text())


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 2 for bad input, 130 if interrupted."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.*")
    try:
        args = build_parser().parse_args(argv)
        check(args)
        return train(args, shlex.join(["python", "-m", "sw_model.train", *(argv or sys.argv[1:])]))
    except (DataError, UsageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
