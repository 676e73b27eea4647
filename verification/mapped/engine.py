"""The engine as its netlist, in the place of the generated Verilog."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdgate.files import write_if_changed
from gen.fpga.preparation import prepare
from gen.fpga.toolchain import Target
from gen.verilog import stem
from hw.configurations import Configuration
from sim.run import system
from sim.run.simulators import Simulators
from sim.run.system import NetworkSimulator
from sim.run.verilog_cache import cached_verilog
from verification.mapped.cells import models, netlist_verilog

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["NetlistSimulators", "mapped_engine"]


def mapped_engine(
    target: Target, config: Configuration, build: Path, folder: Path, console: Console
) -> tuple[Path, Mapping[str, Any]]:
    """Write the Verilog of an engine's netlist, as `gen.fpga.preparation.prepare` leaves it, with all cells' models.

    The whole engine is the netlist's top module, with its trace and without the pin harness.

    Parameters
    ----------
    target
        The device.
    config
        The engine.
    build
        Folder in which ``verilog`` has what is generated.
    folder
        Where it is written.
    console
        Where it is shown how far the work is.

    Returns
    -------
    tuple
        The file, its description (that of the generated Verilog) beside it; and what is known of the netlist.

    Raises
    ------
    UserError
        If a tool is missing, or the device has too few blocks.
    RunError
        If a tool fails.
    """
    generated = cached_verilog(config, build / "verilog", top="system")
    description = generated.with_suffix(".json").read_text(encoding="utf-8")
    top, name = json.loads(description)["top"], stem(config.name, "system")
    folder.mkdir(parents=True, exist_ok=True)
    prepared = prepare(target, generated.read_text(encoding="utf-8"), name, folder, console, top)
    path = folder / f"{name}_netlist.v"
    write_if_changed(path, models() + netlist_verilog(folder / prepared.netlist, top))
    write_if_changed(path.with_suffix(".json"), description)
    return path, prepared.facts


class NetlistSimulators(Simulators):
    """What simulates a configuration's netlist.

    Parameters
    ----------
    verilog
        What `mapped_engine` wrote.
    config, build, say
        As of `sim.run.simulators.Simulators`.
    """

    def __init__(self, verilog: Path, config: Configuration, build: Path, say: Callable[[str], None]) -> None:
        super().__init__(config, build, say)
        self.verilog = verilog

    def system(self, facts: dict[str, Any]) -> NetworkSimulator:
        """Return the simulator of the whole engine; see `sim.run.simulators.Simulators.system`."""
        start = time.monotonic()
        simulator = system.build(
            self.verilog,
            self.build / "verilator",
            announce=lambda: self.say("building the simulator of the netlist, which takes some minutes"),
            quick=True,
        )
        facts["verilog_sha256"] = hashlib.sha256(self.verilog.read_bytes()).hexdigest()
        facts.setdefault("wall_seconds", {}).update(generate=0.0, build=round(time.monotonic() - start, 3))
        return simulator
