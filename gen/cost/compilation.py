"""A network compiled for an engine, with what it is expected to take: tiles, bytes, steps, cycles; and its files."""

from __future__ import annotations

import dataclasses
import json
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cdgate.errors import UserError
from cdgate.files import write_if_changed
from cdgate.modes import DECIDING, GateMode
from gen.cost.cycle_model import predict
from gen.cost.layer_rows import LayerRows, layer_rows
from gen.cost.prediction import Prediction
from gen.cost.steps import SliceSteps, slice_steps
from gen.host.driver import loaded
from gen.layer.protocol import Network
from gen.network.compiler import compile_network
from gen.network.gating import for_engine
from gen.network.program import NetworkProgram
from hw.configurations import Configuration

__all__ = ["MAX_LATENCY", "Compilation", "compile_for"]

#: Greatest latency of a memory, in cycles.
MAX_LATENCY = 100_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Compilation:
    """A compiled network and its prediction.

    Attributes
    ----------
    config
        The engine.
    program
        What it runs.
    images
        (N, H, W, 3) uint8: what it runs on.
    steps
        Of every pass, by slice, from the golden model's decisions.
    prediction
        Cycles, by the cycle model.
    bandwidth
        Bytes a cycle that the memory reads and writes together.
    latency
        Cycles from an address to the first data or response.
    """

    config: Configuration
    program: NetworkProgram
    images: np.ndarray
    steps: Sequence[SliceSteps]
    prediction: Prediction
    bandwidth: float
    latency: int

    def __repr__(self) -> str:
        return f"<{self.title}>"

    @property
    def cycles(self) -> int:
        """Predicted cycles of all."""
        return self.prediction.cycles

    @property
    def title(self) -> str:
        """What was compiled, in a line."""
        program = self.program
        return (
            f"{self.config.name}, {program.mode}, {program.images} image(s), memory of {self.bandwidth:g} bytes a "
            f"cycle, latency {self.latency} cycles: {len(program.instructions)} instructions, {self.cycles:,} cycles"
        )

    def layers(self) -> LayerRows:
        """Return a record for each layer; the list prints as a table."""
        return self._layers

    @cached_property
    def _layers(self) -> LayerRows:
        return LayerRows(layer_rows(self.program, self.steps, self.prediction), self.title, self.program.images)

    def facts(self) -> dict[str, Any]:
        """Return what ``network.json`` says."""
        program = self.program
        return {
            "schema": 1,
            "config": self.config.name,
            "mode": program.mode,
            "images": program.images,
            "in_size": program.in_size,
            "program": {"address": program.image["program"].address, "instructions": len(program.instructions)},
            "store_window": program.store_window,
            "memory_bytes": program.memory_bytes,
            "regions": [{"name": part.name, "address": part.address, "size": part.size} for part in program.image],
            "memory": {"bytes_per_cycle_limit": self.bandwidth, "latency_cycles": self.latency},
            "predicted_cycles": self.cycles,
            "layers": [dataclasses.asdict(row) for row in self.layers()],
            "passes": [
                {
                    "layer": info.layer,
                    "instruction": program.pass_index(number),
                    "first_image": info.first_image,
                    "images": info.images,
                    "rows": info.rows,
                }
                for number, info in enumerate(program.passes)
            ],
        }

    def memory(self) -> bytes:
        """Return the memory before a run, from address 0 on: program, weights, parameters, images; else zeros."""
        return loaded(self.program).memory(self.program.pack_images(self.images), self.program.image.size)

    def write(self, folder: Path) -> list[Path]:
        """Write ``program.bin``, ``memory.bin`` and, last, ``network.json``, which tells about them; return the paths.

        Raises
        ------
        UserError
            If one cannot be written.
        """
        contents: dict[str, str | bytes] = {
            "program.bin": self.program.packed().tobytes(),
            "memory.bin": self.memory(),
            "network.json": json.dumps(self.facts(), indent=1) + "\n",
        }
        for name, content in contents.items():
            write_if_changed(folder / name, content)
        return [folder / name for name in contents]


def compile_for(
    config: Configuration,
    network: Network,
    images: np.ndarray,
    mode: str = GateMode.GATED,
    bandwidth: float = 8,
    latency: int = 40,
) -> Compilation:
    """Compile a network and predict its cycles on some images.

    Parameters
    ----------
    config
        The engine.
    network
        An `sw_model.integer.network.IntNetwork`. For an engine without gating it is taken without its gates.
    images
        (N, H, W, 3) uint8.
    mode
        One of `cdgate.modes.NETWORK_MODES`.
    bandwidth, latency
        Of the memory.

    Raises
    ------
    cdgate.errors.UserError
        If bandwidth is no number above 0, latency none in 1 to `MAX_LATENCY`, or the network cannot be compiled.
    """
    if isinstance(bandwidth, bool) or not isinstance(bandwidth, numbers.Real) or not 0 < bandwidth < float("inf"):
        raise UserError(f"bandwidth must be a number above 0, and finite, not {bandwidth!r}")
    if isinstance(latency, bool) or not isinstance(latency, numbers.Integral) or not 1 <= latency <= MAX_LATENCY:
        raise UserError(f"latency must be a whole number from 1 to {MAX_LATENCY}, not {latency!r}")
    network = for_engine(network, config.params, mode)
    program = compile_network(network, config.params, len(images), (images.shape[1], images.shape[2]), mode)
    decisions = None
    if mode in DECIDING:
        taps = network.run(images, GateMode.GATED).taps
        decisions = {name: tap.decision.numpy() for name, tap in taps.items() if tap.decision is not None}
    steps = slice_steps(program, decisions)
    prediction = predict(program, steps, bandwidth, latency)
    return Compilation(
        config=config,
        program=program,
        images=images,
        steps=steps,
        prediction=prediction,
        bandwidth=bandwidth if isinstance(bandwidth, int) else float(bandwidth),  # as JSON knows it
        latency=int(latency),
    )
