"""Runs layers of a network on the engine, each in two modes, and compares them with the golden model."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from gen.compiler import CompileError, compile_layer
from hw.layouts import IdleCause
from hw.params import LANES, HwParams
from sw_model.accounting import LayerCount, count_layer, total
from sw_model.int_model import IntLayer, IntNetwork, Tap

from .compare import Verdict, compare
from .files import Run, RunOutput
from .runner import Simulator

__all__ = ["MODES", "ModeResult", "Outcome", "Pass", "Progress", "execute", "plan", "simulate", "sum_up"]

#: Modes of the runs. In channel mode a network that decides by slice gets thresholds of K >> 3 for each channel: that
#: checks the hardware, no accuracy is claimed. In forced mode the decisions come from masks; the gated network's are
#: the default.
MODES = ("gated", "dense", "base", "channel", "forced")


@dataclass
class ModeResult:
    """One layer in one mode, summed over the passes.

    Attributes
    ----------
    cycles, base_steps, cond_steps, decided, fired
        The engine's counters; ``decided`` and ``fired`` count slices.
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
    decided: int = 0
    fired: int = 0
    idle: list[int] = field(default_factory=lambda: [0] * len(IdleCause))
    count: LayerCount | None = None
    verdict: Verdict = field(default_factory=Verdict)


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
class Pass:
    """One pass of one layer in one mode.

    Attributes
    ----------
    layer, mode
        What is run.
    first_image
        Number of its first image.
    run
        The compiled program, and how it is run.
    tap, count
        What must come of it, and the reference's count of its steps.
    """

    layer: IntLayer
    mode: str
    first_image: int
    run: Run
    tap: Tap
    count: LayerCount


def plan(network: IntNetwork, names: Sequence[str], images: np.ndarray, mode: str, params: HwParams,
         batch: int = 1, masks: torch.Tensor | None = None) -> list[Pass]:
    """Compile all passes of some layers, each in dense mode and in one other.

    Parameters
    ----------
    network
        The golden model.
    names
        Layers to run; each reads what the gated network gives it, in all modes.
    images
        (N, H, W, 3) uint8.
    mode
        One of `MODES`: run besides the dense run, which is always made.
    params
        The engine.
    batch
        Images in one pass.
    masks
        In forced mode the decisions of the only layer, (N, O / 8, H', W') or (N, O, H', W') bool.

    Raises
    ------
    gen.compiler.CompileError
        If a layer does not fit the engine, or a mask the layer.
    """
    modes = ["dense"] if mode == "dense" else ["dense", mode]
    taps = network.run(images, "gated", only=names).taps
    return [one for name in names for one in _passes(network.layer(name), taps[name], params, modes, batch, masks)]


def _variant(layer: IntLayer, gated: Tap, mode: str, masks: torch.Tensor | None) -> tuple[IntLayer, Tap, str]:
    """Return the layer as it is run in a mode, what must come of it, and the mode by the compiler's name."""
    if masks is not None and not layer.gated:
        raise CompileError(f"layer {layer.name}: a mask needs a gated layer")
    if mode == "gated" or not layer.gated:
        return layer, gated, "gated"
    if mode == "channel":
        if layer.slice_size != 1:
            assert layer.K is not None
            layer = replace(layer, slice_size=1, K=(layer.K >> 3).repeat_interleave(layer.slice_size))
        return layer, IntNetwork.run_layer(layer, gated.ifmap, gated.residual, "gated"), "gated"
    if mode == "forced":
        masks = gated.decision if masks is None else masks
        images, _, rows, cols = gated.psum.shape
        shapes = [(images, layer.out_ch // size, rows, cols) for size in (LANES, 1)]
        if masks is None or tuple(masks.shape) not in shapes:
            found = "none" if masks is None else str(tuple(masks.shape))
            raise CompileError(f"layer {layer.name}: mask must be of shape {shapes[0]} or {shapes[1]}, not {found}")
        if masks.shape[1] != layer.out_ch // layer.slice_size:
            layer = replace(layer, slice_size=layer.out_ch // masks.shape[1],
                            K=torch.zeros(masks.shape[1], dtype=torch.int32))
        return layer, IntNetwork.run_layer(layer, gated.ifmap, gated.residual, "forced", masks), "forced"
    return layer, IntNetwork.run_layer(layer, gated.ifmap, gated.residual, mode), mode


def _passes(layer: IntLayer, gated: Tap, params: HwParams, modes: Sequence[str], batch: int,
            masks: torch.Tensor | None) -> Iterator[Pass]:
    for mode in modes:
        variant, whole, compiled = _variant(layer, gated, mode, masks)
        for first in range(0, len(gated.ifmap), batch):
            tap = cut_tap(whole, slice(first, first + batch))
            program = compile_layer(variant, tap.ifmap, tap.residual, params, compiled,
                                    masks=tap.decision if compiled == "forced" else None)
            decision = tap.decision if layer.gated else None
            count = count_layer(variant, tuple(tap.ifmap.shape[2:]), len(tap.ifmap), params.in_par, decision)
            run = Run(program=program, cycle_limit=10_000 + 4 * count.dense)
            yield Pass(variant, mode, first, run, tap, count)


def cut_tap(tap: Tap, images: slice) -> Tap:
    """Return a tap of some of its images."""
    def part(value: torch.Tensor | None) -> torch.Tensor | None:
        return None if value is None else value[images]

    return Tap(tap.ifmap[images], part(tap.residual), tap.psum_base[images], tap.psum[images], part(tap.decision),
               tap.ofmap[images])


@dataclass(frozen=True)
class Outcome:
    """A pass, what came of it, and what its comparison found."""

    planned: Pass
    output: RunOutput
    verdict: Verdict


def execute(passes: Sequence[Pass], simulator: Simulator, work: Path) -> list[Outcome]:
    """Run passes and compare each.

    Parameters
    ----------
    passes
        What `plan` returned.
    simulator
        Of the engine they were compiled for.
    work
        Folder for the files of the runs.

    Raises
    ------
    sim.runner.SimulationError
        If the simulator fails.
    """
    progress = Progress([one.count.base + one.count.conditional + 1000 for one in passes])
    outputs = simulator.run([one.run for one in passes], work, progress)
    return [Outcome(one, output, compare(one.run.program, output, one.tap, one.count, one.mode,
                                         first_image=one.first_image))
            for one, output in zip(passes, outputs, strict=True)]


def sum_up(outcomes: Sequence[Outcome]) -> dict[str, dict[str, ModeResult]]:
    """Return the `ModeResult` of each layer and mode, summed over the passes."""
    results: dict[str, dict[str, ModeResult]] = {}
    for outcome in outcomes:
        one, counters = outcome.planned, outcome.output.counters
        result = results.setdefault(one.layer.name, {}).setdefault(one.mode, ModeResult())
        result.cycles += counters["cycles"]
        result.base_steps += counters["base_steps"]
        result.cond_steps += counters["cond_steps"]
        result.decided += counters["decisions"]
        result.fired += counters["fired"]
        result.idle = [a + b for a, b in zip(result.idle, counters["idle"], strict=True)]
        result.count = one.count if result.count is None else total([result.count, one.count], one.layer.name)
        result.verdict.add(outcome.verdict)
    return results


def simulate(passes: Sequence[Pass], simulator: Simulator, work: Path) -> dict[str, dict[str, ModeResult]]:
    """Run passes with `execute`, and return their results by layer and mode."""
    return sum_up(execute(passes, simulator, work))
