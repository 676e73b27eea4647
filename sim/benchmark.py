"""How fast the tools are on this machine: ``python -m sim.benchmark`` times generation, simulation and both models.

Nothing is asserted: the numbers are for comparing versions and machines. Per configuration the seconds for generating
the Verilog (nothing is taken from a cache) and the clock cycles simulated a second; for the golden model the images a
second of a random ResNet-18 of full width, on one thread; for training the images a second of dense, SCDG and CGNet
networks, forward and backward on one thread, what gating costs, and the share of the time that convolutions take.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from cdgate.cli import Parser, console, run, say, table
from cdgate.errors import UserError
from cdgate.files import write_if_changed
from cdgate.tools import package_version, verilator_version
from gen import verilog
from gen.layer.compiler import compile_layer
from hw.configurations import CONFIGS, configuration
from hw.params import HwParams
from sim.plan.cases import random_case
from sim.run import core
from sim.run.files import Run
from sim.run.verilog_cache import cached_verilog
from sw_model.data.photographs import default_images
from sw_model.integer.network import IntNetwork
from sw_model.network.methods import METHODS
from sw_model.quantisation.random_network import random_network
from sw_model.training.throughput import training_speed

__all__ = ["BUILD", "benchmark", "generation_seconds", "golden_speed", "main", "show", "simulation_speed"]

#: Where the report is written.
BUILD = Path("build/bench.json")

#: Time that a configuration takes, with its share of the models: for the first line.
MINUTES = 1


def generation_seconds(params: HwParams) -> float:
    """Return the seconds it takes to generate the Verilog of an engine."""
    start = time.monotonic()
    verilog.generate(params, "bench")
    return time.monotonic() - start


def simulation_speed(simulator: core.Simulator, params: HwParams, cycles: int) -> dict[str, float]:
    """Time the simulation of a gated layer of 64 x 64 channels, 16 x 16 pixels.

    The layer is run once, and then as often as it takes to simulate some number of cycles; only what the second
    process took longer than the first is counted, so the start of the simulator is not.

    Parameters
    ----------
    simulator, params
        The engine.
    cycles
        Least number of cycles to simulate.

    Returns
    -------
    dict
        ``cycles`` counted, of the passes alone; ``seconds``, which include loading and reading back; and
        ``cycles_per_second``.
    """
    # Ifmap and ofmap fit a bank of 16 KiB.
    case = random_case(1, in_ch=64, out_ch=64, size=(16, 16))
    program = compile_layer(case.layer, case.ifmap, None, params, "gated")
    job = Run(program=program, cycle_limit=10_000_000)

    def timed(count: int) -> tuple[int, float]:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            outputs = simulator.run([job] * count, Path(folder) / "runs")
            return sum(output.counters["cycles"] for output in outputs), time.monotonic() - start

    first, once = timed(1)
    more, long = timed(1 + max(1, -(-cycles // first)))
    seconds = max(long - once, 1e-3)
    return {"cycles": more - first, "seconds": seconds, "cycles_per_second": (more - first) / seconds}


def golden_speed(network: IntNetwork, images: int) -> dict[str, float]:
    """Time the gated golden model on some of the photographs, after a first image."""
    pixels = torch.stack([torch.as_tensor(image) for _, image in default_images(images)])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network.run(pixels[:1], "gated", only=[])
        start = time.monotonic()
        network.run(pixels, "gated", only=[])
        seconds = time.monotonic() - start
    finally:
        torch.set_num_threads(threads)
    return {"images": images, "seconds": seconds, "images_per_second": images / seconds}


def benchmark(
    names: list[str], cycles: int, width: float, images: int, seconds: float, say: Callable[[str], None] = say
) -> dict[str, Any]:
    """Measure configurations and the golden model; return the report.

    Parameters
    ----------
    names
        Configurations.
    cycles
        Least number of cycles to simulate of each.
    width, images
        Of the networks, 1 for the full one, and how many photographs the golden model is given.
    seconds
        Least time for which the training of each method is timed.
    say
        Told what is going on.
    """
    rows = {}
    for name in names:
        params = configuration(name).params
        say(f"{name}: generating the Verilog")
        generation = generation_seconds(params)
        path = cached_verilog(name)
        simulator = core.build(path, announce=partial(say, f"{name}: building the simulator"))
        say(f"{name}: simulating")
        rows[name] = {
            "generate_seconds": generation,
            "verilog_lines": len(path.read_text().splitlines()),
            **simulation_speed(simulator, params, cycles),
        }
    say("golden model: making a network")
    # The narrowest network has too few channels for four groups.
    network = random_network(width=width, seed=0, groups=4 if width >= 0.5 else 2)
    say("golden model: running")
    golden = golden_speed(network, images)
    say("training: timing")
    return {
        "schema": 1,
        "configs": rows,
        "golden_model": {"width": width, **golden},
        "training": training_speed(width, seconds),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "tools": {
            "python": platform.python_version(),
            "verilator": verilator_version(),
            "amaranth": package_version("amaranth"),
            "torch": package_version("torch"),
        },
    }


def show(report: dict[str, Any], shown: Console) -> None:
    """Print a report for people."""
    machine = report["machine"]
    speed = table(
        f"Speed on {machine['cores']} cores, load {machine['load']:.1f}",
        *("configuration", "Verilog\nlines", "generation\ns", "simulated\ncycles", "cycles/s"),
    )
    for name, row in report["configs"].items():
        speed.add_row(
            name,
            f"{row['verilog_lines']:,}",
            f"{row['generate_seconds']:.1f}",
            f"{row['cycles']:,}",
            f"{row['cycles_per_second']:,.0f}",
        )
    shown.print(speed)
    golden = report["golden_model"]
    shown.print(
        f"golden model, gated, width {golden['width']:g}: {golden['images_per_second']:.2f} images/s on one thread"
    )
    training = report["training"]
    title = f"training on one thread, width {training['width']:g}, {training['size']}x{training['size']} images"
    methods = table(title, "method", "images/s", "cost,\ndense = 1", "in\nconvolutions", "other\nwork")
    for method, row in training["methods"].items():
        share = row["convolution_share"]
        methods.add_row(
            METHODS[method].title,
            f"{row['images_per_second']:.1f}",
            f"{row['cost']:.2f}",
            f"{100 * share:.0f} %",
            f"{100 - 100 * share:.0f} %",
        )
    shown.print(methods)


def main(argv: list[str] | None = None) -> int:
    """Measure what the command line says, print a table and write the report."""
    parser = Parser(prog="sim.benchmark", description="Time Verilog generation, simulation, golden model and training.")
    parser.add_argument("config", nargs="*", metavar="CONFIG", help="configuration (default: all)")
    parser.add_argument(
        "--cycles",
        type=int,
        default=500_000,
        metavar="N",
        help="least number of cycles to simulate of each (default: 500000)",
    )
    parser.add_argument("--images", type=int, default=8, metavar="N", help="of the golden model, 1 to 16 (default: 8)")
    parser.add_argument(
        "--width", type=float, default=1.0, metavar="W", help="width of the networks, 1 for ResNet-18 (default: 1)"
    )
    parser.add_argument(
        "--train-seconds",
        type=float,
        default=10,
        metavar="S",
        help="least time for which each method's training is timed (default: 10)",
    )
    parser.add_argument("-o", "--output", type=Path, default=BUILD, metavar="FILE", help=f"report (default: {BUILD})")
    args = parser.parse_args(argv)

    def body() -> int:
        for name in args.config:
            configuration(name)
        for name, high in (("cycles", 10**9), ("images", 16)):
            if not 1 <= getattr(args, name) <= high:
                raise UserError(f"{name} must be 1 to {high}, not {getattr(args, name)}")
        if args.width not in (0.25, 0.5, 1.0):
            raise UserError(f"width must be one of 0.25, 0.5, 1, not {args.width:g}")
        if not args.train_seconds > 0:
            raise UserError(f"train-seconds must be positive, not {args.train_seconds:g}")
        configs = args.config or list(CONFIGS)
        say(f"about {MINUTES * len(configs):g} minutes, twice as long beside other work")
        report = benchmark(configs, args.cycles, args.width, args.images, args.train_seconds)
        write_if_changed(args.output, json.dumps(report, indent=1) + "\n")
        show(report, console())
        print(args.output)
        return 0

    return run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
