"""The report of a whole network: the JSON file, and where the memory is the wall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hw.interface.layouts import IdleCause
from hw.params import HwParams
from sim.check.layer import ModeResult, combine
from sim.check.model import bounds
from sim.check.network import NetworkResult
from sim.show.report import NETWORK, layer_report

__all__ = ["BOUND", "network_report"]

#: A layer is bandwidth-bound if the memory needs more than this part of its steps, or pooling cycles, for its bytes.
BOUND = 0.94


def _memory(traffic: Mapping[str, int], result: ModeResult, bandwidth: int) -> dict[str, Any]:
    """Return a layer's share of the bus: bytes, the cycles that they take, and whether these are the wall."""
    steps, pooling = result.base_steps + result.cond_steps, result.idle[IdleCause.POOL.value]
    moved = sum(traffic.values())
    needed = -(-moved // bandwidth)
    return {
        **traffic,
        "bytes": moved,
        "bandwidth_cycles": needed,
        "bandwidth_bound": needed > BOUND * (steps + pooling),
        "idle_share": 1 - steps / result.cycles if result.cycles else 0.0,
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
            mode: _memory(traffic[mode][name], result, settings["bandwidth"]) for mode, result in by_layer[name].items()
        }
        report["predicted_cycles"] = {mode: predicted[mode][name] for mode in results}
        layers.append(report)
    summed = combine(list(by_layer.values()))
    for mode, result in results.items():
        summed[mode].verdict.add(result.verdict)
        if result.stress is not None:
            summed[mode].verdict.add_stress(result.stress.total())
            summed[mode].stress_cycles = result.stress.counters["cycles"]
    report = layer_report(NETWORK, "gated", summed, facts)
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
        "model_bounds": bounds(settings),
        "layers": layers,
        "predictions": list(predictions),
        "logits_checked": sum(result.logits.size for result in results.values()),
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
