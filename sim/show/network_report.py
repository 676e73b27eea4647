"""The report of a whole network: the JSON file, the table for people, and where the memory is the wall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from hw.params import HwParams
from sim.check.layer import ModeResult, combine
from sim.check.network import NetworkResult
from sim.check.verdict import Verdict
from sim.show.report import layer_report

__all__ = ["BOUND", "network_report", "print_network"]

#: A layer is bandwidth-bound if the memory needs more than this part of its steps for its bytes.
BOUND = 0.94


def _memory(traffic: Mapping[str, int], steps: int, cycles: int, bandwidth: int) -> dict[str, Any]:
    """Return a layer's share of the bus: bytes, the cycles that they take, and whether these are the wall."""
    moved = sum(traffic.values())
    needed = -(-moved // bandwidth)
    return {
        **traffic,
        "bytes": moved,
        "bandwidth_cycles": needed,
        "bandwidth_bound": needed > BOUND * steps,
        "idle_share": 1 - steps / cycles if cycles else 0.0,
    }


def network_report(
    results: Mapping[str, NetworkResult],
    traffic: Mapping[str, Mapping[str, Mapping[str, int]]],
    predicted: Mapping[str, Mapping[str, int]],
    params: HwParams,
    gated: Sequence[str],
    settings: Mapping[str, int],
    facts: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the report.

    Parameters
    ----------
    results
        By mode: "gated", and maybe "dense".
    traffic
        By mode what `gen.cost.traffic.traffic` returned.
    predicted
        By mode and layer the cycles that the cycle model expects.
    params
        The engine.
    gated
        Names of the gated layers.
    settings
        "bandwidth", in bytes a cycle, and "latency", in cycles, of the memory.
    facts
        As for `sim.show.report.layer_report`.
    predictions
        Of each image: "image", "class", "reference", "label".
    """
    names = list(results["gated"].layers)
    by_layer = {name: {mode: result.layers[name] for mode, result in results.items()} for name in names}
    layers = []
    for name in names:
        report = layer_report(name, "gated", by_layer[name], facts)
        report["memory"] = {
            mode: _memory(
                traffic[mode][name], result.base_steps + result.cond_steps, result.cycles, settings["bandwidth"]
            )
            for mode, result in by_layer[name].items()
        }
        report["predicted_cycles"] = {mode: predicted[mode][name] for mode in results}
        layers.append(report)
    summed = combine(list(by_layer.values()))
    for mode, result in results.items():
        summed[mode].verdict.add(result.verdict)
    report = layer_report("network", "gated", summed, facts)
    groups = {"gated_layers": combine([by_layer[name] for name in gated])} if gated else {}
    report |= {
        name: {
            key: value
            for key, value in layer_report(name, "gated", runs, facts).items()
            if key in ("cycles", "steps", "efficiency", "speedup", "sparsity")
        }
        for name, runs in groups.items()
    }
    report |= {
        "predicted_cycles": {mode: sum(predicted[mode].values()) for mode in results},
        "layers": layers,
        "predictions": list(predictions),
        "logits_checked": sum(result.logits_checked for result in results.values()),
        "memory": {
            "bytes_per_cycle_limit": settings["bandwidth"],
            "latency_cycles": settings["latency"],
            **{mode: _bus(result.counters) for mode, result in results.items()},
        },
        "bus": {
            mode: {
                name: result.report[name]
                for name in ("read_bursts", "write_bursts", "most_reads", "most_writes", "unknown_reads")
            }
            | {"violations": {name: count for name, count in result.report.items() if name.isupper() and count}}
            for mode, result in results.items()
        },
        "nominal_macs_per_mac_and_cycle": {mode: _nominal(summed[mode], params) for mode in results},
    }
    return report


def _bus(counters: Mapping[str, int]) -> dict[str, int]:
    names = ("weights_read", "parameters_read", "maps_read", "maps_written", "instructions_read", "logits_written")
    found = {name: counters[name] for name in names}
    return {
        **found,
        "bytes_read": sum(value for name, value in found.items() if name.endswith("_read")),
        "bytes_written": sum(value for name, value in found.items() if name.endswith("_written")),
    }


def _nominal(result: ModeResult, params: HwParams) -> float:
    assert result.count is not None
    return result.count.nominal_macs / (params.macs * result.cycles) if result.cycles else 0.0


def _wall(report: Mapping[str, Any]) -> str:
    """Name what a layer's cycles go by: its steps, its bytes, or what it waits for beside those."""
    walls = {}
    for mode, share in report["memory"].items():
        idle = report["runs"][mode]["idle"]
        if share["bandwidth_bound"]:
            walls[mode] = "memory"
        elif report["efficiency"][mode] > BOUND:
            walls[mode] = "steps"
        else:
            walls[mode] = f"waits for {max(idle, key=lambda cause: idle[cause])}"
    if len(set(walls.values())) == 1:
        return next(iter(walls.values()))
    return ", ".join(f"{wall} ({mode})" for mode, wall in walls.items() if wall != "steps")


def _cells(report: Mapping[str, Any], moved: Mapping[str, int], wall: str) -> list[str]:
    cycles, speedup, efficiency = report["cycles"], report["speedup"], report["efficiency"]
    cells = [str(report["layer"])]
    if "dense" in cycles:
        cells += [
            f"{cycles['dense']:,}",
            f"{cycles['gated']:,}",
            f"{speedup['theoretical']:.3f}",
            f"{speedup['realised']:.3f}",
            f"{speedup['ratio']:.4f}",
            f"{efficiency['dense']:.4f}",
        ]
    else:
        cells += [f"{cycles['gated']:,}", f"{speedup['theoretical']:.3f}"]
    idle = report["runs"]["gated"]["idle"]
    lost = max(idle, key=lambda cause: idle[cause])
    share = sum(idle.values()) / cycles["gated"] if cycles["gated"] else 0.0
    return [
        *cells,
        f"{efficiency['gated']:.4f}",
        f"{share:.1%} {lost}",
        f"{report['sparsity']['output']:.3f}",
        f"{moved['gated'] / 1024:,.0f}",
        wall,
        f"{report['outputs_checked']:,}",
        f"{report['decisions_checked']:,}",
        f"{report['mismatches']:,}",
    ]


def print_network(report: Mapping[str, Any], verdict: Verdict, console: Console) -> None:
    """Print a table with a row for each layer, then the sums, then what is wrong."""
    memory = report["memory"]
    limit, latency = memory["bytes_per_cycle_limit"], memory["latency_cycles"]
    both = "dense" in report["cycles"]
    table = Table(
        title=f"{report['config']}, {report['images']} image(s), memory of {limit} bytes a cycle, "
        f"latency {latency} cycles",
        title_justify="left",
    )
    dense = ("dense cycles", "gated cycles", "theory", "realised", "ratio", "dense eff.")
    for heading in (
        "layer",
        *(dense if both else ("gated cycles", "theory")),
        "gated eff.",
        "idle, most for",
        "sparsity",
        "KiB",
        "wall",
        "outputs",
        "decisions",
        "wrong",
    ):
        table.add_column(heading, justify="left" if heading in ("layer", "wall") else "right", no_wrap=True)
    for layer in report["layers"]:
        moved = {mode: share["bytes"] for mode, share in layer["memory"].items()}
        table.add_row(*_cells(layer, moved, _wall(layer)))
    moved = {mode: memory[mode]["bytes_read"] + memory[mode]["bytes_written"] for mode in report["runs"]}
    table.add_section()
    table.add_row(*_cells(report, moved, ""))
    console.print(table)
    _print_sums(report, console)
    for mismatch in verdict.first:
        console.print(str(mismatch), highlight=False, soft_wrap=True)
    if verdict.mismatches:
        console.print(f"{verdict.mismatches} mismatches, {len(verdict.first)} of them shown", highlight=False)
    for text in verdict.broken:
        console.print(f"broken law: {text}", highlight=False, soft_wrap=True)


def _print_sums(report: Mapping[str, Any], console: Console) -> None:
    images, memory = report["images"], report["memory"]

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    if "gated_layers" in report and "ratio" in report["gated_layers"]["speedup"]:
        speedup = report["gated_layers"]["speedup"]
        say(
            f"gated layers together: {speedup['theoretical']:.3f} in theory, {speedup['realised']:.3f} realised, "
            f"{speedup['ratio']:.4f} of it"
        )
    for mode in report["runs"]:
        bus = memory[mode]
        weights = (bus["weights_read"] + bus["parameters_read"]) / images / 1e6
        maps = (bus["maps_read"] + bus["maps_written"]) / images / 1e6
        cycles, predicted = report["runs"][mode]["cycles"], report["predicted_cycles"][mode]
        rate = report["nominal_macs_per_mac_and_cycle"][mode]
        say(
            f"{mode}: {weights:.2f} MB of weights and parameters and {maps:.2f} MB of maps an image; "
            f"{rate:.3f} nominal MACs per MAC unit and cycle; the cycle model "
            f"is {(predicted - cycles) / max(1, cycles):+.2%} off"
        )
    for one in report["predictions"]:
        label = "" if one["label"] is None else f", is {one['label']}"
        say(f"{one['image']}: {one['class']}{label}")
