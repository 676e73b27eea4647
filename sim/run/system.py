"""Builds the testbench of the whole engine and runs scenarios on it; see `sim.testbench.session`."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdgate.environment import ROOT, inherited, python_path
from hw.interface.axi import MAX_BURST
from hw.interface.registers import ADDRESS_BITS
from sim.run.build import BUILD, SOURCE, SimulationError, build_bench, run_bench

__all__ = ["MEMORY_LOG2", "NetworkSimulator", "RunningScenario", "build"]

#: Binary logarithm of the simulated memory's bytes.
MEMORY_LOG2 = 25

_SOURCES = [SOURCE / name for name in ("tb_system.sv", "axi_memory.sv", "axi_checker.sv")]


@dataclass(frozen=True)
class NetworkSimulator:
    """A built testbench.

    Attributes
    ----------
    folder
        Its build folder.
    build_seconds
        Wall time of the build; 0 if it was there already.
    axi_bytes
        Size of a word of the memory.
    """

    folder: Path
    build_seconds: float
    axi_bytes: int

    def run(self, function: Callable[..., Any], arguments: tuple[Any, ...], work: Path) -> Any:
        """Run a scenario in a process of the simulator, and return what it returns.

        Parameters
        ----------
        function
            A function of a module that can be imported, of a `sim.testbench.session.Session` and further arguments.
        arguments
            Those; they are pickled, as what is returned.
        work
            Folder for the files; emptied first.

        Raises
        ------
        SimulationError
            If the simulator ends before the scenario does.
        Exception
            What the scenario raises.
        """
        job = self._write_job(function, arguments, work)
        _execute(self.folder, job)
        return _result(job)

    def start(self, function: Callable[..., Any], arguments: tuple[Any, ...], work: Path) -> RunningScenario:
        """Start a scenario beside what this process does; otherwise as `run`."""
        job = self._write_job(function, arguments, work)
        with (job.parent / "runner.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "sim.run.system", str(self.folder), str(job)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**inherited(), "PYTHONPATH": python_path()},
            )
        return RunningScenario(process, job)

    def _write_job(self, function: Callable[..., Any], arguments: tuple[Any, ...], work: Path) -> Path:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        job = work.resolve() / "job"
        job.write_bytes(pickle.dumps((function, arguments, self.axi_bytes)))
        return job


@dataclass(frozen=True)
class RunningScenario:
    """A scenario that runs in a process of its own."""

    process: subprocess.Popen[bytes]
    job: Path

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def result(self) -> Any:
        """Wait for the end and return what the scenario returned; errors as of `NetworkSimulator.run`."""
        self.process.wait()
        return _result(self.job)

    def stop(self) -> None:
        """End the process and the simulator, which is its child, if it has not ended."""
        if not self.ended:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()


def _execute(folder: Path, job: Path) -> None:
    run_bench(
        folder,
        "tb_system",
        "sim.testbench.system_bench",
        job.parent,
        {"CDGATE_JOB": str(job)},
        job.parent / "simulator.log",
    )


def _result(job: Path) -> Any:
    result = job.with_suffix(".result")
    if not result.exists():
        raise SimulationError(f"simulator failed, see {job.parent / 'simulator.log'}")
    value, error, text = pickle.loads(result.read_bytes())
    if error is not None:
        error.add_note(text)
        raise error
    return value


def _configuration(description: dict[str, Any], memory_log2: int) -> str:
    """Return tb_config.svh: the module's name and the ports' widths."""
    widths = {port["name"]: port["width"] for port in description["ports"]}
    ports = {"AXI": "m_axi_wdata", "TRACE": "trace_o__payload", "MASK": "mask_o__payload", "PASS": "pass_o__payload"}
    lines = [
        f"`define DUT \\{description['top']} ",
        f"`define MAX_BURST {MAX_BURST}",
        f"`define LITE_BITS {ADDRESS_BITS}",
        f"`define MEMORY_LOG2 {memory_log2}",
    ]
    lines += [f"`define {name}_BITS {widths.get(port, 8)}" for name, port in ports.items()]
    if "trace_o__payload" in widths:
        lines.append("`define HAS_TRACE")
    return "\n".join(lines) + "\n"


def build(
    verilog: Path, folder: Path = BUILD, announce: Callable[[], None] | None = None, quick: bool = False
) -> NetworkSimulator:
    """Build the testbench around a Verilog file of the engine; see `sim.run.core.build`.

    `quick` is as in `sim.run.build.build_bench`.
    """
    description = json.loads(verilog.with_suffix(".json").read_text(encoding="utf-8"))
    target, seconds = build_bench(
        description["top"],
        "tb_system",
        [*_SOURCES, verilog],
        _configuration(description, MEMORY_LOG2),
        folder,
        announce,
        quick=quick,
    )
    return NetworkSimulator(target, seconds, description["config"]["axi_bits"] // 8)


if __name__ == "__main__":
    _execute(Path(sys.argv[1]), Path(sys.argv[2]))
