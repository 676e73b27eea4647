"""Waves of one pass: a VCD file of the cycles that matter, with lists of its signals for GTKWave and Surfer.

VCD and not FST, because Verilator's writer of FST needs headers of lz4 that no Python package brings along. The files
stay small all the same: only some cycles of one pass are recorded.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cdgate.errors import UserError
from sim.check.layer import Outcome
from sim.run.core import Simulator
from sim.run.files import RunOutput
from sim.show import wave_lists
from sim.show.pipe import copied

__all__ = ["CYCLES", "MAX_CYCLES", "Window", "choose", "read_header", "record"]

#: Cycles that are recorded unless the user says otherwise, and at most.
CYCLES, MAX_CYCLES = 2000, 200_000

#: The part of them that lies before a mismatch: its cause does.
_BEFORE = 0.75

#: Space that is asked for, more than any configuration takes.
_BYTES_PER_CYCLE, _BYTES_OF_RUN = 10_000, 20_000_000

#: Clock period in units of time of the waves.
_PERIOD = 2

#: Name of the folder, and of the waves in it.
_NAME, _VCD = "waves", "waves.vcd"


@dataclass(frozen=True)
class Window:
    """Cycles to record.

    Attributes
    ----------
    number
        Of the outcome whose pass is recorded.
    first, last
        First and last cycle, both included.
    marked
        The cycle that is marked: that of the first mismatch, else the first.
    reason
        What is in the middle of it, for people.
    """

    number: int
    first: int
    last: int
    marked: int
    reason: str


def choose(outcomes: Sequence[Outcome], cycles: int) -> Window:
    """Choose what to record.

    The first pass with a mismatch, and there the cycles around the earliest; else the end of the first pass that
    broke a law; else the start of the first pass that was not dense.
    """

    def first(condition: list[bool]) -> int | None:
        return condition.index(True) if any(condition) else None

    wrong = first([bool(outcome.verdict.mismatches) for outcome in outcomes])
    broken = first([bool(outcome.verdict.broken) for outcome in outcomes])
    gated = first([outcome.planned.mode != "dense" for outcome in outcomes])
    number = next((n for n in (wrong, broken, gated) if n is not None), 0)
    output, verdict = outcomes[number].output, outcomes[number].verdict
    # In the cycle of `done` everything is over; a pass that was given up ended at its limit.
    end = max(1, output.done_cycle - 1 if output.done_cycle else outcomes[number].planned.run.cycle_limit)
    timed = [mismatch for mismatch in verdict.first if mismatch.cycle is not None]
    latest_start = max(1, end - cycles + 1)
    if timed:
        mismatch = min(timed, key=lambda mismatched: mismatched.cycle or 0)
        marked = min(mismatch.cycle or 0, end)
        start, reason = marked - int(_BEFORE * cycles), str(mismatch)
    elif not verdict.holds:
        marked, start, reason = end, latest_start, "the end of a pass that went wrong"
    else:
        marked, start, reason = 1, 1, "the start of a pass in which nothing differs"
    start = min(max(1, start), latest_start)
    return Window(number, start, min(end, start + cycles - 1), marked, reason)


def read_header(path: Path) -> dict[str, str]:
    """Return the bit ranges, such as ``[7:0]``, of the signals of a VCD file, by path; empty for a single bit."""
    scopes: list[str] = []
    ranges: dict[str, str] = {}
    with path.open(encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[:1] == ["$scope"]:
                scopes.append(words[2])
            elif words[:1] == ["$upscope"]:
                scopes.pop()
            elif words[:1] == ["$var"]:
                ranges[".".join([*scopes, words[4]])] = words[5] if words[5] != "$end" else ""
            elif words[:1] == ["$enddefinitions"]:
                break
    return ranges


def _start_time(path: Path) -> int:
    with path.open(encoding="ascii") as file:
        return next(int(line[1:]) for line in file if re.match(r"#\d", line))


def _same(found: RunOutput, other: RunOutput, last: int) -> bool:
    """Whether two runs put out the same decisions and outputs up to a cycle."""
    for cycles, records, value in (
        ("mask_cycles", "masks", "fire"),
        ("trace_cycles", "trace", "codes"),
        ("logit_cycles", "logits", "logits"),
    ):
        parts = [
            (getattr(run, cycles)[until], getattr(run, records)[value][until])
            for run in (found, other)
            for until in [getattr(run, cycles) <= last]
        ]
        if not all(np.array_equal(a, b) for a, b in zip(*parts, strict=True)):
            return False
    return True


def record(
    outcomes: Sequence[Outcome], simulator: Simulator, folder: Path, cycles: int = CYCLES
) -> tuple[Window, list[Path]]:
    """Run a pass again and record it in ``folder / "waves"``: all of the files are written, or none.

    Parameters
    ----------
    outcomes
        Of all passes that were run, in their order.
    simulator
        One built for waves.
    folder
        Where.
    cycles
        How many cycles to record.

    Returns
    -------
    Window, list of pathlib.Path
        What was recorded; the waves and the lists of GTKWave and Surfer.

    Raises
    ------
    UserError
        If there is no space or no right to write.
    SimulationError
        If the simulator fails for another reason.
    """
    target, work = folder / _NAME, folder / f".{_NAME}"
    window = choose(outcomes, cycles)
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        needed, free = _BYTES_OF_RUN + cycles * _BYTES_PER_CYCLE, shutil.disk_usage(work).free
        if free < needed:
            raise UserError(
                f"waves of {cycles} cycles need {needed / 1e6:.0f} MB in {folder}, where {free / 1e6:.0f} MB are free"
            )
        paths = _write(outcomes, window, simulator, work)
        if target.exists():
            shutil.rmtree(target)
        work.rename(target)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        raise UserError(f"waves {target} cannot be written: {error.strerror}") from None
    except UserError:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return window, [target / path.name for path in paths]


def _write(outcomes: Sequence[Outcome], window: Window, simulator: Simulator, work: Path) -> list[Path]:
    """Write all files into ``work``."""
    chosen = outcomes[window.number]
    # Where the pass is cut off the waves end.
    cut = replace(chosen.planned.run, cycle_limit=window.last)
    waves, runs = work / _VCD, work / "runs"
    # Alone, which is quick; if the passes before it matter, with all of them.
    for start in dict.fromkeys((window.number, 0)):
        before = [outcome.planned.run for outcome in outcomes[start : window.number]]
        with tempfile.TemporaryDirectory() as folder, copied(Path(folder) / "pipe", waves):
            plusargs = [f"+waves={folder}/pipe", f"+waves_run={len(before)}", f"+waves_from={window.first}"]
            output = simulator.run([*before, cut], runs, plusargs=plusargs)[-1]
        if _same(output, chosen.output, window.last):
            break
    shutil.rmtree(runs)
    ranges, time = read_header(waves), _start_time(waves)
    marker = time + _PERIOD * (window.marked - window.first)
    lists = {
        "gtkw": wave_lists.gtkwave_list(waves.name, ranges, max(time, marker - 15 * _PERIOD), marker),
        "sucl": wave_lists.surfer_list(ranges, marker),
    }
    for suffix, text in lists.items():
        waves.with_suffix(f".{suffix}").write_text(text, encoding="utf-8")
    wave_lists.write_words(work)
    return [waves, *(waves.with_suffix(f".{suffix}") for suffix in lists)]
