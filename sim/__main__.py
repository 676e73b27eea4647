"""Simulates layers of a trained network: ``python -m sim --layer conv3_2``; see ``--help``."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import sys
import time
import tokenize
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from cdgate.cli import Parser, run
from cdgate.errors import CheckpointError, ImageError, UserError
from cdgate.lock import locked
from gen.config import DEFAULT, config
from sim.check.layer import Outcome, combine, execute, sum_up
from sim.check.verdict import Verdict
from sim.plan.layer import MODES, Pass, plan
from sim.run import build, core
from sim.run.verilog_cache import cached_verilog
from sim.show import pictures, report, waves
from sw_model.data.photographs import default_images, load_image
from sw_model.integer.checkpoint import DEFAULT_CHECKPOINT, load
from sw_model.integer.network import IntNetwork

__all__ = ["main"]

#: Where reports and the files of the runs are written.
BUILD = Path("build/sim")

#: What numpy raises for a file that holds no array, or a broken one.
_NO_ARRAY = (
    OSError,
    ValueError,
    EOFError,
    MemoryError,
    OverflowError,
    TypeError,
    KeyError,
    zipfile.BadZipFile,
    tokenize.TokenError,
)


def _parser() -> Parser:
    parser = Parser(
        prog="sim",
        description="Simulate layers of a trained network on the generated Verilog, densely "
        "and gated, and compare every output and every decision with the reference.",
    )
    parser.add_argument(
        "--layer",
        default="conv3_2",
        metavar="NAME",
        help="conv1, conv2_1 ... conv5_4, down3 ... down5, fc, or all (default: conv3_2)",
    )
    parser.add_argument(
        "--mode",
        default="gated",
        metavar="MODE",
        help=f"run besides the dense one: {', '.join(MODES)} (default: gated)",
    )
    parser.add_argument(
        "--mask",
        type=Path,
        metavar="PATH",
        help="in mode forced: .npy file of the layer's decisions, bool (images, slices or channels, "
        "rows, columns), instead of those that the network takes",
    )
    parser.add_argument("--image", type=Path, metavar="PATH", help="image file instead of the photographs")
    parser.add_argument("--images", type=int, metavar="N", help="number of photographs (default: the batch)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images in one pass (default: 1)")
    parser.add_argument("--config", default=DEFAULT, metavar="NAME", help=f"configuration (default: {DEFAULT})")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=DEFAULT_CHECKPOINT,
        metavar="PATH",
        help="checkpoint of the quantised network (default: that of the repository)",
    )
    parser.add_argument(
        "--waves",
        action="store_true",
        help="record the first pass that differs, else the first one that is not dense, once more",
    )
    parser.add_argument(
        "--waves-cycles",
        type=int,
        default=waves.CYCLES,
        metavar="N",
        help=f"cycles to record, around the first mismatch (default: {waves.CYCLES})",
    )
    parser.add_argument("-o", "--output", type=Path, default=BUILD, metavar="DIR", help=f"folder (default: {BUILD})")
    return parser


def _images(args: Any) -> tuple[list[str], np.ndarray]:
    if args.batch < 1:
        raise UserError(f"batch must be at least 1, not {args.batch}")
    if args.image is None:
        named = default_images(args.batch if args.images is None else args.images)
    elif args.images not in (None, 1):
        raise UserError(f"number of images must be 1 with an image file, not {args.images}")
    else:
        named = [(str(args.image), load_image(args.image))]
    if args.batch > len(named):
        raise UserError(f"batch must be at most the number of images, {len(named)}, not {args.batch}")
    return [name for name, _ in named], np.stack([pixels for _, pixels in named])


def _names(network: IntNetwork, wanted: str) -> list[str]:
    if wanted == "all":
        return network.names
    if wanted not in network.names:
        raise UserError(f"layer must be one of {', '.join(network.names)} or all, not {wanted!r}")
    return [wanted]


def _mask(args: Any) -> torch.Tensor | None:
    if args.mask is None:
        return None
    if args.mode != "forced" or args.layer == "all":
        raise UserError("a mask needs mode forced and one layer")
    try:
        with args.mask.open("rb") as file:
            values = np.load(file, allow_pickle=False)
    except _NO_ARRAY as error:
        raise UserError(f"mask must be a readable .npy file, not {args.mask} ({type(error).__name__})") from None
    if not isinstance(values, np.ndarray) or values.dtype != bool:
        found = values.dtype if isinstance(values, np.ndarray) else "an archive"
        raise UserError(f"mask must be a bool array, not {found} in {args.mask}")
    return torch.from_numpy(values)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _waves(outcomes: list[Outcome], verilog: Path, folder: Path, cycles: int) -> list[str]:
    """Record waves and return what to tell about them."""
    simulator = core.build(
        verilog,
        announce=lambda: _say(f"building the simulator of {verilog} that writes waves, once for each text"),
        waves=True,
    )
    window, paths = waves.record(outcomes, simulator, folder, cycles)
    one = outcomes[window.number].planned
    what = (
        f"recorded: cycles {window.first} to {window.last} of layer {one.layer.name}, {one.mode}, "
        f"image {one.first_image}: {window.reason}"
    )
    return [what, *(f"waves: {path}" for path in paths)]


def _body(args: Any, command: str) -> int:
    if args.mode not in MODES:
        raise UserError(f"mode must be one of {', '.join(MODES)}, not {args.mode!r}")
    if not 1 <= args.waves_cycles <= waves.MAX_CYCLES:
        raise UserError(f"number of cycles to record must be 1 to {waves.MAX_CYCLES}, not {args.waves_cycles}")
    params = config(args.config)
    try:
        names, images = _images(args)
        network = load(args.checkpoint)
        # Now, as the file may be replaced while the simulation runs; so with the Verilog below.
        checkpoint_sha256 = hashlib.sha256(args.checkpoint.read_bytes()).hexdigest()
    except (CheckpointError, ImageError) as error:
        raise UserError(str(error)) from None
    layers = _names(network, args.layer)
    passes = plan(network, layers, images, args.mode, params, args.batch, _mask(args))

    start = time.monotonic()
    path = cached_verilog(args.config, announce=lambda: _say(f"generating the Verilog of {args.config}"))
    generated = time.monotonic()
    simulator = core.build(path, announce=lambda: _say(f"building the simulator of {path}, once for each text"))
    facts = {
        "command": command,
        "config": args.config,
        "images": len(images),
        "image_names": names,
        "batch": args.batch,
        "checkpoint_sha256": checkpoint_sha256,
        "verilog_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tools": report.tool_versions(),
        "wall_seconds": {"generate": round(generated - start, 3), "build": round(time.monotonic() - generated, 3)},
    }
    folder = args.output / args.layer
    with locked(folder / ".lock", announce=lambda: _say(f"waiting for another run that writes to {folder}")):
        return _simulate(args, passes, layers, images, simulator, path, facts)


def _simulate(
    args: Any,
    passes: list[Pass],
    layers: list[str],
    images: np.ndarray,
    simulator: core.Simulator,
    verilog: Path,
    facts: dict[str, Any],
) -> int:
    """Run what was planned, write and print what came, and return the exit status."""
    folder = args.output / args.layer
    for name in {args.layer, *layers}:  # a run that fails must not leave an older one's report
        (args.output / name / "report.json").unlink(missing_ok=True)
    start = time.monotonic()
    work = folder / "runs"
    outcomes = execute(passes, simulator, work)
    results = sum_up(outcomes)
    facts["wall_seconds"]["simulate"] = round(time.monotonic() - start, 3)
    reports = [report.layer_report(name, args.mode, results[name], facts) for name in layers]
    written = [report.write_report(one, args.output) for one in reports]
    total = combine(list(results.values()))
    if args.layer == "all":
        summed = report.layer_report("all", args.mode, total, facts)
        written.append(report.write_report({**summed, "layers": reports}, args.output))
        reports.append(summed)
        report.write_table(reports, args.output / "all")
    verdict = Verdict()
    for result in total.values():
        verdict.add(result.verdict)
    if verdict.holds:  # otherwise its files tell what happened
        shutil.rmtree(work)
    console = Console(width=None if sys.stdout.isatty() else 160)
    report.print_report(reports, verdict, args.mode, console)
    lines = [f"report: {written[-1]}"]
    failures: list[str] = []  # told after the result
    try:
        drawn = pictures.draw(
            passes, images, facts["image_names"], args.mode, reports[: len(layers)], folder, args.layer == "all"
        )
        lines += [f"picture: {picture}" for picture in drawn]
    except UserError as error:
        failures.append(str(error))
    try:
        lines += _waves(outcomes, verilog, folder, args.waves_cycles) if args.waves else []
    except (UserError, build.SimulationError) as error:
        failures.append(str(error))
    for line in (*lines, f"bit_exact: {str(not verdict.mismatches).lower()}"):
        console.print(line, highlight=False, soft_wrap=True)
    for failure in failures:
        _say(f"sim: {failure}")
    return 1 if not verdict.holds else 2 if failures else 0


def main(argv: list[str] | None = None) -> int:
    """Simulate what the command line says; return 0 if all is equal, 1 if something differs, 2 on bad input."""
    parser = _parser()
    args = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "sim", *(sys.argv[1:] if argv is None else argv)])

    def body() -> int:
        try:
            return _body(args, command)
        except build.SimulationError as error:
            _say(f"{parser.prog}: {error}")
            return 1

    return run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
