"""Places and routes a netlist from a seed. A seed that fails is a row of the report like the others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cdgate.errors import RunError
from cdgate.files import write_file, write_json
from gen.fpga.endpoints import classes, longest, read_timing
from gen.fpga.preparation import Prepared, digest
from gen.fpga.reports import critical_path
from gen.fpga.routed.layout import layout, read_cells
from gen.fpga.toolchain import Target, call

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BITSTREAM", "LAYOUT", "known_seeds", "run_seed", "run_seeds", "seed_file"]


#: What a seed leaves, beside its row: the bitstream, and what is drawn of it.
BITSTREAM, LAYOUT = ".bit", ".layout"

#: What it leaves; a row of another kind is none.
_KIND = "row, bitstream, layout"


def seed_file(target: Target, prepared: Prepared, freq: float, seed: int, suffix: str = ".json") -> Path:
    """Return a file of a seed: its row, `BITSTREAM` or `LAYOUT`. Its name depends on all that they do."""
    tools = json.dumps(prepared.facts["tools"])
    key = digest(prepared.key, tools, *target.arguments, str(freq), str(seed), _KIND)
    base = prepared.netlist.removesuffix(".json")
    return prepared.folder / f"{base}_seed{seed}_{key[:16]}{suffix}"


def _known(target: Target, prepared: Prepared, freq: float, seed: int) -> dict[str, Any] | None:
    """Return the row of a seed that has been run, if all that it leaves is there."""
    files = [seed_file(target, prepared, freq, seed, suffix) for suffix in (".json", BITSTREAM, LAYOUT)]
    if not all(path.is_file() for path in files):
        return None
    row: dict[str, Any] = json.loads(files[0].read_text(encoding="utf-8"))
    return row


def run_seed(target: Target, prepared: Prepared, freq: float, seed: int, console: Console) -> dict[str, Any]:
    """Return the row of a seed: place and route, unless that has been done with this netlist, clock and tools.

    The bitstream is made at once, and what is drawn is read at once: what both are made of takes a hundred times their
    room, and goes.

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
    row = _known(target, prepared, freq, seed)
    if row is not None:
        return row
    path = seed_file(target, prepared, freq, seed)
    report, delays, text, placed = (path.with_suffix(f".{end}") for end in ("report", "sdf", "config", "placed"))
    arguments = [
        *target.arguments,
        *("--json", prepared.netlist, "--lpf", prepared.pins, "--report", report.name, "--sdf", delays.name),
        *("--textcfg", text.name, "--write", placed.name),
        *("--freq", str(freq), "--seed", str(seed), "--timing-allow-fail"),
    ]
    try:
        seconds = call(target.program, arguments, path.with_suffix(".log"), f"nextpnr, seed {seed}", console)
        bits, log = path.with_suffix(BITSTREAM), path.with_suffix(".pack.log")
        call(target.packer, ["--compress", text.name, bits.name], log, f"bitstream, seed {seed}", console)
        routed = json.loads(report.read_text(encoding="utf-8"))
        with delays.open(encoding="utf-8") as lines:
            timing = read_timing(lines)
        with placed.open(encoding="utf-8") as lines:
            cells = read_cells(lines)
    except RunError as error:
        console.print(str(error), highlight=False, soft_wrap=True)
        return {"seed": seed, "fmax_mhz": None, "why": str(error)}
    finally:
        for large in (delays, text, placed):
            large.unlink(missing_ok=True)
    write_file(path.with_suffix(LAYOUT), json.dumps(layout(cells, longest(timing))))
    row = {
        "seed": seed,
        "fmax_mhz": round(min(clock["achieved"] for clock in routed["fmax"].values()), 2),
        "seconds": round(seconds, 1),
        "utilization": {name: use for name, use in routed["utilization"].items() if use["used"]},
        "critical_path": critical_path(routed),
        "endpoints": classes(timing),
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
    return [
        _known(target, prepared, freq, seed) or {"seed": seed, "fmax_mhz": None, "why": "has not come to its end"}
        for seed in seeds
    ]
