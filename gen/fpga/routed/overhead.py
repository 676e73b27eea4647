"""What gating costs: an engine beside the one that is generated without it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cdgate.cli import table
from gen.fpga.reports import RESOURCES

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["overhead", "overhead_table"]


def _median(runs: Sequence[Mapping[str, Any]]) -> float | None:
    speeds = [row["fmax_mhz"] for row in runs if row["fmax_mhz"] is not None]
    return statistics.median(speeds) if speeds else None


def overhead(
    counts: Mapping[str, int],
    runs: Sequence[Mapping[str, Any]],
    ungated_counts: Mapping[str, int],
    ungated_runs: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what an engine takes more than without gating.

    Parameters
    ----------
    counts, ungated_counts
        Resources of both, by the names of `gen.fpga.reports.RESOURCES`.
    runs, ungated_runs
        Rows of their seeds.

    Returns
    -------
    dict
        For each resource, and for ``fmax_mhz``, the median over the seeds, ``with / without - 1``, or None where there
        is no such number; and under "ungated" the counts and the clocks of the engine without gating.
    """

    def share(value: float | None, other: float | None) -> float | None:
        return round(value / other - 1, 4) if value is not None and other else None

    return {
        **{name: share(counts[name], ungated_counts[name]) for name in RESOURCES},
        "fmax_mhz": share(_median(runs), _median(ungated_runs)),
        "ungated": {
            **{name: ungated_counts[name] for name in RESOURCES},
            "runs": [{key: row[key] for key in ("seed", "fmax_mhz")} for row in ungated_runs],
            "fmax_mhz": _median(ungated_runs),
        },
    }


def overhead_table(report: Mapping[str, Any]) -> Table:
    """Return the table of a report's ``gating_overhead``, an engine above the one without gating."""
    found, clocks = report["gating_overhead"], report["fmax_mhz"]
    shown = table("what gating costs", "", *RESOURCES, "MHz, median")

    def mhz(value: float | None) -> str:
        return "failed" if value is None else f"{value:.1f}"

    shown.add_row("with", *(f"{report[name]:,}" for name in RESOURCES), mhz(clocks["median"]))
    shown.add_row("without", *(f"{found['ungated'][name]:,}" for name in RESOURCES), mhz(found["ungated"]["fmax_mhz"]))
    shares = (found[name] for name in (*RESOURCES, "fmax_mhz"))
    shown.add_row("more", *("" if share is None else f"{share:+.1%}" for share in shares))
    return shown
