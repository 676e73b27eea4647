"""What the commands share: the checks of their options, and what keeps a run's folder to one set and one process."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from cdgate.errors import UsageError, UserError
from cdgate.files import write_json
from cdgate.lock import locked
from sw_model.data.sources import DIGITS
from sw_model.network.resnet import current_arguments
from sw_model.training.machine import PRECISIONS, on_gpu

__all__ = [
    "INTERRUPTED",
    "check_machine",
    "check_numbers",
    "check_output",
    "command_line",
    "keep_options",
    "only_run",
    "read_json",
]

#: What is said after Ctrl-C in training.
INTERRUPTED = "interrupted; the same command goes on from the last save"

#: What number options may be, for all commands that have them: (kind, least, most). "whole" numbers and "real" ones
#: include the limits; "above" excludes the least, "between" both.
LIMITS: dict[str, tuple[str, float, float]] = {
    "seed": ("whole", 0, 2**32 - 1),
    "steps": ("whole", 1, 10**9),
    "devices": ("whole", 1, 1024),
    "threads": ("whole", 1, 1024),
    "workers": ("whole", 1, 1024),
    "groups": ("whole", 1, 1024),
    "batch": ("whole", 2, 2**20),
    "bn_batches": ("whole", 1, 10**6),
    "batches": ("whole", 1, 10**6),
    "batches2": ("whole", 1, 10**6),
    "save_every": ("real", 0, 86400),
    "seconds": ("above", 0, 10**8),
    "epochs": ("real", 0, 10**6),
    "lr": ("above", 0, 100),
    "target": ("real", -10, 10),
    "sparsity": ("between", 0, 1),
}

#: How the limits of a kind are told.
_RULES = {
    "whole": "a whole number from {} to {}",
    "real": "a number from {} to {}",
    "above": "a number above {} and at most {}",
    "between": "a number between {} and {}, without these",
}


def check_numbers(args: argparse.Namespace, *names: str) -> None:
    """Refuse numbers out of their `LIMITS`, those that are not finite among them; an option that was left out is right.

    Parameters
    ----------
    args
        Parsed options.
    names
        Those to look at, as attributes of `args`; the limits are those of the longest of a name's ends that has some,
        so that "supervised_lr" is a rate.

    Raises
    ------
    UsageError
        Names the option and what is allowed.
    """
    for name in names:
        words, value = name.split("_"), getattr(args, name)
        kind, least, most = next(found for i in range(len(words)) if (found := LIMITS.get("_".join(words[i:]))))
        if value is None:
            continue
        inside = least <= value <= most
        if kind in ("above", "between"):
            inside = least < value < most or (kind == "above" and value == most)
        if not inside:
            rule = _RULES[kind].format(least, most)
            raise UsageError(f"--{name.replace('_', '-')} must be {rule}, not {value}")


def check_machine(args: argparse.Namespace, batches: Iterable[int]) -> None:
    """Refuse what every training command refuses: counts, accelerator, devices and precision that there are not.

    Parameters
    ----------
    args
        Parsed options, with seed, steps, devices, threads, accelerator and precision.
    batches
        Images in a batch of each phase, which the devices must share evenly: NT-Xent gathers equal parts.

    Raises
    ------
    UsageError
        Names the option and what is allowed.
    """
    check_numbers(args, "steps", "seed", "devices", "threads")
    if args.accelerator not in ("cpu", "gpu", "auto"):
        raise UsageError(f"--accelerator must be cpu, gpu or auto, not {args.accelerator!r}")
    if args.precision not in PRECISIONS:
        raise UsageError(f"--precision must be {' or '.join(PRECISIONS)}, not {args.precision!r}")
    if args.accelerator == "gpu" and not torch.cuda.is_available():
        raise UsageError("--accelerator must be cpu or auto where there is no GPU, not 'gpu'")
    if on_gpu(args.accelerator) and args.devices > torch.cuda.device_count():
        raise UsageError(
            f"--devices must be at most {torch.cuda.device_count()}, the GPUs there are, not {args.devices}"
        )
    for batch in batches:
        if batch % args.devices or batch < 2 * args.devices:
            raise UsageError(f"--devices must share every batch evenly, two images or more each: not {args.devices} "
                             f"a batch of {batch}")  # fmt: skip


def check_output(option: str, path: Path | None) -> None:
    """Refuse a file that could not be written when the work is done; nothing is made yet.

    Parameters
    ----------
    option
        That names the file.
    path
        The file, whose folder need not exist; None if none was asked for.

    Raises
    ------
    UsageError
        It is a folder, or its folder cannot be made or written to.
    """
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{option} must be a file, not the folder {path}")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{option} must be a file that can be written, not {path}: {folder} is no folder to write to")


def command_line(module: str, argv: Sequence[str] | None, data: str) -> str:
    """A command as results tell it: a folder of data, which is another on every machine, is told as DATA."""
    words = sys.argv[1:] if argv is None else argv
    told = [
        word if data == DIGITS or word not in (data, f"--data={data}") else word.replace(data, "DATA") for word in words
    ]
    return shlex.join(["python", "-m", module, *told])


def read_json(path: Path) -> Any:
    """Read a JSON file that an earlier launch wrote.

    Raises
    ------
    UserError
        It is damaged, or cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path} must be a whole JSON file: it is damaged; remove it, or name another --run") from None


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold a run's folder, so that no other process trains in it; it is made if missing.

    Raises
    ------
    UsageError
        Another process does.
    """

    def refuse() -> NoReturn:
        raise UsageError(f"--run {folder} must not be one that another process trains in now; name another --run")

    with locked(folder / ".lock", announce=refuse):
        yield


def keep_options(path: Path, options: dict[str, Any]) -> None:
    """Note what a run was started with, so that its network cannot come from two different sets of options.

    Parameters
    ----------
    path
        The note, in the run's folder.
    options
        What must stay as it is, by the option's name.

    Raises
    ------
    UsageError
        The run in this folder was started with other options.
    UserError
        The note is damaged.
    """
    options = json.loads(json.dumps(options, default=str))
    if not path.is_file():
        write_json(path, options)
        return
    known = read_json(path)
    if not isinstance(known, dict):
        raise UserError(f"{path} must hold a run's options: it is damaged; remove it, or name another --run")
    if isinstance(known.get("network"), dict):
        known["network"] = current_arguments(known["network"])
    other = sorted(name for name in options if known.get(name) != options[name])
    if other:
        raise UsageError(f"{path.parent} must go on with its own {' and '.join(other)}, not others; name another --run")
