"""Builds the testbench of the compute core and runs passes on it."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdgate.cli import say
from sim.run.build import BUILD, SOURCE, SimulationError, build_bench, run_bench
from sim.run.files import Run, RunOutput, read_run, write_run

__all__ = ["Progress", "Simulator", "build"]


_TESTBENCH = SOURCE / "tb_core.sv"


def _configuration(description: dict) -> str:
    """Return tb_config.svh: the module's name and the ports' widths."""
    widths = {port["name"]: port["width"] for port in description["ports"]}
    ports = {
        "LAYER": "layer",
        "COUNTER": "counters",
        "LOAD": "load_i__payload",
        "PARAM": "param_i__payload",
        "WEIGHT": "weight_i__payload",
        "READ": "read_i__payload",
        "WORD": "read_o__payload",
        "MASK": "mask_o__payload",
        "LOGIT": "logit_o__payload",
        "TRACE": "trace_o__payload",
    }
    # A backslash makes any name an identifier: `small` is a keyword of Verilog.
    lines = [f"`define DUT \\{description['top']} "]
    lines += [f"`define {name}_BITS {widths.get(port, 8)}" for name, port in ports.items()]
    if "trace_o__payload" in widths:
        lines.append("`define HAS_TRACE")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Simulator:
    """A built testbench.

    Attributes
    ----------
    folder
        Its build folder.
    build_seconds
        Wall time of the build; 0 if it was there already.
    """

    folder: Path
    build_seconds: float

    def run(
        self,
        runs: Sequence[Run],
        work: Path,
        progress: Callable[[int], None] | None = None,
        plusargs: Sequence[str] = (),
    ) -> list[RunOutput]:
        """Execute runs one after the other in one process of the simulator.

        Parameters
        ----------
        runs
            What to run. The core is reset before the first one, and after one that was given up.
        work
            Folder for the files of the runs; emptied first.
        progress
            Called now and then with the number of runs that have ended.
        plusargs
            Further arguments of the testbench.

        Raises
        ------
        SimulationError
            If the simulator ends before the last run does.
        """
        shutil.rmtree(work, ignore_errors=True)
        for number, run in enumerate(runs):
            write_run(work / str(number), run, reset=number == 0)
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(work, len(runs), ended, progress), daemon=True)
        if progress is not None:
            watcher.start()
        log = (work / "simulator.log").resolve()
        try:
            run_bench(
                self.folder, "tb_core", "sim.testbench.core_bench", work, {"CDGATE_RUNS": str(len(runs))}, log, plusargs
            )
        finally:
            ended.set()
        missing = [n for n in range(len(runs)) if not (work / str(n) / "result.txt").exists()]
        if missing:
            raise SimulationError(f"simulator ended in run {missing[0]} of {len(runs)}, see {log}")
        return [read_run(work / str(number), run) for number, run in enumerate(runs)]

    @staticmethod
    def _watch(work: Path, count: int, ended: threading.Event, progress: Callable[[int], None]) -> None:
        done = 0
        while not ended.wait(0.5):
            while done < count and (work / str(done) / "result.txt").exists():
                done += 1
            progress(done)


def build(
    verilog: Path, folder: Path = BUILD, announce: Callable[[], None] | None = None, waves: bool = False
) -> Simulator:
    """Build the core's testbench around a Verilog file, unless a build of the same text is there.

    Parameters
    ----------
    verilog
        The file; beside it lies its description, ``.json``.
    folder
        Where builds are kept, each under a hash of all that it depends on.
    announce
        Called before a build, which takes a minute.
    waves
        Whether it can record waves, see `sim.run.tracing`; then it is slower.

    Raises
    ------
    UserError
        If Verilator is missing.
    SimulationError
        If it fails.
    """
    description = json.loads(verilog.with_suffix(".json").read_text(encoding="utf-8"))
    return Simulator(
        *build_bench(
            description["top"], "tb_core", [_TESTBENCH, verilog], _configuration(description), folder, announce, waves
        )
    )


class Progress:
    """Prints a line to stderr every few seconds, once the work has taken more than five.

    Parameters
    ----------
    sizes
        Expected cycles of each run, for the time left.
    """

    INTERVAL = 5.0

    def __init__(self, sizes: Sequence[int]):
        self._sizes = list(sizes)
        self._start = self._last = time.monotonic()

    def __call__(self, done: int) -> None:
        """Report that the first ``done`` runs have ended."""
        now = time.monotonic()
        if now - self._last < self.INTERVAL:
            return
        self._last = now
        part = sum(self._sizes[:done]) / sum(self._sizes)
        left = f", about {(now - self._start) * (1 - part) / part:.0f} s left" if part else ""
        say(f"simulated {done} of {len(self._sizes)} passes in {now - self._start:.0f} s{left}")
