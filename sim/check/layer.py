"""What came of layers: the outcome of every pass, and their sums by layer and mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hw.interface.layouts import IdleCause
from sim.check.verdict import Verdict
from sim.plan.layer import Pass
from sim.run.files import RunOutput
from sw_model.integer.steps import LayerCount, total

__all__ = ["ModeResult", "Outcome", "combine", "sum_up"]


@dataclass
class ModeResult:
    """One layer in one mode, summed over the passes.

    Attributes
    ----------
    cycles, base_steps, cond_steps, decided, fired
        The engine's counters; ``decided`` and ``fired`` count slices.
    idle
        Idle cycles by cause, as `hw.interface.layouts.IdleCause` numbers them.
    count
        The reference's own counts.
    verdict
        The comparison; that of the stress passes is its ``stress``.
    stress_cycles
        Of the stress passes, which count in nothing else.
    """

    cycles: int = 0
    base_steps: int = 0
    cond_steps: int = 0
    decided: int = 0
    fired: int = 0
    idle: list[int] = field(default_factory=lambda: [0] * len(IdleCause))
    count: LayerCount | None = None
    verdict: Verdict = field(default_factory=Verdict)
    stress_cycles: int = 0


@dataclass(frozen=True)
class Outcome:
    """A pass, what came of it, and what its comparison found."""

    planned: Pass
    output: RunOutput
    verdict: Verdict


def sum_up(outcomes: Sequence[Outcome]) -> dict[str, dict[str, ModeResult]]:
    """Return the `ModeResult` of each layer and mode, summed over the passes."""
    results: dict[str, dict[str, ModeResult]] = {}
    for outcome in outcomes:
        one, counters = outcome.planned, outcome.output.counters
        result = results.setdefault(one.layer.name, {}).setdefault(one.mode, ModeResult())
        if one.stress:
            result.stress_cycles += counters["cycles"]
            result.verdict.add_stress(outcome.verdict)
            continue
        result.cycles += counters["cycles"]
        result.base_steps += counters["base_steps"]
        result.cond_steps += counters["cond_steps"]
        result.decided += counters["decisions"]
        result.fired += counters["fired"]
        result.idle = [a + b for a, b in zip(result.idle, counters["idle"], strict=True)]
        result.count = one.count if result.count is None else total([result.count, one.count], one.layer.name)
        result.verdict.add(outcome.verdict)
    return results


def combine(results: Sequence[Mapping[str, ModeResult]]) -> dict[str, ModeResult]:
    """Add up the runs of several layers, by mode."""
    combined: dict[str, ModeResult] = {}
    for mode in results[0]:
        parts = [result[mode] for result in results]
        verdict = Verdict()
        for part in parts:
            verdict.add(part.verdict)
        combined[mode] = ModeResult(
            cycles=sum(part.cycles for part in parts),
            base_steps=sum(part.base_steps for part in parts),
            cond_steps=sum(part.cond_steps for part in parts),
            fired=sum(part.fired for part in parts),
            decided=sum(part.decided for part in parts),
            idle=[sum(column) for column in zip(*(part.idle for part in parts), strict=True)],
            count=total([part.count for part in parts if part.count is not None]),
            verdict=verdict,
            stress_cycles=sum(part.stress_cycles for part in parts),
        )
    return combined
