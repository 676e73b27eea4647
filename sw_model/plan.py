"""Train to a time budget on a machine that is lent for minutes, and bring back what came of it in small parts.

    python -m sw_model.plan --data FOLDER --out FOLDER --seconds 540               # there: the plan "first"
    python -m sw_model.plan --merge FOLDER --out runs/back                         # here: the parts put together

A plan is a TOML file of rows, see sw_model/experiment/rows.py; "first" and "second" come with the project. Everything
is done before the seconds are over, whatever the machine: rates fall with the time. What comes back is written after
every save, so an end by force costs five minutes at most. The same command goes on with the folder --run.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from cdgate.cli import Parser, console, run, table
from cdgate.errors import UsageError
from sw_model.data.sources import DIGITS, load_data
from sw_model.experiment.parts import merge_parts
from sw_model.experiment.rows import PLANS, Row, read_plan
from sw_model.experiment.runner import Machine, Runner
from sw_model.training.machine import PRECISIONS, on_gpu
from sw_model.training.options import (
    INTERRUPTED,
    check_machine,
    check_numbers,
    check_output,
    command_line,
    keep_options,
    only_run,
)

__all__ = ["main"]

PROG = "sw_model.plan"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog=PROG, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", help=f"{DIGITS} or a folder, see sw_model/data/sources.py")
    add("--out", type=Path, required=True, help="folder of the parts; with --merge, of what they make")
    add("--seconds", type=float, metavar="S", help="time for everything, from the start of the program on")
    add("--plan", default="first", help=f"{', '.join(PLANS)} or a TOML file (default: %(default)s)")
    add("--merge", type=Path, metavar="FOLDER", help="put the parts in this folder together, and train nothing")
    add("--run", type=Path, default=Path("runs/plan"), help="folder of checkpoints (default: %(default)s)")
    add("--seed", type=int, default=1, help="of weights, order and augmentation (default: %(default)s)")
    add("--save-every", type=float, default=240, metavar="S", help="seconds between saves (default: %(default)s)")
    add("--accelerator", default="auto", help="cpu, gpu or auto (default: %(default)s)")
    add("--precision", help=f"{' or '.join(PRECISIONS)} (default: bf16-mixed on a GPU, else 32-true)")
    add("--compile", action=argparse.BooleanOptionalAction, help="compile the networks (default: on a GPU)")
    add("--threads", type=int, default=1, help="threads of this process on the CPU (default: %(default)s)")
    return parser


def check(args: argparse.Namespace) -> None:
    """Refuse values that would fail later, and fill in what depends on the machine.

    Raises
    ------
    UsageError
        Names the option and what is allowed.
    """
    for name in ("data", "seconds"):
        if getattr(args, name) is None:
            raise UsageError(f"--{name} must be given, unless --merge is")
    gpu = on_gpu(args.accelerator)
    args.precision = args.precision or ("bf16-mixed" if gpu else "32-true")
    args.compile = gpu if args.compile is None else args.compile
    args.devices, args.steps = 1, None
    check_machine(args, [])
    check_numbers(args, "seconds", "save_every")
    check_output("--out", args.out / "manifest.json")


def show(rows: tuple[Row, ...], results: dict[str, Any]) -> None:
    """Print what came of the rows."""
    made = table("Rows", "row", "method", "epochs", "images/s", "sparsity", "linear %", "top-1 %", left=2)
    for row in rows:
        result = results.get(row.name)
        if result is None or row.kind == "speed":
            continue
        phases = result["phases"].values()
        last = list(phases)[-1]
        scores = [
            f"{100 * result[part]['1'][key]:.2f}" if part in result else "-"
            for part, key in (("linear", "linear"), ("fine_tuned", "top1"))
        ]
        epochs, rates = (" + ".join(f"{phase[key]:.4g}" for phase in phases) for key in ("epochs", "images_per_second"))
        made.add_row(row.name, row.method, epochs, rates, f"{last['sparsity']['output']:.3f}", *scores)
    if made.row_count:
        console().print(made)
    for row in rows:
        if row.kind == "speed" and row.name in results:
            for kind in ("eager", "compiled"):
                if kind in results[row.name]:
                    speed, batch = results[row.name][kind]["images_per_second"], results[row.name]["batch"]
                    print(f"{row.method} {kind}, batch {batch}: {speed} images/s")


def work(args: argparse.Namespace, command: str, start: float) -> int:
    """Merge, or run a plan; returns the exit status."""
    if args.merge is not None:
        for path in merge_parts(args.merge, args.out):
            print(path)
        return 0
    check(args)
    rows = read_plan(args.plan)
    torch.set_num_threads(args.threads)
    data = load_data(args.data)
    loaded = time.monotonic() - start
    with only_run(args.run):
        options = {"rows": [asdict(row) for row in rows], "data": data.name, "seed": args.seed}
        keep_options(args.run / "options.json", options)
        machine = Machine(
            accelerator="gpu" if on_gpu(args.accelerator) else "cpu", precision=args.precision, compiled=args.compile,
            seed=args.seed, save_every=args.save_every,
        )  # fmt: skip
        facts = {"command": command, "plan": options["rows"], "seed": args.seed, "load_seconds": round(loaded, 1)}
        runner = Runner(rows=rows, data=data, run=args.run, out=args.out, deadline=start + args.seconds,
                        machine=machine, facts=facts)  # fmt: skip
        results = runner.work()
    show(rows, results)
    print(f"parts: {args.out}, {time.monotonic() - start:.0f} s of {args.seconds:g} s")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 2 for bad input, 1 if training diverges, 130 if interrupted."""
    start = time.monotonic()

    def body() -> int:
        args = build_parser().parse_args(argv)
        return work(args, command_line(PROG, argv, str(args.data)), start)

    return run(PROG, body, INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
