"""Figures of a routed engine that are kept: a file of results for each target and configuration, and their table.

A file holds what was measured: the clock of each seed, and the cycles of a network as `sim.network` counted them.
Images a second follow from both and are in the table alone. With the digests of the Verilog that was routed and of that
which was simulated the table tells which figures are of an engine that is no more.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdgate.cli import table
from cdgate.errors import DataError, UserError
from gen.fpga.harness import harness_verilog
from gen.fpga.reports import RESOURCES
from gen.verilog import generate, top_name
from hw.configurations import CONFIGS
from hw.params import HwParams

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["FOLDER", "STATES", "network_figures", "read_results", "result", "result_path", "states", "tables"]

#: Where results are, which are committed.
FOLDER = Path("results")

#: What a file of results must have.
_KEYS = ("target", "config", "params", "speed", *RESOURCES, "runs", "best_seed", "fmax_mhz", "tools", "verilog_sha256",
         "network")  # fmt: skip

#: Whether figures are of the Verilog as it is generated today.
STATES = ("today's", "changed")

#: By configuration and whether it is in its harness, the digest of today's Verilog; None if there can be none.
Digests = Callable[[str, Mapping[str, Any], bool], str | None]


def result_path(folder: Path, target: str, config: str) -> Path:
    """Return the file of a target and a configuration."""
    return folder / f"synth_{target}_{config}.json"


def network_figures(path: Path, config: str, required: bool = True) -> dict[str, Any] | None:
    """Return what the report of `make network` says of a network's cycles.

    Parameters
    ----------
    path
        The report.
    config
        Name of the configuration that it must be of.
    required
        Whether a report that is missing, or is of another configuration or failed, is an error; else None is returned.

    Returns
    -------
    dict
        Name of the network (None for a checkpoint's), digest of the checkpoint, images, images in a pass, cycles by
        mode, the memory's bytes a cycle and its latency in cycles, digest of the Verilog. What was not run is None.

    Raises
    ------
    UserError
        If it is required and cannot be had.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["config"] != config:
            raise UserError(f"network report {path} must be of configuration {config}, not {report['config']}")
        if report["verdict"] != "pass":
            raise UserError(f"network report {path} must be of a run that passed, not one with {report['verdict']!r}")
        memory = report["memory"]
        return {
            "network": report["network"],
            "checkpoint_sha256": report["checkpoint_sha256"],
            "images": report["images"],
            "batch": report["batch"],
            "cycles": {mode: report["cycles"].get(mode) for mode in ("dense", "gated")},
            "bytes_per_cycle_limit": memory["bytes_per_cycle_limit"],
            "latency_cycles": memory["latency_cycles"],
            "verilog_sha256": report["verilog_sha256"],
        }
    except UserError:
        if required:
            raise
    except OSError as error:
        if required:
            raise UserError(f"network report {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"network report {path} must be what make network writes") from None
    return None


def result(report: Mapping[str, Any], params: HwParams, network: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what is kept of a report of `gen.synth`, of an engine with `params`, and of `network_figures`."""
    kept = ("target", "config", "device", "speed", *RESOURCES, "freq_mhz", "gating_overhead")
    return {
        "schema": 1,
        "experiment": "synthesis",
        **{key: report[key] for key in kept},
        "params": dataclasses.asdict(params),
        "runs": [{key: row[key] for key in ("seed", "fmax_mhz")} for row in report["runs"]],
        "best_seed": report["best_seed"],
        "fmax_mhz": dict(report["fmax_mhz"]),
        "tools": dict(report["tools"]),
        "verilog_sha256": report["verilog_sha256"],
        "network": network,
    }


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the results of a folder, by the names of their files.

    Raises
    ------
    DataError
        If a file is not JSON, or lacks what it must have.
    """
    found = []
    for path in sorted(folder.glob("synth_*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise DataError(f"results file {path} must be JSON") from None
        missing = [key for key in _KEYS if not isinstance(content, dict) or key not in content]
        if missing:
            raise DataError(f"results file {path} must have {' and '.join(missing)}, as make synth RESULT= writes")
        found.append(content)
    return found


def digest_today(config: str, params: Mapping[str, Any], harness: bool) -> str | None:
    """Return the digest of a configuration's Verilog as it is generated today.

    Parameters
    ----------
    config
        Its name. One of `hw.configurations.CONFIGS` has the choices that it has today.
    params
        The choices of any other one.
    harness
        Whether it is the Verilog that is routed, in its harness, or the one that is simulated.

    Returns
    -------
    str
        The digest; None if the engine has no such choices any more.
    """
    try:
        today = CONFIGS.get(config) or HwParams(**params)
    except (TypeError, UserError):
        return None
    text = harness_verilog(today, "system") if harness else generate(today, top_name(config, "system"), "system")
    return hashlib.sha256(text.encode()).hexdigest()


def states(results: Sequence[Mapping[str, Any]], digest: Digests = digest_today) -> list[tuple[str, str]]:
    """Return of each result one of `STATES` for its clock and one for its cycles, "" where it has none."""
    known: dict[tuple[str, str, bool], str | None] = {}

    def state(one: Mapping[str, Any], sha256: str, harness: bool) -> str:
        key = one["config"], json.dumps(one["params"], sort_keys=True), harness
        if key not in known:
            known[key] = digest(one["config"], one["params"], harness)
        return STATES[known[key] != sha256]

    return [
        (
            state(one, one["verilog_sha256"], True),
            state(one, one["network"]["verilog_sha256"], False) if one["network"] else "",
        )
        for one in results
    ]


def _images_a_second(one: Mapping[str, Any], mode: str) -> str:
    """Images a second at the best seed's clock, which that seed's bitstream has."""
    cycles = one["network"]["cycles"][mode] if one["network"] else None
    return f"{one['fmax_mhz']['max'] * 1e6 * one['network']['images'] / cycles:.1f}" if cycles else "-"


def tables(results: Sequence[Mapping[str, Any]], of_today: Sequence[tuple[str, str]]) -> list[Table]:
    """Return the tables of results, and of what `states` says of them: sizes, clocks and images a second."""
    size = table(
        "Engines after place and route",
        *("target", "config", "LUTs", "flip-flops", "multipliers", "block RAMs", "Verilog"),
        left=2,
    )
    clock = table(
        "Their clocks in MHz",
        *("target", "config", "speed grade", "seeds", "least", "median", "best", "Verilog"),
        left=2,
    )
    pace = table(
        "Images a second at the best seed's clock",
        *("target", "config", "network", "images\nin a pass", "bytes\na cycle", "dense", "gated", "Verilog"),
        left=3,
    )
    for kept, (routed, counted) in zip(results, of_today, strict=True):
        names = kept["target"], kept["config"]
        size.add_row(*names, *(f"{kept[name]:,}" for name in RESOURCES), routed)
        speeds = (f"{kept['fmax_mhz'][name]:.1f}" for name in ("min", "median", "max"))
        clock.add_row(*names, str(kept["speed"]), str(len(kept["runs"])), *speeds, routed)
        network = kept["network"]
        if network:
            pace.add_row(
                *names,
                network["network"] or "checkpoint",
                str(network["batch"]),
                str(network["bytes_per_cycle_limit"]),
                *(_images_a_second(kept, mode) for mode in ("dense", "gated")),
                # Both must be of today's engine.
                counted if routed == STATES[0] else routed,
            )
    made = [size, clock, *([pace] if pace.rows else [])]
    for one in made:
        one.columns[1].overflow = "fold"  # a name may have 32 letters
    return made
