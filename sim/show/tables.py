"""Reports for people: tables that are readable in 80 columns, and what came of it in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from cdgate.cli import table
from cdgate.modes import GateMode
from sim.check.verdict import Verdict
from sim.show.network_report import BOUND

__all__ = ["in_words", "last_lines", "print_layers", "print_network"]


def in_words(report: Mapping[str, Any]) -> str:
    """Return a report in a line: how much faster, and whether everything was equal."""
    runs = report["runs"]
    speedup, name = report["speedup"], report["layer"]
    compared = f"{report['outputs_checked']:,} outputs and {report['decisions_checked']:,} decisions compared"
    verdict = "all equal" if report["bit_exact"] else f"{report['mismatches']:,} differ"
    if not report["laws_hold"]:
        verdict += ", laws broken"
    if "stress" in report:
        stress = report["stress"]
        wrong = f"{stress['mismatches']:,} differ" if stress["mismatches"] else "all equal"
        verdict += f"; {stress['outputs_checked']:,} outputs under stress, {wrong}"
    if speedup["theoretical"] == 1 or "realised" not in speedup:
        faster = ", ".join(f"{run['cycles']:,} cycles {mode}" for mode, run in runs.items())
    else:
        mode = next(mode for mode in runs if mode != GateMode.DENSE)
        faster = f"{speedup['realised']:.3f}x as fast {mode} as dense, {speedup['theoretical']:.3f}x in theory"
    return f"{name}: {faster}; {compared}, {verdict}"


def last_lines(report: Mapping[str, Any]) -> tuple[str, str]:
    """Return the last two lines that are printed of a run, which other tools read."""
    return f"bit_exact: {str(report['bit_exact']).lower()}", f"verdict: {report['verdict']}"


def _speedups(reports: Sequence[Mapping[str, Any]], title: str, mode: str) -> Table:
    """Return the table of cycles and speed-ups; the last report, if there are several, is the others' sum."""
    both = "dense" in reports[-1]["cycles"]
    shown = table(
        title,
        "layer",
        *(("dense\ncycles",) if both else ()),
        f"{mode}\ncycles",
        "speed-up\ntheory",
        *(("real-\nised", "ratio", "effic.\ndense") if both else ()),
        f"effic.\n{mode}",
        "spar-\nsity",
        "wrong",
    )
    for number, report in enumerate(reports):
        if number and number == len(reports) - 1:
            shown.add_section()
        cycles, speedup, efficiency = report["cycles"], report["speedup"], report["efficiency"]
        gated = report["decisions_checked"] > 0 or speedup["theoretical"] != 1
        stepping = any(efficiency.values())
        cells = [f"{cycles['dense']:,}"] if both else []
        cells.append(f"{cycles['gated']:,}")
        cells.append(f"{speedup['theoretical']:.3f}" if gated else "")
        if both:
            cells += [f"{speedup['realised']:.3f}", f"{speedup['ratio']:.4f}"] if gated else ["", ""]
            cells.append(f"{efficiency['dense']:.4f}" if stepping else "")
        cells.append(f"{efficiency['gated']:.4f}" if stepping else "")
        cells.append(f"{report['sparsity']['output']:.3f}" if gated else "")
        wrong = report["mismatches"]
        shown.add_row(report["layer"], *cells, str(wrong) if wrong < 100_000 else f"{wrong // 1000}k")
    return shown


def _print_findings(verdict: Verdict, shown: Console) -> None:
    """Print the first mismatches, the broken laws, and where the cycle model is too far off."""
    for mismatch in verdict.first:
        shown.print(str(mismatch), soft_wrap=True)
    if verdict.mismatches:
        shown.print(f"{verdict.mismatches} mismatches, {len(verdict.first)} of them shown")
    for text in verdict.broken:
        shown.print(f"broken law: {text}", soft_wrap=True)
    for text in verdict.model:
        shown.print(f"cycle model: {text}", soft_wrap=True)
    if verdict.stress is not None and not verdict.stress.passed:
        shown.print("in stress passes:")
        _print_findings(verdict.stress, shown)


def print_layers(reports: Sequence[Mapping[str, Any]], verdict: Verdict, mode: str, shown: Console) -> None:
    """Print a table with a row for each report, then the mismatches and the broken laws.

    Parameters
    ----------
    reports
        What `sim.show.report.layer_report` returned; a sum over the others last.
    verdict
        Of all runs together.
    mode
        The mode asked for.
    shown
        Where to print.
    """
    first = reports[0]
    title = f"{_subject(first)}, {first['images']} image(s): {', '.join(first['image_names'])}"
    shown.print(_speedups(reports, title, mode))
    last = reports[-1]
    if mode == GateMode.CHANNEL and last["decisions_checked"]:
        shown.print(
            f"{1 - last['sparsity']['output']:.1%} of the channels fire, but {last['slices_fired']:.1%} of "
            "the slices have one that does: only a slice of 8 that stays silent saves cycles."
        )
    _print_findings(verdict, shown)


def _wall(report: Mapping[str, Any]) -> str:
    """Name what a layer's cycles go by: its steps, pooling, its bytes, or what it waits for beside those."""
    walls = {}
    for mode, share in report["memory"].items():
        idle = report["runs"][mode]["idle"]
        if share["bandwidth_bound"]:
            walls[mode] = "memory"
        elif report["efficiency"][mode] > BOUND:
            walls[mode] = "steps"
        else:
            most = max(idle, key=lambda cause: idle[cause])
            walls[mode] = most if most == "pool" else f"waits for {most}"
    if len(set(walls.values())) == 1:
        return next(iter(walls.values()))
    return ", ".join(f"{wall} ({mode})" for mode, wall in walls.items() if wall != "steps")


def _traffic(report: Mapping[str, Any]) -> Table:
    """Return the table of what every layer's gated run moves and waits for."""
    shown = table(
        "What a layer's cycles go by, gated: steps of the MAC array, pooling, bytes of the memory, or a wait",
        *("layer", "goes by", "KiB\nmoved", "idle", "most of it\nfor", "outputs\nchecked", "decisions\nchecked"),
        left=2,
    )
    memory = report["memory"]["gated"]
    moved = [layer["memory"]["gated"]["bytes"] for layer in report["layers"]]
    moved.append(memory["bytes_read"] + memory["bytes_written"])
    for layer, size in zip([*report["layers"], report], moved, strict=True):
        if layer is report:
            shown.add_section()
        idle = layer["runs"]["gated"]["idle"]
        lost = max(idle, key=lambda cause: idle[cause])
        share = sum(idle.values()) / layer["cycles"]["gated"] if layer["cycles"]["gated"] else 0.0
        numbers = (f"{layer['outputs_checked']:,}", f"{layer['decisions_checked']:,}")
        wall = "" if layer is report else _wall(layer)
        shown.add_row(layer["layer"], wall, f"{size / 1024:,.0f}", f"{share:.1%}", lost, *numbers)
    return shown


def _subject(report: Mapping[str, Any]) -> str:
    """Name the engine, and the network if it is not of a checkpoint."""
    network = report["network"]
    return str(report["config"]) if network is None else f"{network} on {report['config']}"


def print_network(report: Mapping[str, Any], verdict: Verdict, shown: Console) -> None:
    """Print two tables with a row for each layer, then the sums, then what is wrong."""
    memory = report["memory"]
    limit, latency = memory["bytes_per_cycle_limit"], memory["latency_cycles"]
    title = (
        f"{_subject(report)}, {report['images']} image(s), memory of {limit} bytes a cycle, latency {latency} cycles"
    )
    shown.print(_speedups([*report["layers"], report], title, "gated"))
    shown.print(_traffic(report))
    _print_sums(report, shown)
    _print_findings(verdict, shown)


def _print_sums(report: Mapping[str, Any], shown: Console) -> None:
    images, memory = report["images"], report["memory"]
    told = "" if report["model_bounds"] else ", which is not judged with this memory"
    if "gated_layers" in report and "ratio" in report["gated_layers"]["speedup"]:
        speedup = report["gated_layers"]["speedup"]
        shown.print(
            f"gated layers together: {speedup['theoretical']:.3f} in theory, {speedup['realised']:.3f} realised, "
            f"{speedup['ratio']:.4f} of it",
            soft_wrap=True,
        )
    for mode in report["runs"]:
        bus = memory[mode]
        weights = (bus["weights_read"] + bus["parameters_read"]) / images / 1e6
        maps = (bus["maps_read"] + bus["maps_written"]) / images / 1e6
        cycles, predicted = report["runs"][mode]["cycles"], report["predicted_cycles"][mode]
        rate = report["nominal_macs_per_mac_and_cycle"][mode]
        shown.print(
            f"{mode}: {weights:.2f} MB of weights and parameters and {maps:.2f} MB of maps an image; "
            f"{rate:.3f} nominal MACs per MAC unit and cycle; the cycle model "
            f"is {(predicted - cycles) / max(1, cycles):+.2%} off{told}",
            soft_wrap=True,
        )
    for prediction in report["predictions"]:
        label = "" if prediction["label"] is None else f", is {prediction['label']}"
        shown.print(f"{prediction['image']}: {prediction['class']}{label}", soft_wrap=True)
    if all(prediction["label"] is None for prediction in report["predictions"]):
        shown.print("(The network knows its own classes only, and a photograph may show none of them.)", soft_wrap=True)
