"""Size and speed on an FPGA: ``python -m gen.synth --target ecp5-85f`` runs Yosys and nextpnr on the whole engine.

With ``--top core`` it is the compute core alone. Either sits in a pin harness (`gen.fpga.harness`), whose cells are
counted apart. The report holds what is true after routing; nextpnr prints an estimate before it, which is of no use.
Bitstream and picture of the best seed lie beside it, and the logs.

It goes in three steps, each of which can be run by itself: the netlist is prepared, seeds are placed and routed, their
results are collected. What has been done is not done again, so seeds may be run one by one, on several machines that
share the folder, as by an array of jobs of Slurm: ``--step seed --seed $SLURM_ARRAY_TASK_ID``.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdgate import cli
from cdgate.errors import RunError, UsageError
from cdgate.files import write_file, write_json
from gen.fpga.devices import UNROUTED
from gen.fpga.estimate import check_fits, estimate
from gen.fpga.harness import harness_verilog
from gen.fpga.preparation import Prepared, prepare
from gen.fpga.reports import RESOURCES, resources
from gen.fpga.routed.overhead import overhead as gating_overhead
from gen.fpga.routed.overhead import overhead_table
from gen.fpga.routed.picture import draw
from gen.fpga.routed.results import network_figures, result, result_path
from gen.fpga.seeds import BITSTREAM, LAYOUT, known_seeds, run_seeds, seed_file
from gen.fpga.toolchain import SPEEDS, TARGETS, Target
from gen.verilog import TOPS, stem
from hw.configurations import DEFAULT, Configuration, configuration
from hw.params import HwParams

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["BUILD", "FREQ", "NETWORK", "SEED", "SEEDS", "STEPS", "main", "show", "synthesise"]

#: Where reports and logs are written, a folder for each target.
BUILD = Path("build/synth")

#: Where the cycles of a network are looked for that a result tells beside the clock.
NETWORK = Path("build/sim/network/report.json")

#: Clock that nextpnr aims at unless told otherwise, in MHz. It ends where that is reached; else, much later.
FREQ = 113.0

#: Seeds that are tried, of which the best counts, and the first of them.
SEEDS, SEED = 3, 1

#: What is done: all, or one step alone.
STEPS = ("all", "prepare", "seed", "collect")


def synthesise(
    target_name: str,
    config_source: str | Path | HwParams | Configuration,
    seeds: int = SEEDS,
    freq: float = FREQ,
    folder: Path = BUILD,
    console: Console | None = None,
    top: str = "system",
    first_seed: int = SEED,
    speed: int = SPEEDS[0],
    step: str = STEPS[0],
    results: Path | None = None,
    network: Path | None = None,
    overhead: bool = False,
) -> dict[str, Any] | None:
    """Place and route a configuration on a target; write and return the report.

    Parameters
    ----------
    target_name
        One of `gen.fpga.toolchain.TARGETS`.
    config_source
        The configuration, as `hw.configurations.configuration` takes it.
    seeds, first_seed
        Number of runs of place and route, and the seed of the first one. A seed that fails, or does not come to its end
        within `gen.fpga.toolchain.LIMIT` seconds, has no clock in the report.
    freq
        Clock in MHz that nextpnr aims at: it routes until that is reached.
    folder
        Where report and logs are written, in a folder of the target's name.
    console
        Where it is shown how far the work is.
    top
        What is synthesised, one of `gen.verilog.TOPS`.
    speed
        Speed grade of the device.
    step
        One of `STEPS`. Without "all" or "collect" there is no report, but what is known is shown; None is returned.
    results
        Folder in which the figures of the whole engine are kept, see `gen.fpga.routed.results`; None: nowhere.
    network
        Report of `make network` whose cycles are kept beside them. If not given, it is `NETWORK`, if that is there and
        of this configuration.
    overhead
        Whether the same is done with the engine without gating, whose figures the report has beside its own.

    Raises
    ------
    UserError
        If a value is not allowed, the device is too small, or a tool is missing; nothing has been written then.
    RunError
        If a tool fails before placing, or no seed was routed.
    """
    if target_name not in (*TARGETS, *UNROUTED):
        raise UsageError(f"target must be one of {', '.join(TARGETS)}, not {target_name!r}")
    config = configuration(config_source)
    for name, value, allowed in (("top", top, TOPS), ("speed", speed, SPEEDS), ("step", step, STEPS)):
        if value not in allowed:
            raise UsageError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")
    if seeds < 1:
        raise UsageError(f"seeds must be 1 or more, not {seeds}")
    if first_seed < 0:
        raise UsageError(f"seed must be 0 or more, not {first_seed}")
    if not freq > 0:
        raise UsageError(f"freq must be a clock in MHz, not {freq}")
    check_fits(target_name, config.name, config.params)
    if results is not None and (step in ("prepare", "seed") or top != "system"):
        raise UsageError(f"result must be of the whole engine and all its seeds, not of top {top} and step {step}")
    if network is not None and results is None:
        raise UsageError("network must be given with a result, which tells its cycles")
    cycles = network_figures(network or NETWORK, config.name, network is not None) if results is not None else None
    console = console or cli.console()
    target, folder = replace(TARGETS[target_name], speed=speed), folder / target_name
    engines = {config.name: config.params}
    if overhead:
        engines[f"{config.name}_ungated"] = replace(config.params, gating=False)
    netlists = [
        prepare(target, harness_verilog(params, top), stem(name, top), folder, console)
        for name, params in engines.items()
    ]
    numbers = range(first_seed, first_seed + seeds)
    rows: list[list[dict[str, Any]]] = [[] for _ in netlists]
    if step == "collect":
        rows = [known_seeds(target, netlist, freq, numbers) for netlist in netlists]
    if step in ("all", "seed"):
        rows = [run_seeds(target, netlist, freq, numbers, console) for netlist in netlists]
    prepared = netlists[0]
    size = _count(target_name, target, config, top, prepared)
    if step not in ("all", "collect"):
        console.print(_size(size))
        return None
    report = size | _seeds(freq, rows[0])
    if overhead:
        report["gating_overhead"] = gating_overhead(size, rows[0], resources(netlists[1].facts["cells"]), rows[1])
    report |= _finish(target, prepared, freq, report)
    write_json(folder / "report.json", report)
    if results is not None:
        write_json(result_path(results, target_name, config.name), result(report, config.params, cycles))
    return report


def _count(target_name: str, target: Target, config: Configuration, top: str, prepared: Prepared) -> dict[str, Any]:
    """Return of the report what is known of a netlist before it is placed."""
    facts = prepared.facts
    whole = top == "system"
    return {
        "schema": 2,
        "target": target_name,
        "config": config.name,
        "top": top,
        "device": target.title,
        "speed": target.speed,
        **resources(facts["cells"]),
        "gating_overhead": None,  # unless it is asked for
        "estimate": {name: estimate(config.params)[name] for name in RESOURCES} if whole else None,
        "cells": {top: facts["cells"], "harness": facts["harness"]},
        "harness": resources(facts["harness"]),
        "registers_in_blocks": facts["registers_in_blocks"],
        "verilog_sha256": facts["verilog_sha256"],
        "tools": facts["tools"],
        "synthesis_seconds": facts["seconds"],
    }


def _seeds(freq: float, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return of the report what the seeds say, and the best of them."""
    routed = [row for row in rows if row["fmax_mhz"] is not None]
    if not routed:
        first, last = rows[0]["seed"], rows[-1]["seed"]
        raise RunError(
            f"no seed from {first} to {last} was routed, aiming at {freq:g} MHz; the last: {rows[-1]['why']}"
        )
    speeds = [row["fmax_mhz"] for row in routed]
    best = max(routed, key=lambda row: row["fmax_mhz"])
    return {
        "seeds": len(rows),
        "runs": [{key: row[key] for key in ("seed", "fmax_mhz", "seconds", "why") if key in row} for row in rows],
        "fmax_mhz": {"min": min(speeds), "median": statistics.median(speeds), "max": max(speeds)},
        "best_seed": best["seed"],
        "freq_mhz": freq,
        "utilization": best["utilization"],
        "critical_path": best["critical_path"],
        "endpoints": best["endpoints"],
    }


def _finish(target: Target, prepared: Prepared, freq: float, report: Mapping[str, Any]) -> dict[str, Any]:
    """Write bitstream and picture of the best seed beside the report; return what the report says of them."""
    base, seed = prepared.netlist.removesuffix(".json"), report["best_seed"]
    files = {"bitstream": f"{base}.bit", "picture": f"{base}.png"}
    write_file(prepared.folder / files["bitstream"], seed_file(target, prepared, freq, seed, BITSTREAM).read_bytes())
    layout = json.loads(seed_file(target, prepared, freq, seed, LAYOUT).read_text(encoding="utf-8"))
    title = f"{base} on {target.title}, seed {seed}: {report['fmax_mhz']['max']:.1f} MHz"
    draw(layout, title, prepared.folder / files["picture"])
    return files


def _size(report: Mapping[str, Any]) -> Table:
    """Return the table of what an engine takes: as counted, its harness, and as estimated before."""
    table = cli.table(f"{report['config']} on {report['device']}", "", *RESOURCES)
    for name, counts in ((report["top"], report), ("harness", report["harness"]), ("estimate", report["estimate"])):
        if counts is not None:
            table.add_row(name, *(f"{counts[resource]:,}" for resource in RESOURCES))
    return table


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print a report for people: cells, seeds, clock, the classes of long paths, and what the longest is made of."""
    console.print(_size(report))
    table = cli.table(f"seeds, aiming at {report['freq_mhz']:g} MHz", "seed", "MHz", "minutes")
    for row in report["runs"]:
        done = row["fmax_mhz"] is not None
        table.add_row(
            str(row["seed"]),
            f"{row['fmax_mhz']:.1f}" if done else "failed",
            f"{row['seconds'] / 60:.1f}" if done else "",
        )
    console.print(table)
    if report["gating_overhead"] is not None:
        console.print(overhead_table(report))
    speeds = report["fmax_mhz"]
    console.print(
        f"Fmax after routing: {speeds['max']:.1f} MHz with seed {report['best_seed']}; median {speeds['median']:.1f}, "
        f"least {speeds['min']:.1f}",
        highlight=False,
    )
    table = _names("Longest paths by class, at both ends registers", 2, "from", "to", "paths", "ns", "wires", "fan-out")
    for row in report["endpoints"][:10]:
        table.add_row(
            row["from"], row["to"], str(row["count"]), f"{row['ns']:.2f}", f"{row['wires']:.0%}", str(row["fanout"])
        )
    console.print(table)
    hops = report["critical_path"]
    wires = sum(hop["delay_ns"] for hop in hops if hop["kind"] == "routing")
    title = f"Longest path: {sum(hop['delay_ns'] for hop in hops):.2f} ns, {wires:.2f} ns of it wires"
    table = _names(title, 4, "name", "what", "from", "to", "ns")
    for hop in hops:
        ends = ("X{}Y{}".format(*hop[end]) for end in ("from", "to"))
        table.add_row(hop["name"], hop["kind"], *ends, f"{hop['delay_ns']:.2f}")
    console.print(table)


def _names(title: str, left: int, *headings: str) -> Table:
    """Return a table whose names, in the first columns, are broken where they are too long for the terminal."""
    table = cli.table(title, *headings, left=left)
    for column in table.columns[:left]:
        column.no_wrap, column.overflow = False, "fold"
    return table


def main(argv: list[str] | None = None) -> int:
    """Synthesise, place and route as the command line says."""
    parser = cli.Parser(prog="gen.synth", description="Size and speed of the engine on an FPGA.")
    parser.add_argument("--target", default="ecp5-85f", help=f"one of {', '.join(TARGETS)} (default: ecp5-85f)")
    parser.add_argument("--config", default=DEFAULT, metavar="NAME|FILE", help=f"configuration (default: {DEFAULT})")
    parser.add_argument("--top", default="system", metavar="TOP", help=f"one of {', '.join(TOPS)} (default: system)")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"runs of place and route ({SEEDS})")
    parser.add_argument("--seed", type=int, default=SEED, metavar="S", help=f"seed of the first (default: {SEED})")
    parser.add_argument("--freq", type=float, default=FREQ, metavar="MHZ", help=f"clock aimed at (default: {FREQ:g})")
    parser.add_argument("--speed", type=int, default=SPEEDS[0], metavar="G", help="speed grade, 6 to 8 (default: 6)")
    parser.add_argument("--step", default=STEPS[0], metavar="STEP", help=f"one of {', '.join(STEPS)} (default: all)")
    parser.add_argument("--overhead", action="store_true", help="do the same without gating: what does that cost?")
    parser.add_argument("--result", type=Path, metavar="DIR", help="keep the figures there, as results of the project")
    parser.add_argument("--network", type=Path, metavar="FILE", help=f"whose cycles a result has (default: {NETWORK})")
    parser.add_argument("-o", "--output", type=Path, default=BUILD, metavar="DIR", help=f"folder (default: {BUILD})")
    args = parser.parse_args(argv)

    def body() -> None:
        console = cli.console()
        report = synthesise(
            args.target,
            args.config,
            args.seeds,
            args.freq,
            args.output,
            console,
            top=args.top,
            first_seed=args.seed,
            speed=args.speed,
            step=args.step,
            results=args.result,
            network=args.network,
            overhead=args.overhead,
        )
        if report is not None:
            show(report, console)
            folder = args.output / args.target
            for name in (report["bitstream"], report["picture"], "report.json"):
                console.print(str(folder / name), soft_wrap=True)
            if args.result is not None:
                console.print(str(result_path(args.result, report["target"], report["config"])), soft_wrap=True)

    return cli.run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
