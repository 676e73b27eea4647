"""Many mutants, one after the other, in one process of the simulator; and what becomes of each."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.run.build import SimulationError
from sim.run.system import NetworkSimulator, RunningScenario
from sim.testbench.session import Session
from verification.mutation.netlist import SELECTOR

__all__ = ["HANGING", "PATIENCE", "Attempt", "attempts", "run_mutants"]

#: Seconds without a result after which the simulator is stopped: no attempt takes a tenth of it.
PATIENCE = 240.0

#: What is said of a mutant that the simulator was stopped at.
HANGING = f"simulator has given no result for {PATIENCE:.0f} s"

#: Seconds between two looks for results.
_INTERVAL = 0.05


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one mutant's run came to.

    Attributes
    ----------
    number
        The mutant's.
    value
        What the function returned, or None.
    error
        What it raised, or None.
    """

    number: int
    value: Any
    error: Exception | None


def run_mutants(
    session: Session, numbers: Sequence[int], function: Callable[..., Any], arguments: Sequence[Any]
) -> int:
    """Call a function once for each mutant, in the simulator's process; return how many.

    Parameters
    ----------
    session
        The engine, whose Verilog is of `verification.mutation.netlist.write_selectable`.
    numbers
        Of the mutants.
    function
        Of the session, a new folder for files, and the further arguments. It has to reset the engine, which lets the
        selection act.
    arguments
        Those.
    """
    for place, number in enumerate(numbers):  # a number may come twice
        (session.folder / SELECTOR).write_text(f"{number}\n", encoding="ascii")
        folder = session.folder / f"at_{place}"
        folder.mkdir()
        value, error = None, None
        try:
            value = function(session, folder, *arguments)
        except Exception as raised:
            error = raised
            session.close_traces()
        path = _result(session.folder, place)
        part = path.with_suffix(".partial")
        part.write_bytes(pickle.dumps(Attempt(number=number, value=value, error=error)))
        part.rename(path)
    return len(numbers)


def _result(folder: Path, place: int) -> Path:
    return folder / f"at_{place}.attempt"


def attempts(
    simulator: NetworkSimulator,
    numbers: Sequence[int],
    function: Callable[..., Any],
    arguments: Sequence[Any],
    work: Path,
) -> Iterator[Attempt]:
    """Run mutants beside this process, and yield what becomes of each when it is known, in their order.

    A mutant at which the simulator ends, or from which nothing comes, gets a `SimulationError`; another process goes on
    with the next one.

    Parameters
    ----------
    simulator
        Of the selectable mutants.
    numbers, function, arguments
        As `run_mutants` takes them.
    work
        Folder for files; emptied whenever a process starts.
    """
    left = list(numbers)
    while left:
        scenario = simulator.start(run_mutants, (left, function, arguments), work)
        try:
            for place, number in enumerate(list(left)):
                path = _result(scenario.job.parent, place)
                found = _awaited(path, scenario)
                left.pop(0)
                if found is not None:
                    yield found
                    path.unlink()
                    continue
                text = f"simulator ended: {_last_line(work)}" if scenario.ended else HANGING
                yield Attempt(number=number, value=None, error=SimulationError(text))
                break
        finally:
            scenario.stop()


def _awaited(path: Path, scenario: RunningScenario) -> Attempt | None:
    """Wait for a result; None if the process has ended without it, or nothing comes."""
    start = time.monotonic()
    while True:
        over = scenario.ended  # before the look: what was written before the end is seen
        if path.exists():
            attempt: Attempt = pickle.loads(path.read_bytes())
            return attempt
        if over or time.monotonic() - start > PATIENCE:
            return None
        time.sleep(_INTERVAL)


def _last_line(work: Path) -> str:
    log = work / "simulator.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    told = [line.strip() for line in lines if line.strip()]
    return next((line for line in told if "%Error" in line), told[-1] if told else "without a word")[:200]
