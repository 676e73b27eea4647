"""Compares what a run of a whole network left behind with the golden network: pass by pass, then memory and sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from cdgate.modes import DECIDING
from gen.cost.traffic import traffic
from gen.layer.geometry import Geometry
from gen.layer.places import MapPlace
from gen.network.program import NetworkProgram, PassInfo
from hw.interface.layouts import IdleCause
from hw.params import LANES, HwParams
from sim.check.clock import Clock, broken_clock, broken_wait
from sim.check.laws import broken_writes
from sim.check.layer import ModeResult
from sim.check.outputs import compare_results
from sim.check.verdict import KEPT, Mismatch, Verdict
from sim.plan.layer import cut_tap
from sim.run.scenario import NetworkJob, NetworkRun
from sim.run.trace import PassTrace, RunTrace, read_trace
from sw_model.integer.network import Result
from sw_model.integer.steps import LayerCount

__all__ = ["NetworkResult", "compare_network"]


@dataclass
class NetworkResult:
    """A whole network in one mode.

    Attributes
    ----------
    layers
        By layer, in execution order.
    verdict
        Findings that belong to no layer.
    logits
        (N, classes) int64, as they lie in memory.
    counters
        The engine's, of the whole run.
    report
        What the testbench counted.
    stress
        What came of the stress network that was run in front; None if none was.
    """

    layers: dict[str, ModeResult]
    verdict: Verdict
    logits: np.ndarray
    counters: dict[str, int]
    report: dict[str, int]
    stress: NetworkResult | None = None

    @property
    def classes(self) -> list[int]:
        """Class of each image; a tie goes to the lowest."""
        return self.logits.argmax(axis=1).tolist()

    def total(self) -> Verdict:
        """Return the findings of all layers and the others."""
        total = Verdict()
        for result in self.layers.values():
            total.add(result.verdict)
        total.add(self.verdict)
        if self.stress is not None:
            total.add_stress(self.stress.total())
        return total


@dataclass(frozen=True)
class _View:
    """A pass, as `sim.check.outputs.PassView`."""

    layer: str
    params: HwParams
    geometry: Geometry
    ofmap: MapPlace | None
    channels: int
    signed: bool


@dataclass
class _Run:
    program: NetworkProgram
    golden: Result
    counts: Mapping[str, LayerCount]
    broken: list[str] = field(default_factory=list)

    @property
    def deciding(self) -> bool:
        return self.program.mode in DECIDING


def compare_network(
    program: NetworkProgram,
    job: NetworkJob,
    run: NetworkRun,
    golden: Result,
    counts: Mapping[str, LayerCount],
    left: np.ndarray | None = None,
    clock: Clock | None = None,
) -> NetworkResult:
    """Compare a run.

    Parameters
    ----------
    program, job
        What was run.
    run
        What it left behind.
    golden
        The golden network's result on the same images in the same mode, with all taps.
    counts
        The reference's counts of steps, by layer.
    left
        What earlier runs left in memory, from its beginning, uint8; None if it was empty.
    clock
        When the run began and ended, by the testbench; None if that is not known: then the passes are only compared
        with each other.
    """
    trace = read_trace(run.trace, program.params)
    layers = {layer.name: ModeResult(count=counts[layer.name]) for layer in program.network.layers}
    state = _Run(program, golden, counts)
    _compare_passes(state, trace, run, layers)
    verdict = Verdict()
    for number, text in broken_clock(trace, run.counters["cycles"], clock):
        info = program.passes[number] if number is not None and number < len(program.passes) else None
        where = "" if info is None else f"layer {info.layer}, "
        told = f"{where}{program.mode}: {text}"
        (verdict if info is None else layers[info.layer].verdict).break_clock([told])
    memory = np.fromfile(run.memory, dtype=np.uint8)
    earlier = b"" if left is None else left.tobytes()
    first = np.frombuffer(job.network.memory(job.images, len(memory), earlier), np.uint8)
    logits = _compare_logits(state, run, memory, layers)
    _compare_memory(state, verdict, memory, first)
    verdict.broken += [f"{program.mode}: {text}" for text in (*state.broken, *_broken_sums(program, layers, run))]
    for name, result in layers.items():
        result.verdict.broken += [f"layer {name}, {program.mode}: {text}" for text in _broken_counts(state, result)]
    return NetworkResult(layers, verdict, logits, run.counters, run.report)


def _compare_passes(state: _Run, trace: RunTrace, run: NetworkRun, layers: dict[str, ModeResult]) -> None:
    """Compare every pass's decisions and ofmap, and share the cycles out among the layers."""
    program = state.program
    expected = [program.pass_index(number) for number in range(len(program.passes))]
    found = trace.passes["index"].tolist() if len(trace.pass_cycles) else []
    if found != expected:
        wrong = next(
            (n for n, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), min(len(found), len(expected))
        )
        state.broken.append(
            f"passes must be of the instructions {expected[wrong : wrong + 3]}... from pass {wrong} on, "
            f"not {found[wrong : wrong + 3]}...; {len(found)} of {len(expected)} passes came"
        )
    if trace.early:
        state.broken.append(f"nothing must come before the first pass, but {trace.early} records did")
    totals = trace.cumulative(run.counters)
    for number, info in enumerate(program.passes[: len(found)]):
        counters = {name: totals[number + 1].get(name, 0) - totals[number].get(name, 0) for name in _COUNTED}
        _compare_pass(state, trace, number, info, counters, layers[info.layer])


_COUNTED = (
    "cycles",
    "base_steps",
    "cond_steps",
    "decisions",
    "fired",
    *(f"idle_{cause.name.lower()}" for cause in IdleCause),
)


def _compare_pass(
    state: _Run, trace: RunTrace, number: int, info: PassInfo, counters: dict[str, int], result: ModeResult
) -> None:
    program = state.program
    layer = program.network.layer(info.layer)
    view = _View(info.layer, program.params, info.geometry, info.ofmap, layer.out_ch, layer.signed)
    part = trace.cut(number, counters, info.ofmap)
    result.cycles += counters["cycles"]
    result.base_steps += counters["base_steps"]
    result.cond_steps += counters["cond_steps"]
    result.decided += counters["decisions"]
    result.fired += counters["fired"]
    for cause in IdleCause:
        result.idle[cause.value] += counters[f"idle_{cause.name.lower()}"]
    where = f"layer {info.layer}, {program.mode}, pass {number} (instruction {part.index}, image {info.first_image})"
    if info.ofmap is not None:  # logits are compared in memory
        tap = cut_tap(state.golden.taps[info.layer], slice(info.first_image, info.first_image + info.images))
        result.verdict.add(compare_results(view, part, tap, program.mode, first_image=info.first_image))
    result.verdict.broken += [
        f"{where}: {text}" for text in (*broken_writes(view, part.trace, part.trace_cycles), *_broken_pass(part))
    ]
    waits = broken_wait(trace, number, info.geometry, part.trace_cycles, counters)
    result.verdict.break_clock(f"{where}: {text}" for text in waits)


def _broken_pass(part: PassTrace) -> Iterator[str]:
    counters = part.counters
    total = (
        counters["base_steps"]
        + counters["cond_steps"]
        + sum(value for name, value in counters.items() if name.startswith("idle_"))
    )
    if total != counters["cycles"]:
        yield f"base + conditional + idle must be the {counters['cycles']} cycles, not {total}"
    if len(part.mask_cycles) != counters["decisions"]:
        yield f"decisions must be counted as the {len(part.mask_cycles)} that came, not {counters['decisions']}"


def _broken_counts(state: _Run, result: ModeResult) -> Iterator[str]:
    """Yield counters of a layer that are not the reference's counts."""
    count = result.count
    assert count is not None
    decision = state.golden.taps[count.name].decision if state.deciding else None
    slices = fired = 0
    if decision is not None:  # of a slice, if any of its channels fires
        images, deciders, rows, cols = decision.shape
        size = deciders * state.program.network.layer(count.name).slice_size // LANES
        any_fires = decision.reshape(images, size, -1, rows, cols).any(2)
        slices, fired = any_fires.numel(), int(any_fires.sum())
    for what, found, expected in (
        ("base steps", result.base_steps, count.base),
        ("conditional steps", result.cond_steps, count.conditional),
        ("decisions", result.decided, slices),
        ("fired", result.fired, fired),
    ):
        if found != expected:
            yield f"{what} must be the reference's {expected}, not {found}"


def _compare_logits(state: _Run, run: NetworkRun, memory: np.ndarray, layers: dict[str, ModeResult]) -> np.ndarray:
    """Compare the logits, which the driver has read; return them."""
    program = state.program
    expected = state.golden.logits.numpy()
    found = program.unpack_logits(run.logits)
    region = program.image["logits"]
    if memory[region.address : region.stop].tobytes() != run.logits:
        state.broken.append("the driver must read the logits that are in memory")
    name = program.network.layers[-1].name
    verdict = layers[name].verdict
    verdict.outputs_checked += expected.size
    verdict.nonzero += int(np.count_nonzero(found))
    wrong = np.argwhere(found != expected)
    verdict.mismatches += len(wrong)
    for image, number in wrong[:KEPT].tolist():
        verdict.first.append(
            Mismatch("logit", name, image, 0, 0, number, int(expected[image, number]), int(found[image, number]), None)
        )
    return found


def _compare_memory(state: _Run, verdict: Verdict, memory: np.ndarray, before: np.ndarray) -> None:
    """Maps that were stored must be the golden ones; everything else must be as it was."""
    program = state.program
    same = memory == before
    for name, region in program.stored_maps.items():
        found = program.unpack_map(name, memory[region.address : region.stop].tobytes())
        expected = state.golden.taps[name].ofmap.numpy()
        wrong = np.argwhere(found != expected)
        same[region.address : region.stop] = True
        verdict.mismatches += len(wrong)
        for image, channel, row, col in wrong[:KEPT].tolist():
            verdict.first.append(
                Mismatch(
                    "stored map",
                    name,
                    image,
                    row,
                    col,
                    channel,
                    int(expected[image, channel, row, col]),
                    int(found[image, channel, row, col]),
                    None,
                )
            )
    del verdict.first[KEPT:]
    region = program.image["logits"]
    same[region.address : region.stop] = True
    changed = np.flatnonzero(~same)
    if len(changed):
        state.broken.append(
            f"memory outside of stored maps and logits must stay, but {len(changed)} bytes have "
            f"changed, the first at {changed[0]:#x}"
        )


def _broken_sums(program: NetworkProgram, layers: Mapping[str, ModeResult], run: NetworkRun) -> Iterator[str]:
    """Yield sums over the run that do not come out, and rules of the bus that were broken."""
    counters, report = run.counters, run.report
    total = (
        counters["base_steps"]
        + counters["cond_steps"]
        + sum(value for name, value in counters.items() if name.startswith("idle_"))
    )
    if total != counters["cycles"]:
        yield f"base + conditional + idle must be the run's {counters['cycles']} cycles, not {total}"
    shared = sum(result.cycles for result in layers.values())
    if shared != counters["cycles"]:
        yield f"the layers' cycles must add up to the run's {counters['cycles']}, not {shared}"
    width = program.params.axi_bytes
    for way, beats in (("read", report["read_beats"]), ("written", report["write_beats"])):
        counted = sum(value for name, value in counters.items() if name.endswith(f"_{way}"))
        if counted != width * beats:
            yield f"bytes {way} must be counted as the memory's {width * beats}, not {counted}"
    for name, count in report.items():
        if name.isupper() and count:
            yield f"the bus must keep its rules, but {name.lower().replace('_', ' ')} was broken {count} times"
    for name, expected in traffic(program)[""].items():
        if counters[name] != expected:
            yield f"{name} must be the program's {expected}, not {counters[name]}"
    if report["unknown_reads"]:
        yield f"nothing must be read that was never written, but {report['unknown_reads']} beats were"
