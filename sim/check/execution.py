"""Runs what was planned, layers or whole networks, and compares what came with the golden model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sim.check.layer import Outcome
from sim.check.network import NetworkResult, compare_network
from sim.check.outputs import compare
from sim.plan.layer import Pass
from sim.plan.network import Plan
from sim.run import system
from sim.run.core import Progress, Simulator
from sim.run.scenario import PROGRESS, NetworkRun, run_networks

__all__ = ["execute", "execute_network", "simulate_network"]


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
    sim.run.build.SimulationError
        If the simulator fails.
    """
    progress = Progress([one.count.base + one.count.conditional + 1000 for one in passes])
    outputs = simulator.run([one.run for one in passes], work, progress)
    return [
        Outcome(
            one, output, compare(one.run.program, output, one.tap, one.count, one.mode, first_image=one.first_image)
        )
        for one, output in zip(passes, outputs, strict=True)
    ]


def simulate_network(
    simulator: system.NetworkSimulator,
    plans: Mapping[str, Plan],
    settings: Mapping[str, int],
    work: Path,
    say: Callable[[str], None],
) -> dict[str, list[NetworkRun]]:
    """Run plans side by side, a process of the simulator for each, and tell now and then how far they are."""
    start = told = time.monotonic()
    running = {
        mode: simulator.start(run_networks, ([one.job], dict(settings)), work / mode) for mode, one in plans.items()
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
    for mode, one in plans.items():
        try:
            cycles, passes = map(int, (work / mode / PROGRESS).read_text(encoding="ascii").split())
        except (OSError, ValueError):
            cycles, passes = 0, 0
        done += cycles
        expected += max(one.prediction.cycles, cycles)
        parts.append(f"{mode}: pass {passes} of {len(one.program.passes)}, {cycles / one.prediction.cycles:.0%}")
    left = f", about {seconds * (expected - done) / done:.0f} s left" if done else ""
    return f"{'; '.join(parts)}; {done / seconds / 1000:.0f} thousand cycles/s{left}"


def execute_network(
    simulator: system.NetworkSimulator,
    plans: Mapping[str, Plan],
    settings: Mapping[str, int],
    work: Path,
    say: Callable[[str], None],
) -> dict[str, NetworkResult]:
    """Run plans and compare what came; the results by mode."""
    runs = simulate_network(simulator, plans, settings, work, say)
    return {
        mode: compare_network(one.program, one.job, runs[mode][0], one.golden, one.counts)
        for mode, one in plans.items()
    }
