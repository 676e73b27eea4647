"""Builds the testbench of the whole engine and runs scenarios on it; see `sim.testbench`."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.axi import MAX_BURST
from hw.registers import ADDRESS_BITS

from . import runner

__all__ = ["MEMORY_LOG2", "NetworkSimulator", "build"]

#: Binary logarithm of the simulated memory's bytes.
MEMORY_LOG2 = 25

_SOURCES = [runner.SOURCE / name for name in ("tb_network.sv", "axi_memory.sv", "axi_checker.sv")]


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
            A function of a module that can be imported, of a `sim.testbench.Session` and further arguments.
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
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        work = work.resolve()
        job, log = work / "job", work / "simulator.log"
        job.write_bytes(pickle.dumps((function, arguments, self.axi_bytes)))
        runner.execute(self.folder, "tb_network", "sim.bench_network", work, {"CDGATE_JOB": str(job)}, log)
        result = job.with_suffix(".result")
        if not result.exists():
            raise runner.SimulationError(f"simulator ended early, see {log}")
        value, error, text = pickle.loads(result.read_bytes())
        if error is not None:
            error.add_note(text)
            raise error
        return value


def _configuration(description: dict[str, Any], memory_log2: int) -> str:
    """Return tb_config.svh: the module's name and the ports' widths."""
    widths = {port["name"]: port["width"] for port in description["ports"]}
    ports = {"AXI": "m_axi_wdata", "TRACE": "trace_o__payload", "MASK": "mask_o__payload", "PASS": "pass_o__payload"}
    lines = [f"`define DUT \\{description['top']} ", f"`define MAX_BURST {MAX_BURST}",
             f"`define LITE_BITS {ADDRESS_BITS}", f"`define MEMORY_LOG2 {memory_log2}"]
    lines += [f"`define {name}_BITS {widths.get(port, 8)}" for name, port in ports.items()]
    if "trace_o__payload" in widths:
        lines.append("`define HAS_TRACE")
    return "\n".join(lines) + "\n"


def build(verilog: Path, folder: Path = runner.BUILD, announce: Callable[[], None] | None = None) -> NetworkSimulator:
    """Build the testbench around a Verilog file of the engine; see `sim.runner.build`."""
    description = json.loads(verilog.with_suffix(".json").read_text(encoding="utf-8"))
    target, seconds = runner.build_bench(description["top"], "tb_network", [*_SOURCES, verilog],
                                         _configuration(description, MEMORY_LOG2), folder, announce)
    return NetworkSimulator(target, seconds, description["config"]["axi_bits"] // 8)
