"""Runs layers of a network on the engine, each in two modes, and compares them with the golden model."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from gen.compiler import compile_layer
from hw.layouts import IdleCause
from hw.params import HwParams
from sw_model.accounting import LayerCount, count_layer, total
from sw_model.int_model import IntLayer, IntNetwork, Tap

from .compare import Verdict, compare
from .files import Run
from .runner import Simulator

__all__ = ["LayerResult", "ModeResult", "Progress", "simulate"]


@dataclass
class ModeResult:
    """One layer in one mode, summed over the passes.

    Attributes
    ----------
    cycles, base_steps, cond_steps, fired
        The engine's counters.
    idle
        Idle cycles by cause, as `hw.layouts.IdleCause` numbers them.
    count
        The reference's own counts.
    verdict
        The comparison.
    """

    cycles: int = 0
    base_steps: int = 0
    cond_steps: int = 0
    fired: int = 0
    idle: list[int] = field(default_factory=lambda: [0] * len(IdleCause))
    count: LayerCount | None = None
    verdict: Verdict = field(default_factory=Verdict)


@dataclass
class LayerResult:
    """One layer: a dense run, and one in the mode asked for (the same run if that is dense)."""

    layer: IntLayer
    mode: str
    runs: dict[str, ModeResult]


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
        print(f"simulated {done} of {len(self._sizes)} passes in {now - self._start:.0f} s{left}",
              file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Pass:
    name: str
    mode: str
    first_image: int
    run: Run
    tap: Tap
    count: LayerCount


def _passes(layer: IntLayer, gated: Tap, params: HwParams, modes: Sequence[str], batch: int) -> list[_Pass]:
    """Compile a layer's passes. All modes read the ifmap and residual of the gated network."""
    passes = []
    images = len(gated.ifmap)
    for mode in modes:
        whole = gated if mode == "gated" else IntNetwork.run_layer(layer, gated.ifmap, gated.residual, mode)
        for first in range(0, images, batch):
            tap = _cut(whole, slice(first, first + batch))
            program = compile_layer(layer, tap.ifmap, tap.residual, params, mode)
            decision = tap.decision if layer.gated else None
            count = count_layer(layer, tuple(tap.ifmap.shape[2:]), len(tap.ifmap), params.in_par, decision)
            run = Run(program=program, cycle_limit=10_000 + 4 * count.dense)
            passes.append(_Pass(layer.name, mode, first, run, tap, count))
    return passes


def _cut(tap: Tap, images: slice) -> Tap:
    def part(value: torch.Tensor | None) -> torch.Tensor | None:
        return None if value is None else value[images]

    return Tap(tap.ifmap[images], part(tap.residual), tap.psum_base[images], tap.psum[images], part(tap.decision),
               tap.ofmap[images])


def simulate(network: IntNetwork, names: Sequence[str], images: np.ndarray, mode: str, params: HwParams,
             simulator: Simulator, work: Path, batch: int = 1,
             progress: Callable[[Sequence[int]], Callable[[int], None]] | None = Progress) -> dict[str, LayerResult]:
    """Run layers and compare them.

    Parameters
    ----------
    network
        The golden model.
    names
        Layers to run; each reads what the gated network gives it.
    images
        (N, H, W, 3) uint8.
    mode
        "gated", "dense" or "base": run besides the dense run, which is always made.
    params, simulator
        The engine.
    work
        Folder for the files of the runs.
    batch
        Images in one pass.
    progress
        Makes of the runs' expected cycles what is called as the runs end.

    Returns
    -------
    dict
        `LayerResult` by name.

    Raises
    ------
    gen.compiler.CompileError
        If a layer does not fit the engine.
    sim.runner.SimulationError
        If the simulator fails.
    """
    modes = ["dense"] if mode == "dense" else ["dense", mode]
    taps = network.run(images, "gated", only=names).taps
    passes = [one for name in names for one in _passes(network.layer(name), taps[name], params, modes, batch)]
    watch = progress([one.count.base + one.count.conditional + 1000 for one in passes]) if progress else None
    outputs = simulator.run([one.run for one in passes], work, watch)
    results = {name: LayerResult(network.layer(name), mode, {m: ModeResult() for m in modes}) for name in names}
    for one, output in zip(passes, outputs, strict=True):
        result = results[one.name].runs[one.mode]
        counters = output.counters
        result.cycles += counters["cycles"]
        result.base_steps += counters["base_steps"]
        result.cond_steps += counters["cond_steps"]
        result.fired += counters["fired"]
        result.idle = [a + b for a, b in zip(result.idle, counters["idle"], strict=True)]
        result.count = one.count if result.count is None else total([result.count, one.count], one.name)
        result.verdict.add(compare(one.run.program, output, one.tap, one.count, one.mode, first_image=one.first_image))
    return results
