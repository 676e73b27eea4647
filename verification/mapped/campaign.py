"""Small networks on the netlist and on the generated Verilog: all exact, and cycle for cycle the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdgate.modes import GateMode
from hw.configurations import Configuration
from sim.engine import Engine
from sim.show.results import SimulatedNetwork
from verification.mapped.engine import NetlistSimulators
from verification.mutation.networks import NETWORKS, made

__all__ = ["MODES", "RUNS", "Comparison", "compare"]

#: Networks of `verification.mutation.networks` that are run: a whole gated layer; all that networks are made of.
RUNS = ("layer", "slices")

#: Each is run in both.
MODES = (GateMode.GATED, GateMode.DENSE)


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """A network on the netlist, and on the Verilog that it was made of.

    Attributes
    ----------
    name
        The network's.
    netlist, verilog
        What came on either.
    """

    name: str
    netlist: SimulatedNetwork
    verilog: SimulatedNetwork

    def findings(self) -> Iterator[str]:
        """Yield what is wrong, a line each."""
        if not self.verilog.passed:
            yield f"{self.name}: the generated Verilog itself does not pass"
        verdict = self.netlist.verdict
        if verdict.mismatches:
            yield f"{self.name}: {verdict.mismatches:,} mismatches, the first: {verdict.first[0]}"
        elif not verdict.passed:
            yield f"{self.name}: {self.netlist.report['verdict'].removeprefix('fail: ')}"
        for mode in MODES:
            found, wanted = (_cycles(one, mode) for one in (self.netlist, self.verilog))
            if found != wanted:
                layer = next(name for name in wanted if found.get(name) != wanted[name])
                yield (
                    f"{self.name}, {mode}: layer {layer} takes {found.get(layer)} cycles, {wanted[layer]} on the "
                    "generated Verilog"
                )

    def row(self) -> dict[str, Any]:
        """Return the comparison as the report has it."""
        report = self.netlist.report
        stress = report.get("stress", {})
        return {
            "network": self.name,
            "outputs_checked": report["outputs_checked"] + stress.get("outputs_checked", 0),
            "decisions_checked": report["decisions_checked"] + stress.get("decisions_checked", 0),
            "mismatches": report["mismatches"] + stress.get("mismatches", 0),
            "cycles": {mode: sum(_cycles(self.netlist, mode).values()) for mode in MODES},
            "cycles_of_the_verilog": {mode: sum(_cycles(self.verilog, mode).values()) for mode in MODES},
            "seconds": round(report["wall_seconds"]["simulate"], 1),
            "findings": list(self.findings()),
        }


def _cycles(one: SimulatedNetwork, mode: str) -> dict[str, int]:
    """Return the cycles of each layer in a mode."""
    return {layer["layer"]: layer["cycles"][mode] for layer in one.report["layers"]}


def compare(
    verilog: Path,
    config: Configuration,
    build: Path,
    folder: Path,
    say: Callable[[str], None],
    names: Sequence[str] = RUNS,
) -> Iterator[Comparison]:
    """Run networks, gated and dense, on a netlist and on the generated Verilog.

    Parameters
    ----------
    verilog
        The netlist, as `verification.mapped.engine.mapped_engine` wrote it.
    config
        The engine.
    build
        Folder of Verilog and simulators.
    folder
        For the files of the runs: those of a run that differs stay there.
    say
        Takes lines about the progress.
    names
        Of the networks.

    Raises
    ------
    RunError
        If a simulator or the engine stops.
    """
    mapped, generated = (Engine(config, build=build, say=say) for _ in range(2))
    mapped.simulators = NetlistSimulators(verilog, config, build, say)
    for name in names:
        network, images = made(NETWORKS[name])
        own = folder / name.replace(" ", "_")
        shutil.rmtree(own, ignore_errors=True)
        say(f"{name}: on the generated Verilog, gated and dense side by side")
        wanted = generated.run(network, images, output=own / "verilog")
        say(f"{name}: on the netlist")
        yield Comparison(name=name, netlist=mapped.run(network, images, output=own / "netlist"), verilog=wanted)
