"""Places and routes a netlist from a seed. A seed that fails is a row of the report like the others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cdgate.errors import RunError
from cdgate.files import write_json
from gen.fpga.endpoints import classes, read_timing
from gen.fpga.preparation import Prepared, digest
from gen.fpga.reports import critical_path
from gen.fpga.toolchain import Target, call

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["known_seeds", "run_seed", "run_seeds"]


def _result(target: Target, prepared: Prepared, freq: float, seed: int) -> Path:
    """Return the file of a seed's row. Its name depends on all that the row does."""
    tools = json.dumps(prepared.facts["tools"])
    key = digest(prepared.key, tools, *target.arguments, str(freq), str(seed))
    base = prepared.netlist.removesuffix(".json")
    return prepared.folder / f"{base}_seed{seed}_{key[:16]}.json"


def run_seed(target: Target, prepared: Prepared, freq: float, seed: int, console: Console) -> dict[str, Any]:
    """Return the row of a seed: place and route, unless that has been done with this netlist, clock and tools.

    Parameters
    ----------
    target, prepared
        Where, and what.
    freq
        Clock in MHz that is aimed at. What is reached depends on it: above it nothing is tried.
    seed
        Of the placer.
    console
        Where it is shown how far the work is.

    Returns
    -------
    dict
        ``seed``, ``fmax_mhz`` (None if it failed, and then ``why``), ``seconds``, ``utilization``, ``critical_path``
        and ``endpoints``, which is what `gen.fpga.endpoints.classes` returns.
    """
    path = _result(target, prepared, freq, seed)
    if path.is_file():
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return row
    report, delays = path.with_suffix(".report"), path.with_suffix(".sdf")
    arguments = [
        *target.arguments,
        *("--json", prepared.netlist, "--lpf", prepared.pins, "--report", report.name, "--sdf", delays.name),
        *("--freq", str(freq), "--seed", str(seed), "--timing-allow-fail"),
    ]
    try:
        seconds = call(target.program, arguments, path.with_suffix(".log"), f"nextpnr, seed {seed}", console)
    except RunError as error:
        console.print(str(error), highlight=False, soft_wrap=True)
        row = {"seed": seed, "fmax_mhz": None, "why": str(error)}
    else:
        routed = json.loads(report.read_text(encoding="utf-8"))
        with delays.open(encoding="utf-8") as lines:
            endpoints = classes(read_timing(lines))
        delays.unlink()
        row = {
            "seed": seed,
            "fmax_mhz": round(min(clock["achieved"] for clock in routed["fmax"].values()), 2),
            "seconds": round(seconds, 1),
            "utilization": {name: use for name, use in routed["utilization"].items() if use["used"]},
            "critical_path": critical_path(routed),
            "endpoints": endpoints,
        }
        write_json(path, row)
    return row


def run_seeds(
    target: Target, prepared: Prepared, freq: float, seeds: Sequence[int], console: Console
) -> list[dict[str, Any]]:
    """Return the rows of several seeds, which run side by side where cores are free."""
    jobs = max(1, min(len(seeds), (os.cpu_count() or 1) - round(os.getloadavg()[0])))
    # Two at a time cannot share a line that changes.
    shown = console if jobs == 1 else Console(file=console.file, force_terminal=False)
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda seed: run_seed(target, prepared, freq, seed, shown), seeds))


def known_seeds(target: Target, prepared: Prepared, freq: float, seeds: Iterable[int]) -> list[dict[str, Any]]:
    """Return the rows of those seeds that have been run; of the others, that they have not."""
    rows = []
    for seed in seeds:
        path = _result(target, prepared, freq, seed)
        done = path.is_file()
        rows.append(
            json.loads(path.read_text(encoding="utf-8"))
            if done
            else {"seed": seed, "fmax_mhz": None, "why": "has not come to its end"}
        )
    return rows
