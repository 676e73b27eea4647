"""An engine to compile for and to simulate on, as Python sees it; the commands of this package call nothing else."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cdgate.cli import say as print_to_stderr
from cdgate.errors import UserError
from cdgate.files import as_path
from cdgate.lock import locked
from cdgate.modes import GateMode
from gen import verilog
from gen.cost.compilation import MAX_LATENCY, Compilation, compile_for
from gen.cost.traffic import traffic
from gen.network.gating import for_engine
from hw.configurations import DEFAULT, Configuration, configuration
from hw.params import HwParams
from sim.check.execution import execute_layers, execute_network
from sim.check.layer import sum_up
from sim.check.network import NetworkResult
from sim.check.verdict import Verdict
from sim.plan.arguments import as_folder, as_images, as_layers, as_masks, as_network, as_number, as_texts
from sim.plan.layer import plan
from sim.plan.network import RUNS, Plan
from sim.plan.network import plan as plan_network
from sim.plan.stress import stress_network
from sim.run.simulators import Simulators
from sim.show import report
from sim.show.network_report import network_report
from sim.show.results import SimulatedLayer, SimulatedNetwork
from sw_model.integer.network import IntNetwork

__all__ = ["BUILD", "Engine"]

#: Folder of everything that is generated, under the working directory.
BUILD = Path("build")

Say = Callable[[str], None]


class Engine:
    """A configuration of the engine.

    Parameters
    ----------
    config
        Name of a configuration, path of a TOML file that describes one, or an `hw.params.HwParams`.
    build
        Folder of Verilog, simulators, and of reports where none is named.
    say
        Takes lines about work that takes long; standard error if not given.

    Attributes
    ----------
    config
        The `hw.configurations.Configuration`.
    simulators
        Of its Verilog, built when they are needed.

    Raises
    ------
    UserError
        If there is no such configuration.
    """

    def __init__(
        self,
        config: str | Path | HwParams | Configuration = DEFAULT,
        *,
        build: Path | str = BUILD,
        say: Say | None = None,
    ) -> None:
        self.config = configuration(config)
        self.build = as_path("build", build)
        self.say: Say = say or print_to_stderr
        self.simulators = Simulators(self.config, self.build, self.say)

    def __repr__(self) -> str:
        return f"Engine({self.config.name!r})"

    @property
    def params(self) -> HwParams:
        """Its parameters."""
        return self.config.params

    def verilog(self, folder: Path | str | None = None) -> list[Path]:
        """Write the Verilog of the compute core and of the whole engine, a JSON description beside each.

        Parameters
        ----------
        folder
            Where; ``verilog`` of the build folder if not given.

        Returns
        -------
        list[Path]
            The two Verilog files.
        """
        target = as_folder(self.build / "verilog" if folder is None else folder)
        return [verilog.write(self.config, target, top) for top in verilog.TOPS]

    def compile(
        self,
        network: IntNetwork,
        images: np.ndarray,
        mode: str = GateMode.GATED,
        *,
        bandwidth: float = 8,
        latency: int = 40,
    ) -> Compilation:
        """Compile a network for some images, and predict its cycles; see `gen.cost.compilation.compile_for`."""
        images = as_images(images, as_network(network).image_channels)
        return compile_for(self.config, network, images, mode, bandwidth, latency)

    def run_layer(
        self,
        network: IntNetwork,
        layer: str,
        images: np.ndarray,
        mode: str = GateMode.GATED,
        *,
        batch: int = 1,
        masks: Any = None,
        output: Path | str | None = None,
    ) -> SimulatedLayer:
        """Simulate one layer, dense and in another mode, and compare all that it computes; see `run_layers`."""
        return self.run_layers(network, [layer], images, mode, batch=batch, masks=masks, output=output)[0]

    def run_layers(
        self,
        network: IntNetwork,
        layers: Sequence[str],
        images: np.ndarray,
        mode: str = GateMode.GATED,
        *,
        batch: int = 1,
        masks: Any = None,
        output: Path | str | None = None,
        group: str | None = None,
        names: Sequence[str] | None = None,
        command: str | None = None,
    ) -> list[SimulatedLayer]:
        """Simulate layers one after the other on the generated Verilog, dense and in another mode, and compare.

        Behind each come its stress passes (`sim.plan.stress`), which are compared, too, but counted apart.

        Every layer reads what the gated network gives it, in all modes. ``<layer>/report.json`` is written for each;
        the files of a run that differs stay in ``<group>/runs``.

        Parameters
        ----------
        network
            The golden model.
        layers
            Their names.
        images
            (N, H, W, 3) uint8, or (N, H, W, 1) where the network is of grey images.
        mode
            One of `cdgate.modes.GateMode`: run besides the dense run, which is always made.
        batch
            Images in one pass.
        masks
            In mode forced the decisions of the only layer, (N, slices or channels, rows, columns) bool, an array or a
            tensor; those of the gated network if not given.
        output
            Folder of the reports; ``sim`` of the build folder if not given.
        group
            What the files of the runs are kept under; the layer's name, or "all" for several, if not given.
        names
            Of the images, for the report.
        command
            That made this, for the report.

        Raises
        ------
        UserError
            If something of this is not allowed, or a layer does not fit the engine.
        SimulationError
            If the simulator itself fails.
        """
        images = as_images(images, as_network(network).image_channels)
        layers, masks = as_layers(layers, network), as_masks(masks)
        batch = as_number("batch, of so many images,", batch, 1, len(images))
        if mode not in tuple(GateMode):
            raise UserError(f"mode must be one of {', '.join(GateMode)}, not {mode!r}")
        network = for_engine(network, self.params, mode)
        if masks is not None and (mode != GateMode.FORCED or len(layers) != 1):
            raise UserError("a mask needs mode forced and one layer")
        if group not in (None, report.ALL, *layers):
            raise UserError(f"group must be one of {report.ALL}, {', '.join(layers)}, not {group!r}")
        target = as_folder(self.build / "sim" if output is None else output)
        folder = target / (group or (layers[0] if len(layers) == 1 else report.ALL))
        written = {folder.name, *layers}
        for name in written:
            report.remove_report(target, name)
        as_folder(folder)
        passes = plan(network, layers, images, mode, self.params, batch, masks)
        facts = self._facts(network, images, names, command or f"{self!r}.run_layers({list(layers)})", batch)
        simulator = self.simulators.core(facts)
        with locked(folder / ".lock", announce=lambda: self.say(f"waiting for another run that writes to {folder}")):
            for name in written:  # by the run that was waited for
                report.remove_report(target, name)
            start = time.monotonic()
            outcomes = execute_layers(passes, simulator, folder / "runs")
            results = sum_up(outcomes)
            facts["wall_seconds"]["simulate"] = round(time.monotonic() - start, 3)
            found = []
            for name in layers:
                verdict = Verdict()
                for result in results[name].values():
                    verdict.add(result.verdict)
                made = report.layer_report(name, mode, results[name], facts)
                report.write_report(made, target)
                mine = [outcome for outcome in outcomes if outcome.planned.layer.name == name]
                found.append(SimulatedLayer(made, verdict, mine))
            if all(layer.passed for layer in found):  # otherwise its files tell what happened
                shutil.rmtree(folder / "runs")
        return found

    def run(
        self,
        network: IntNetwork,
        images: np.ndarray,
        *,
        bandwidth: int = 8,
        latency: int = 40,
        runs: str = "both",
        output: Path | str | None = None,
        names: Sequence[str] | None = None,
        labels: Sequence[str | None] | None = None,
        command: str | None = None,
    ) -> SimulatedNetwork:
        """Simulate the whole network with its memory behind AXI, and compare everything with the golden model.

        A small stress network (`sim.plan.stress`) is run in front, compared as well and counted apart.

        Parameters
        ----------
        network
            The golden model.
        images
            (N, H, W, 3) uint8, or (N, H, W, 1) where the network is of grey images.
        bandwidth
            Bytes a cycle that the memory reads and writes together, 1 to 1,024.
        latency
            Cycles from an address to the first data or response, 1 to 100,000.
        runs
            "both", gated and dense side by side in two processes, or "gated".
        output
            Folder of the report, which is ``network/report.json`` in it; ``sim`` of the build folder if not given.
        names, labels
            Of the images, for the report.
        command
            That made this, for the report.

        Raises
        ------
        UserError
            If something of this is not allowed, or the network does not fit the engine.
        RunError
            If the simulator or the engine stops.
        """
        network = for_engine(as_network(network), self.params)
        images = as_images(images, network.image_channels)
        if runs not in tuple(RUNS):
            raise UserError(f"runs must be one of {', '.join(RUNS)}, not {runs!r}")
        bandwidth, latency = as_number("bandwidth", bandwidth, 1, 1024), as_number("latency", latency, 1, MAX_LATENCY)
        labels = as_texts("labels", [None] * len(images) if labels is None else labels, len(images), some=True)
        if not self.params.trace:
            raise UserError(f"configuration {self.config.name} has no trace, which the comparison needs")
        target = as_folder(self.build / "sim" if output is None else output)
        folder = target / report.NETWORK
        report.remove_report(target, report.NETWORK)
        as_folder(folder)
        plans: dict[str, Plan] = {
            mode: plan_network(network, self.params, images, mode, bandwidth, latency) for mode in RUNS[runs]
        }
        synthetic, pixels = stress_network(self.params, network)
        synthetic = for_engine(synthetic, self.params)
        stress: dict[str, Plan] = {
            mode: plan_network(synthetic, self.params, pixels, mode, bandwidth, latency) for mode in RUNS[runs]
        }
        facts = self._facts(network, images, names, command or f"{self!r}.run({len(images)} images)", len(images))
        simulator = self.simulators.system(facts)
        settings = {"bandwidth": bandwidth, "latency": latency}
        with locked(folder / ".lock", announce=lambda: self.say(f"waiting for another run that writes to {folder}")):
            report.remove_report(target, report.NETWORK)  # of the run that was waited for
            start = time.monotonic()
            results = execute_network(simulator, plans, stress, settings, folder / "runs", self.say)
            facts["wall_seconds"]["simulate"] = round(time.monotonic() - start, 3)
            gated = results[GateMode.GATED]
            expected = plans[GateMode.GATED].golden.classes().tolist()
            made = network_report(
                results,
                {mode: traffic(planned.program) for mode, planned in plans.items()},
                {mode: planned.prediction.layers() for mode, planned in plans.items()},
                self.params,
                [layer.name for layer in network.layers if layer.gated],
                settings,
                facts,
                _predictions(network, facts["image_names"], labels, gated, expected),
            )
            report.write_report(made, target)
            verdict = Verdict()
            for result in results.values():
                verdict.add(result.total())
            if verdict.passed:  # otherwise its files tell what happened
                shutil.rmtree(folder / "runs")
        return SimulatedNetwork(made, verdict, gated.logits)

    def _facts(
        self, network: IntNetwork, images: np.ndarray, names: Sequence[str] | None, command: str, batch: int
    ) -> dict[str, Any]:
        """Return the entries of a report that are not measured, but for the Verilog's."""
        named = [f"image {number}" for number in range(len(images))] if names is None else names
        return {
            "command": command,
            "config": self.config.name,
            "images": len(images),
            "image_names": as_texts("names", named, len(images)),
            "batch": batch,
            "checkpoint_sha256": network.digest,
            "network": network.meta.get("name"),
            "tools": report.tool_versions(),
            "wall_seconds": {},
        }


def _predictions(
    network: IntNetwork,
    names: Sequence[str],
    labels: Sequence[str | None],
    result: NetworkResult,
    expected: Sequence[int],
) -> list[dict[str, Any]]:
    classes = network.meta.get("classes") or [str(n) for n in range(network.layers[-1].out_ch)]
    return [
        {"image": name, "class": classes[found], "reference": classes[right], "label": label}
        for name, found, right, label in zip(names, result.classes, expected, labels, strict=True)
    ]
