"""What a run of a mutant shows: which check finds it, and how that is said."""

from __future__ import annotations

from dataclasses import dataclass

from gen.host.driver import EngineError, WaitError
from hw.interface.instructions import ErrorCode
from sim.check.verdict import Verdict
from sim.run.build import SimulationError
from verification.scenarios.bench import ScenarioError

__all__ = ["KINDS", "Finding", "of_error", "of_verdict"]

#: The checks by what finds a mutant, in the order in which they are asked.
KINDS = ("mismatch", "law", "clock", "model", "watchdog", "time-out", "error", "scenario", "simulator")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """That a mutant is found.

    Attributes
    ----------
    kinds
        Some of `KINDS`: all that find it in this run, in their order.
    text
        What the first of them says.
    trial
        The run's name.
    """

    kinds: tuple[str, ...]
    text: str
    trial: str


def of_verdict(verdict: Verdict, trial: str) -> Finding | None:
    """Return what a comparison has found; None if it has passed."""
    laws = [text for text in verdict.broken if text not in verdict.clock]
    told = {
        "mismatch": [str(verdict.first[0]) if verdict.first else f"{verdict.mismatches}"] if verdict.mismatches else [],
        "law": laws,
        "clock": verdict.clock,
        "model": verdict.model,
    }
    kinds = tuple(kind for kind, texts in told.items() if texts)
    if not kinds:
        return None if verdict.passed else Finding(kinds=("law",), text=verdict.text, trial=trial)
    return Finding(kinds=kinds, text=told[kinds[0]][0], trial=trial)


def of_error(error: Exception, trial: str) -> Finding:
    """Return what it means that a run has ended with an error."""
    text = " ".join(str(error).split()) or type(error).__name__
    match error:
        case EngineError(code=ErrorCode.WATCHDOG):
            kind = "watchdog"
        case WaitError():
            kind = "time-out"
        case SimulationError():
            kind = "simulator"
        case ScenarioError():
            kind = "scenario"
        case _:
            kind = "error"
    return Finding(kinds=(kind,), text=text, trial=trial)
