"""The laws of a pass on the core: what must hold of its counters, its cycles and its writes, whatever it computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from gen.layer.geometry import Geometry
from gen.layer.pass_program import Program
from gen.layer.places import MapPlace
from hw.params import HwParams
from sim.run.files import RunOutput
from sw_model.integer.steps import LayerCount

__all__ = ["DONE", "DONE_LOGITS", "PassView", "broken_clock", "broken_run", "broken_sums", "broken_writes"]

#: Cycles from the last output, which is the last that counts, to ``done``: of an ofmap's granule, and of a logit, of
#: which it is told a cycle later that it was taken.
DONE, DONE_LOGITS = 4, 5


class PassView(Protocol):
    """What a comparison has to know of a pass; see `gen.layer.pass_program.Program`."""

    @property
    def layer(self) -> str: ...
    @property
    def params(self) -> HwParams: ...
    @property
    def geometry(self) -> Geometry: ...
    @property
    def ofmap(self) -> MapPlace | None: ...
    @property
    def channels(self) -> int: ...
    @property
    def signed(self) -> bool: ...


def broken_sums(output: RunOutput, count: LayerCount | None) -> Iterator[str]:
    """Yield sums of the counters that do not come out, by themselves and by the reference's count of steps, if any."""
    counters = output.counters
    total = counters["base_steps"] + counters["cond_steps"] + sum(counters["idle"])
    if total != counters["cycles"]:
        yield f"base + conditional + idle must be the {counters['cycles']} cycles, not {total}"
    if count is None:
        return
    for name, steps in (("base_steps", count.base), ("cond_steps", count.conditional)):
        if counters[name] != steps:
            yield f"{name} must be the reference's {steps}, not {counters[name]}"
    done = counters["base_steps"] + counters["cond_steps"] + count.skipped
    if done != count.dense:
        yield f"base + conditional + skipped steps must be the {count.dense} dense steps, not {done}"


def broken_clock(program: Program, output: RunOutput) -> Iterator[str]:
    """Yield where the cycles counted are not the testbench's, which calls the one after ``start`` the first."""
    cycles, logits = output.counters["cycles"], program.ofmap is None
    if logits or program.params.trace:
        last = max([0, *output.trace_cycles.tolist(), *output.logit_cycles.tolist()])
        if cycles != last:
            yield f"cycles must count to the last output in cycle {last}, not {cycles}"
    after = DONE_LOGITS if logits else DONE
    if output.done_cycle and output.done_cycle != cycles + after:  # else it was given up
        yield f"cycles must count to {after} cycles before done in cycle {output.done_cycle}, not {cycles}"


def _unwanted(program: PassView, decisions: np.ndarray | None) -> int:
    """Return how many weights nobody waits for at the end: those of the conditional path of a silent last slice."""
    return program.geometry.cond_entries if decisions is not None and not decisions[:, -1].any() else 0


def broken_run(program: Program, output: RunOutput, decisions: np.ndarray | None) -> Iterator[str]:
    """Yield what the testbench saw and must not have seen.

    Parameters
    ----------
    program, output
        What was run, and what came.
    decisions
        What must be decided, (N, slices, 8 channels or 1, rows, columns) bool; None if nothing is.
    """
    if output.timeout:
        yield f"pass must end, but was given up in cycle {output.counters['cycles']}"
    if output.violations:
        yield f"streams must hold valid and payload until ready, but did not in {output.violations} cycles"
    if output.stray:
        yield f"nothing must come outside of the pass, but something did in {output.stray} cycles"
    if output.counters_changed:
        yield "counters must stand after done"
    for name in ("weights_left", "words_left", "late_loads_left", "forces_left"):
        if getattr(output, name):
            yield f"{name.replace('_', ' ')} must be 0 at the end, not {getattr(output, name)}"
    most = _unwanted(program, decisions)
    if output.late_weights > most:
        yield (
            f"at most {most} weights, of a conditional path that nobody wants, may be taken after done, not "
            f"{output.late_weights}"
        )
    yield from broken_writes(program, output.trace, output.trace_cycles)


def broken_writes(program: PassView, trace: dict[str, Any], cycles: np.ndarray) -> Iterator[str]:
    """Yield what is wrong, if anything: every granule of the ofmap must be written exactly once, and nothing else."""
    params = program.params
    expected: set[int] = set()
    if program.ofmap is not None:
        granules = program.geometry.pixel_granules(params)
        words = program.ofmap.addresses()  # (images, rows, cols, words)
        numbers = words[..., None] * params.word_subs + np.arange(params.word_subs)
        expected = set(numbers.reshape(*words.shape[:3], -1)[..., :granules].reshape(-1).tolist())
    sub = trace["sub"] if "sub" in trace else 0
    written = (trace["addr"] * params.word_subs + sub).tolist() if len(cycles) else []
    if params.trace and (len(written) != len(expected) or set(written) != expected):
        yield (
            f"each of {len(expected)} granules of the ofmap must be written once and nothing else, but "
            f"{len(set(written) & expected)} of them and {len(set(written) - expected)} others were, in "
            f"{len(written)} writes"
        )
