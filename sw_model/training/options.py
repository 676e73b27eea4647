"""What the training commands share: how they read options, refuse bad ones, and keep a run's folder to one set."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from cdgate.errors import DataError, UsageError
from sw_model.data.sources import DIGITS
from sw_model.training.machine import PRECISIONS, on_gpu

__all__ = ["Parser", "check_machine", "command_line", "exit_status", "keep_options", "write_json"]


class Parser(argparse.ArgumentParser):
    """Parser that reports a wrong option as every other bad input is reported: one line, no usage text."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise UsageError(f"{message}; see --help")


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
    for name, least in (("steps", 1), ("seed", 0), ("devices", 1), ("threads", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} must be at least {least}, not {value}")
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


def exit_status(work: Callable[[], int]) -> int:
    """Run a command's work: its own exit status, 2 with one line for bad input, 130 if it was interrupted."""
    try:
        return work()
    except (DataError, UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last save", file=sys.stderr)
        return 130


def command_line(module: str, argv: Sequence[str] | None, data: str) -> str:
    """A command as results tell it: a folder of data, which is another on every machine, is told as DATA."""
    words = sys.argv[1:] if argv is None else argv
    told = [
        word if data == DIGITS or word not in (data, f"--data={data}") else word.replace(data, "DATA") for word in words
    ]
    return shlex.join(["python", "-m", module, *told])


def write_json(path: Path, content: Any) -> None:
    """Write a file that is never half there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


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
    """
    options = json.loads(json.dumps(options, default=str))
    if not path.is_file():
        write_json(path, options)
        return
    known = json.loads(path.read_text())
    other = sorted(name for name in options if known.get(name) != options[name])
    if other:
        raise UsageError(f"{path.parent} must go on with its own {' and '.join(other)}, not others; name another --run")
