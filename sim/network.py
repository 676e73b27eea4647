"""Simulates a whole network with its memory: ``python -m sim.network --images 8``; see ``--help``."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cdgate.cli import Parser, run
from cdgate.errors import CheckpointError, DataError, ImageError, UserError
from cdgate.lock import locked
from gen.config import DEFAULT, config
from gen.cost.traffic import traffic
from sim.check.network import NetworkResult, compare_network
from sim.check.verdict import Verdict
from sim.plan.network import RUNS, Plan, plan
from sim.run import build, system
from sim.run.scenario import PROGRESS, NetworkRun, run_networks
from sim.run.verilog_cache import cached_verilog
from sim.show import report
from sim.show.network_pictures import draw_network
from sim.show.network_report import network_report, print_network
from sw_model.data.photographs import default_images
from sw_model.data.sources import load_data
from sw_model.integer.checkpoint import DEFAULT_CHECKPOINT, load
from sw_model.integer.network import IntNetwork, Result

__all__ = ["execute", "main"]

#: Where reports and the files of the runs are written.
BUILD = Path("build/sim")


def simulate(
    simulator: system.NetworkSimulator,
    plans: Mapping[str, Plan],
    settings: Mapping[str, int],
    work: Path,
    say: Callable[[str], None],
) -> dict[str, list[NetworkRun]]:
    """Run plans side by side, a process of the simulator for each, and tell now and then how far they are."""
    start = told = time.monotonic()
    running = {
        mode: simulator.start(run_networks, ([one.job], dict(settings)), work / mode) for mode, one in plans.items()
    }
    try:
        while not all(one.ended for one in running.values()):
            time.sleep(0.2)
            if time.monotonic() - told >= 5:
                told = time.monotonic()
                say(_progress(plans, work, told - start))
        return {mode: one.result() for mode, one in running.items()}
    finally:
        for one in running.values():
            one.stop()


def _progress(plans: Mapping[str, Plan], work: Path, seconds: float) -> str:
    parts, done, expected = [], 0, 0
    for mode, one in plans.items():
        try:
            cycles, passes = map(int, (work / mode / PROGRESS).read_text(encoding="ascii").split())
        except (OSError, ValueError):
            cycles, passes = 0, 0
        done += cycles
        expected += max(one.prediction.cycles, cycles)
        parts.append(f"{mode}: pass {passes} of {len(one.program.passes)}, {cycles / one.prediction.cycles:.0%}")
    left = f", about {seconds * (expected - done) / done:.0f} s left" if done else ""
    return f"{'; '.join(parts)}; {done / seconds / 1000:.0f} thousand cycles/s{left}"


def execute(
    simulator: system.NetworkSimulator,
    plans: Mapping[str, Plan],
    settings: Mapping[str, int],
    work: Path,
    say: Callable[[str], None],
) -> dict[str, NetworkResult]:
    """Run plans and compare what came; the results by mode."""
    runs = simulate(simulator, plans, settings, work, say)
    return {
        mode: compare_network(one.program, one.job, runs[mode][0], one.golden, one.counts)
        for mode, one in plans.items()
    }


def _images(args: Any) -> tuple[list[str], np.ndarray, list[str | None]]:
    """Return names, pixels and labels."""
    if args.data is None:
        named = default_images(args.images)
        return [name for name, _ in named], np.stack([pixels for _, pixels in named]), [None] * len(named)
    data = load_data(args.data)
    if not 1 <= args.images <= len(data.test):
        raise UserError(f"number of images must be 1 to {len(data.test)}, not {args.images}")
    chosen = slice(args.images)
    labels: list[str | None] = [data.classes[int(label)] for label in data.test_labels[chosen]]
    return [f"{data.name}, test {n}" for n in range(args.images)], np.asarray(data.test[chosen]), labels


def _predictions(
    network: IntNetwork, names: Sequence[str], labels: Sequence[str | None], result: NetworkResult, golden: Result
) -> list[dict[str, Any]]:
    classes = network.meta.get("classes") or [str(n) for n in range(network.layers[-1].out_ch)]
    expected = golden.classes().tolist()
    return [
        {"image": name, "class": classes[found], "reference": classes[right], "label": label}
        for name, found, right, label in zip(names, result.classes, expected, labels, strict=True)
    ]


def _parser() -> Parser:
    parser = Parser(
        prog="sim.network",
        description="Simulate a whole network on the generated Verilog with its memory "
        "behind AXI, and compare every output, every decision and the logits with the reference.",
    )
    parser.add_argument("--images", type=int, default=8, metavar="N", help="number of images (default: 8)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="digits, or a folder of CIFAR-10, CIFAR-100 or images in train/ and val/: its first test "
        "images are taken (default: photographs)",
    )
    parser.add_argument(
        "--bandwidth",
        type=int,
        default=8,
        metavar="N",
        help="bytes a cycle that the memory reads and writes together (default: 8)",
    )
    parser.add_argument(
        "--latency",
        type=int,
        default=40,
        metavar="N",
        help="cycles from an address to the first data or response (default: 40)",
    )
    parser.add_argument(
        "--runs", default="both", metavar="RUNS", help="both, that is gated and dense, or gated (default: both)"
    )
    parser.add_argument("--config", default=DEFAULT, metavar="NAME", help=f"configuration (default: {DEFAULT})")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=DEFAULT_CHECKPOINT,
        metavar="PATH",
        help="checkpoint of the quantised network (default: that of the repository)",
    )
    parser.add_argument("-o", "--output", type=Path, default=BUILD, metavar="DIR", help=f"folder (default: {BUILD})")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _body(args: Any, command: str) -> int:
    if args.runs not in RUNS:
        raise UserError(f"runs must be one of {', '.join(RUNS)}, not {args.runs!r}")
    for name, high in (("bandwidth", 1024), ("latency", 100_000)):
        if not 1 <= getattr(args, name) <= high:
            raise UserError(f"{name} must be 1 to {high}, not {getattr(args, name)}")
    params = config(args.config)
    if not params.trace:
        raise UserError(f"configuration {args.config} has no trace, which the comparison needs")
    try:
        names, images, labels = _images(args)
        network = load(args.checkpoint)
        # Now, as the file may be replaced while the simulation runs; so with the Verilog below.
        checkpoint_sha256 = hashlib.sha256(args.checkpoint.read_bytes()).hexdigest()
    except (CheckpointError, DataError, ImageError) as error:
        raise UserError(str(error)) from None
    plans = {mode: plan(network, params, images, mode, args.bandwidth, args.latency) for mode in RUNS[args.runs]}
    compiled = time.monotonic()

    path = cached_verilog(
        args.config, top="system", announce=lambda: _say(f"generating the Verilog of the engine {args.config}")
    )
    generated = time.monotonic()
    simulator = system.build(path, announce=lambda: _say(f"building the simulator of {path}, once for each text"))
    facts = {
        "command": command,
        "config": args.config,
        "images": len(images),
        "image_names": names,
        "batch": len(images),
        "checkpoint_sha256": checkpoint_sha256,
        "verilog_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tools": report.tool_versions(),
        "wall_seconds": {"generate": round(generated - compiled, 3), "build": round(time.monotonic() - generated, 3)},
    }
    folder = args.output / "network"
    with locked(folder / ".lock", announce=lambda: _say(f"waiting for another run that writes to {folder}")):
        return _simulate_and_report(args, network, plans, simulator, labels, facts)


def _simulate_and_report(
    args: Any,
    network: IntNetwork,
    plans: Mapping[str, Plan],
    simulator: system.NetworkSimulator,
    labels: Sequence[str | None],
    facts: dict[str, Any],
) -> int:
    """Run what was planned, write and print what came, and return the exit status."""
    folder = args.output / "network"
    (folder / "report.json").unlink(missing_ok=True)  # a run that fails must not leave an older one's report
    settings = {"bandwidth": args.bandwidth, "latency": args.latency}
    start = time.monotonic()
    results = execute(simulator, plans, settings, folder / "runs", _say)
    facts["wall_seconds"]["simulate"] = round(time.monotonic() - start, 3)
    gated = [layer.name for layer in network.layers if layer.gated]
    predictions = _predictions(network, facts["image_names"], labels, results["gated"], plans["gated"].golden)
    summed = network_report(
        results,
        {mode: traffic(one.program) for mode, one in plans.items()},
        {mode: one.prediction.layers() for mode, one in plans.items()},
        plans["gated"].program.params,
        gated,
        settings,
        facts,
        predictions,
    )
    written = report.write_report(summed, args.output)
    verdict = Verdict()
    for result in results.values():
        verdict.add(result.total())
    if verdict.holds:  # otherwise its files tell what happened
        shutil.rmtree(folder / "runs")
    console = Console(width=None if sys.stdout.isatty() else 200)
    print_network(summed, verdict, console)
    failed, drawn = None, None
    try:
        drawn = draw_network(summed, folder)
    except UserError as error:  # told after the result
        failed = error
    console.print(f"report: {written}", highlight=False, soft_wrap=True)
    if drawn is not None:
        console.print(f"picture: {drawn}", highlight=False, soft_wrap=True)
    console.print(f"bit_exact: {str(not verdict.mismatches).lower()}", highlight=False)
    if failed is not None:
        _say(f"sim.network: {failed}")
    return 1 if not verdict.holds else 2 if failed is not None else 0


def main(argv: list[str] | None = None) -> int:
    """Simulate what the command line says; return 0 if all is equal, 1 if something differs, 2 on bad input."""
    parser = _parser()
    args = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "sim.network", *(sys.argv[1:] if argv is None else argv)])

    def body() -> int:
        try:
            return _body(args, command)
        except (build.SimulationError, RuntimeError) as error:
            _say(f"{parser.prog}: {' '.join(str(error).split())}")
            return 1

    return run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
