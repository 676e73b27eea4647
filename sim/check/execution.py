"""Runs what was planned, layers or whole networks, and compares what came with the golden model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

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
    stress: Mapping[str, Plan],
    settings: Mapping[str, int],
    work: Path,
    say: Callable[[str], None],
) -> dict[str, list[tuple[NetworkRun, Clock]]]:
    """Run plans side by side, a process of the simulator for each, and tell now and then how far they are.

    In each process the plan of the stress network is run first, if there is one of that mode.
    """
    start = told = time.monotonic()
    running = {}
    for mode, planned in plans.items():
        jobs = [one.job for one in (stress.get(mode), planned) if one is not None]
        running[mode] = simulator.start(run_timed, (jobs, dict(settings)), work / mode)
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
    stress: Mapping[str, Plan],
    settings: Mapping[str, int],
    work: Path,
    say: Callable[[str], None],
) -> dict[str, NetworkResult]:
    """Run plans and compare what came, and the cycle model with it; the results by mode.

    Parameters
    ----------
    simulator
        Of the engine they were compiled for.
    plans
        By mode.
    stress
        By mode plans that are run and compared in front of the others; their cycles are not held against the model.
    settings
        Of the memory: "bandwidth", "latency".
    work
        Folder for the files of the runs.
    say
        Takes lines about the progress.
    """
    runs = simulate_network(simulator, plans, stress, settings, work, say)
    results = {}
    for mode, planned in plans.items():
        *before, (run, clock) = runs[mode]
        stressed = left = None
        for first, first_clock in before:
            stressed = _compared(stress[mode], first, first_clock, None)
            left = np.fromfile(first.memory, dtype=np.uint8)
        results[mode] = replace(_compared(planned, run, clock, left), stress=stressed)
        prediction = planned.prediction
        judge_model(results[mode], prediction.layers(), prediction.waits(), settings, mode)
    return results


def _compared(planned: Plan, run: NetworkRun, clock: Clock, left: np.ndarray | None) -> NetworkResult:
    return compare_network(planned.program, planned.job, run, planned.golden, planned.counts, left, clock)
