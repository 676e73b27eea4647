"""Runs what was planned, layers or whole networks, and compares what came with the golden model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sim.check.clock import Clock, run_timed
from sim.check.layer import Outcome
from sim.check.model import judge_model
from sim.check.network import NetworkResult, compare_network
from sim.check.outputs import compare
from sim.plan.layer import Pass
from sim.plan.network import Plan
from sim.run import system
from sim.run.core import Progress, Simulator
from sim.run.scenario import PROGRESS, NetworkRun

__all__ = ["execute_layers", "execute_network", "simulate_network"]


def execute_layers(passes: Sequence[Pass], simulator: Simulator, work: Path) -> list[Outcome]:
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
    sim.run.build.SimulationError
        If the simulator fails.
    """
    progress = Progress([planned.count.base + planned.count.conditional + 1000 for planned in passes])
    outputs = simulator.run([planned.run for planned in passes], work, progress)
    return [
        Outcome(
            planned,
            output,
            compare(
                planned.run.program, output, planned.tap, planned.count, planned.mode, first_image=planned.first_image
            ),
        )
        for planned, output in zip(passes, outputs, strict=True)
    ]


def simulate_network(
    simulator: system.NetworkSimulator,
    plans: Mapping[str, Plan],
    settings: Mapping[str, int],
    work: Path,
    say: Callable[[str], None],
) -> dict[str, tuple[NetworkRun, Clock]]:
    """Run plans side by side, a process of the simulator for each, and tell now and then how far they are."""
    start = told = time.monotonic()
    running = {
        mode: simulator.start(run_timed, (planned.job, dict(settings)), work / mode) for mode, planned in plans.items()
    }
    try:
        while not all(scenario.ended for scenario in running.values()):
            time.sleep(0.2)
            if time.monotonic() - told >= 5:
                told = time.monotonic()
                say(_progress(plans, work, told - start))
        return {mode: scenario.result() for mode, scenario in running.items()}
    finally:
        for scenario in running.values():
            scenario.stop()


def _progress(plans: Mapping[str, Plan], work: Path, seconds: float) -> str:
    parts, done, expected = [], 0, 0
    for mode, planned in plans.items():
        try:
            cycles, passes = map(int, (work / mode / PROGRESS).read_text(encoding="ascii").split())
        except (OSError, ValueError):
            cycles, passes = 0, 0
        done += cycles
        expected += max(planned.prediction.cycles, cycles)
        parts.append(
            f"{mode}: pass {passes} of {len(planned.program.passes)}, {cycles / planned.prediction.cycles:.0%}"
        )
    left = f", about {seconds * (expected - done) / done:.0f} s left" if done else ""
    return f"{'; '.join(parts)}; {done / seconds / 1000:.0f} thousand cycles/s{left}"


def execute_network(
    simulator: system.NetworkSimulator,
    plans: Mapping[str, Plan],
    settings: Mapping[str, int],
    work: Path,
    say: Callable[[str], None],
) -> dict[str, NetworkResult]:
    """Run plans and compare what came, and the cycle model with it; the results by mode."""
    runs = simulate_network(simulator, plans, settings, work, say)
    results = {}
    for mode, planned in plans.items():
        run, clock = runs[mode]
        results[mode] = compare_network(planned.program, planned.job, run, planned.golden, planned.counts, clock=clock)
        judge_model(results[mode], planned.prediction.layers(), settings, mode)
    return results
