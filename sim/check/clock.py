"""The testbench's clock beside a network's run: how many cycles the engine's own counters must show, and when.

The engine counts the cycles in which a run is under way: from `START` cycles after the testbench is told to write the
start bit up to the one before the interrupt rises. What the counters show with a pass's record is `PASS` cycles old.
Both are pipelines of a fixed length: the counters must equal the testbench's clock to the cycle, whatever the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cdgate.errors import RunError
from gen.layer.geometry import Geometry
from hw.interface.registers import register
from sim.run.scenario import NetworkJob, NetworkRun, run_networks
from sim.run.trace import RunTrace
from sim.testbench.session import COMMANDS, Session

__all__ = ["BETWEEN", "PASS", "START", "Clock", "broken_clock", "broken_wait", "run_timed"]

#: Cycles from `Clock.started` to the first that the engine counts: the testbench's next command, the write's way
#: through the register port, the register, the run's state.
START = 7

#: Cycles behind a pass's last write that still count as its end, the write's own not among them, and the first step of
#: the next pass, which is none of them: so many fewer wait for the next pass than lie between.
BETWEEN = 3

#: Steps of a job and of a slice from which on jobs follow each other without a gap, and the cycles by which a pass's
#: end, which is not its last write, may lie farther off or nearer.
JOB_STEPS, SLICE_STEPS, SLACK = 8, 64, 2

#: Cycles from one that is counted to that in which the counters on the trace port show it; see `hw.jobs.counters`.
PASS = 4


@dataclass(frozen=True, kw_only=True)
class Clock:
    """When a run began and ended, in the cycles of the testbench.

    Attributes
    ----------
    started
        Cycle before that in which the testbench is told to write the start bit.
    ended
        Cycles between which, both included, the interrupt was up for the first time. They are the same, unless it rose
        while the testbench was busy with a register.
    """

    started: int
    ended: tuple[int, int]


class _Timed:
    """Commands of the testbench, with its clock read before each start bit and after every wait for the interrupt."""

    def __init__(self, call: Callable[[int, int, int, int], int], folder: Path) -> None:
        self._call, self._folder = call, folder
        self._low: int | None = None
        self._started: int | None = None
        self.clocks: list[Clock] = []

    def __call__(self, command: int, a: int, b: int, c: int) -> int:
        name = COMMANDS[command]
        if name == "write" and a == register("CONTROL").address:
            self._started, self._low = self._cycle(), None
        result = self._call(command, a, b, c)
        if name == "wait" and self._started is not None:
            seen, waited = self._cycle() - 1, result & 0xFFFF_FFFF
            if not result >> 63:
                self._low = seen
                return result
            # It was up already if nothing was waited for.
            low = seen if waited else (self._started if self._low is None else self._low) + 1
            self.clocks.append(Clock(started=self._started, ended=(low, seen)))
            self._started = None
        return result

    def _cycle(self) -> int:
        """Return the cycle in which the testbench carries out this command."""
        self._call(COMMANDS.index("report"), 0, 0, 0)  # a session numbers its own files from 1
        path = self._folder / "0"
        [cycle] = [
            line.split()[1] for line in path.read_text(encoding="ascii").splitlines() if line.startswith("cycle ")
        ]
        path.unlink()
        return int(cycle)


def run_timed(
    session: Session, jobs: Sequence[NetworkJob], settings: Mapping[str, int]
) -> list[tuple[NetworkRun, Clock]]:
    """Run networks as `sim.run.scenario.run_networks` does, with the testbench's clock read beside them.

    Parameters
    ----------
    session, settings
        As there; without gaps in the register accesses, which would delay the start.
    jobs
        The networks.
    """
    timed = _Timed(session._call, session.folder)
    runs = run_networks(Session(timed, session.folder, session.axi_bytes), jobs, settings)
    if len(timed.clocks) != len(runs):
        raise RunError(f"testbench must see {len(runs)} runs start and end, not {len(timed.clocks)}")
    return list(zip(runs, timed.clocks, strict=True))


def broken_clock(trace: RunTrace, final: int, clock: Clock | None) -> Iterator[tuple[int | None, str]]:
    """Yield where the counted cycles are not the clock's: a pass's number, None for the run, and what is wrong.

    Parameters
    ----------
    trace
        With the cycle and the counters of each pass's first step.
    final
        Cycles that the engine has counted in the run.
    clock
        When the run began and ended. Without it neither the cycles before the second pass's first step nor those after
        the last one's are judged.
    """
    stamps = trace.pass_cycles.tolist()
    counts = trace.passes["counters"]["cycles"].tolist() if stamps else []
    if clock is not None:
        first, last = (cycle - clock.started - START for cycle in clock.ended)
        if not first <= final <= last:
            expected = str(first) if first == last else f"{first} to {last}"
            yield None, f"cycles of the run must be the testbench's {expected}, not {final}"
        begin = clock.started + START + PASS
        if stamps and counts[0] != stamps[0] - begin:
            yield 0, f"cycles before the first step must be the testbench's {stamps[0] - begin}, not {counts[0]}"
    for number in range(1, len(stamps)):
        expected, found = stamps[number] - stamps[number - 1], counts[number] - counts[number - 1]
        if found != expected:
            yield number - 1, f"cycles of pass {number - 1} must be the testbench's {expected}, not {found}"


def broken_wait(
    trace: RunTrace, number: int, geometry: Geometry, writes: np.ndarray, counters: Mapping[str, int]
) -> Iterator[str]:
    """Yield what is wrong, if anything, with the causes of the idle cycles between a pass and the next one.

    Parameters
    ----------
    trace
        With the cycle of each pass's first step.
    number
        Of the pass. Nothing is judged of the first, whose counters include what was before it, and of the last.
    geometry
        Of the pass: where jobs are short or few, gaps between them count as `start`, too, which has no bound then.
    writes
        Cycles of its writes.
    counters
        Of the cycles from its first step to the next pass's.
    """
    if number and number + 1 < len(trace.pass_cycles) and len(writes):
        between = int(trace.pass_cycles[number + 1]) - int(writes.max()) - BETWEEN
        waits = sum(counters[f"idle_{cause}"] for cause in ("start", "input", "output"))
        # Before its first step the next pass may wait for weights; a pooling one counts as such from its start on.
        most = waits + counters["idle_weights"] + counters["idle_pool"] + SLACK
        least = waits - SLACK if _is_long(geometry) else 0
        if not least <= between <= most:
            told = f"{least} to {most}"
            yield f"cycles that wait for the next pass must be the testbench's {between}, not {told} by their causes"


def _is_long(geometry: Geometry) -> bool:
    """Tell whether jobs of a pass follow each other without a gap, after the first: of some steps each, and many."""
    g = geometry
    taps = max(g.tap_rows - g.pad_top - g.pad_bottom, 1) * max(g.tap_cols - g.pad_left - g.pad_right, 1)
    steps = taps * min(g.group_chunks, g.chunks - g.group_chunks or g.group_chunks)
    return steps >= JOB_STEPS and steps * g.images * g.out_rows * g.out_cols >= SLICE_STEPS
