"""The simulators of a configuration: Verilog generated and compiled when it is needed, with the time that it took."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gen import verilog
from hw.configurations import Configuration
from sim.run import core, system
from sim.run.core import Simulator as CoreSimulator
from sim.run.system import NetworkSimulator
from sim.run.verilog_cache import cached_verilog

__all__ = ["Simulators"]


class Simulators:
    """What simulates a configuration.

    Parameters
    ----------
    config
        The configuration.
    build
        Folder of Verilog (``verilog``) and builds (``verilator``).
    say
        Called with a line before work that takes long.
    """

    def __init__(self, config: Configuration, build: Path, say: Callable[[str], None]) -> None:
        self.config, self.build, self.say = config, build, say

    def core(self, facts: dict[str, Any]) -> CoreSimulator:
        """Return the simulator of the compute core.

        Parameters
        ----------
        facts
            Of a report: gets ``verilog_sha256``, and in ``wall_seconds`` what generating and building took.
        """
        return self._built(core.build, facts, "core")

    def system(self, facts: dict[str, Any]) -> NetworkSimulator:
        """Return the simulator of the whole engine; see `core`."""
        return self._built(system.build, facts, "system")

    def waves(self) -> CoreSimulator:
        """Return a simulator of the compute core that records waves, see `sim.show.waves`."""
        return self._built(core.build, {}, "core", waves=True)

    def _verilog(self, facts: dict[str, Any], top: str) -> Path:
        start = time.monotonic()
        path = cached_verilog(
            self.config,
            self.build / "verilog",
            announce=lambda: self.say(f"generating the Verilog of {verilog.stem(self.config.name, top)}"),
            top=top,
        )
        # Now, as the file may be replaced while the simulation runs.
        facts["verilog_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        facts.setdefault("wall_seconds", {})["generate"] = round(time.monotonic() - start, 3)
        return path

    def _built(self, build: Callable[..., Any], facts: dict[str, Any], top: str, **options: Any) -> Any:
        path = self._verilog(facts, top)
        start = time.monotonic()
        kind = " that writes waves" if options.get("waves") else ""
        simulator = build(
            path,
            self.build / "verilator",
            announce=lambda: self.say(f"building the simulator of {path}{kind}, once for each text"),
            **options,
        )
        facts["wall_seconds"]["build"] = round(time.monotonic() - start, 3)
        return simulator
