"""Compares what a pass left behind with the golden model, by output and by decision, and checks the laws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cdgate.modes import DECIDING
from gen.layer.pass_program import Program
from hw.params import LANES
from sim.check.laws import PassView, broken_clock, broken_run, broken_sums
from sim.check.verdict import KEPT, Mismatch, Verdict
from sim.run.files import RunOutput, traced_words
from sw_model.integer.network import Tap
from sw_model.integer.steps import LayerCount

__all__ = ["PassOutput", "compare", "compare_results"]


class PassOutput(Protocol):
    """What a comparison needs of what a pass left behind; see `sim.run.files.RunOutput`."""

    @property
    def mask_cycles(self) -> np.ndarray: ...
    @property
    def masks(self) -> dict[str, Any]: ...
    @property
    def logit_cycles(self) -> np.ndarray: ...
    @property
    def logits(self) -> dict[str, Any]: ...
    @property
    def trace_cycles(self) -> np.ndarray: ...
    @property
    def trace(self) -> dict[str, Any]: ...
    @property
    def words(self) -> np.ndarray: ...


def compare_results(program: PassView, output: PassOutput, tap: Tap, mode: str, *, first_image: int = 0) -> Verdict:
    """Compare decisions, and ofmap or logits, of one pass; see `compare`."""
    verdict = Verdict()
    place = _Place(program.layer, first_image)
    # Before the outputs that depend on them.
    _compare_decisions(verdict, place, output, _expected_decisions(program, tap, mode))
    _compare_logits(verdict, place, program, output, None if program.ofmap is not None else tap.ofmap.numpy())
    if program.ofmap is not None:
        _compare_ofmap(verdict, place, program, output, tap.ofmap.numpy())
    return verdict


def _expected_decisions(program: PassView, tap: Tap, mode: str) -> np.ndarray | None:
    """Return what must be decided, (N, slices, 8 channels or 1, rows, columns) bool; None if nothing is."""
    if tap.decision is None or mode not in DECIDING:
        return None
    geometry = program.geometry
    rows = slice(geometry.out_first_row, geometry.out_first_row + geometry.out_rows)
    return (
        tap.decision[:, :, rows]
        .numpy()
        .reshape(len(tap.decision), geometry.slices, -1, geometry.out_rows, geometry.out_cols)
    )


def compare(
    program: Program, output: RunOutput, tap: Tap, count: LayerCount | None, mode: str, *, first_image: int = 0
) -> Verdict:
    """Compare one pass.

    Parameters
    ----------
    program
        What was run; its ofmap may be a row tile of the tap's.
    output
        What came.
    tap
        The golden model's result in the same mode, for the same images.
    count
        The reference's count of steps for it; None for a row tile, for which there is none.
    mode
        A `cdgate.modes.GateMode`.
    first_image
        Number of the pass's first image, for messages.
    """
    verdict = compare_results(program, output, tap, mode, first_image=first_image)
    expected = _expected_decisions(program, tap, mode)
    fired = 0 if expected is None else int(expected.any(2).sum())
    decisions = 0 if expected is None else expected[:, :, 0].size
    broken = [*broken_sums(output, count), *broken_run(program, output, expected)]
    clock = broken_clock(program, output)
    if output.counters["fired"] != fired or output.counters["decisions"] != decisions:
        broken.append(
            f"fired must be {fired} of {decisions} slices, not {output.counters['fired']} of "
            f"{output.counters['decisions']}"
        )
    where = f"layer {program.layer}, {mode}, image {first_image}"
    verdict.broken += [f"{where}: {text}" for text in broken]
    verdict.break_clock(f"{where}: {text}" for text in clock)
    return verdict


@dataclass(frozen=True)
class _Place:
    layer: str
    first_image: int

    def mismatch(
        self, what: str, image: int, row: int, col: int, channel: int, expected: int, got: int | None, cycle: int | None
    ) -> Mismatch:
        return Mismatch(what, self.layer, self.first_image + image, row, col, channel, expected, got, cycle)


def _compare_ofmap(verdict: Verdict, place: _Place, program: PassView, output: PassOutput, ofmap: np.ndarray) -> None:
    geometry, target, params = program.geometry, program.ofmap, program.params
    assert target is not None
    first = geometry.out_first_row
    expected = ofmap[:, :, first : first + geometry.out_rows]
    words = np.zeros((target.images * target.rows * target.cols * target.words, params.in_par), dtype=np.uint8)
    came = np.zeros(len(words), dtype=bool)
    count = min(len(output.words), len(words))
    words[:count], came[:count] = output.words[:count], True
    got = target.from_words(words, program.channels, program.signed)
    present = target.from_words(np.repeat(came[:, None], params.in_par, 1), program.channels, False) != 0
    verdict.outputs_checked += expected.size
    verdict.nonzero += int(np.count_nonzero(got))
    bank_wrong = (got != expected) | ~present
    # The trace shows what is written, the bank what is left of it. A write that the trace lacks breaks a law.
    traced, shown = (
        target.from_words(part, program.channels, program.signed) for part in traced_words(output.trace, target, params)
    )
    wrong = np.argwhere(bank_wrong | (traced != expected) & (shown != 0))
    verdict.mismatches += len(wrong)
    if len(wrong):
        addresses = target.addresses()
        written = {
            (int(addr), int(sub)): int(cycle)
            for addr, sub, cycle in zip(output.trace["addr"], output.trace["sub"], output.trace_cycles, strict=True)
        }
        # In the order of the maps: image, row, column, channel.
        order = np.lexsort((wrong[:, 1], wrong[:, 3], wrong[:, 2], wrong[:, 0]))
        for image, channel, row, col in wrong[order[:KEPT]].tolist():
            word, byte = divmod(channel, params.in_par)
            cycle = written.get((int(addresses[image, row, col, word]), byte // params.rq_lanes))
            at = image, channel, row, col
            what: str = "trace"
            value: int | None = int(traced[at])
            if bank_wrong[at]:
                what, value = "ofmap", int(got[at]) if present[at] else None
            verdict.first.append(
                place.mismatch(what, image, first + row, col, channel, int(expected[at]), value, cycle)
            )
        del verdict.first[KEPT:]


def _in_turn(
    verdict: Verdict, place: _Place, what: str, records: Mapping[str, Any], cycles: np.ndarray, sizes: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Check that records of ``what`` come in the order of their coordinates, the first outermost, and no others.

    Parameters
    ----------
    records, cycles
        What came, and when.
    sizes
        By the name of each coordinate how many there are of it.

    Returns
    -------
    tuple
        The coordinates of each record that must come, (n, len(sizes)) int64, and whether it came in its turn, (n,)
        bool. Records beyond those are mismatches.
    """
    count, came = math.prod(sizes.values()), len(cycles)
    if came != count:
        verdict.broken.append(f"layer {place.layer}: {count} records of {what} must leave the engine, not {came}")
    verdict.mismatches += max(0, came - count)
    order = np.stack(np.unravel_index(np.arange(count), tuple(sizes.values())), axis=1)
    common = min(count, came)
    found = np.stack([records[name][:common] for name in sizes], axis=1)
    in_turn = np.zeros(count, dtype=bool)
    in_turn[:common] = (found == order[:common]).all(axis=1)
    misplaced = np.flatnonzero(~in_turn[:common])
    if len(misplaced):
        n = misplaced[0]
        verdict.broken.append(
            f"layer {place.layer}: record {n} of {what} must be of ({', '.join(sizes)}) "
            f"{tuple(order[n].tolist())}, not {tuple(found[n].tolist())}"
        )
    return order, in_turn


def _compare_logits(
    verdict: Verdict, place: _Place, program: PassView, output: PassOutput, expected: np.ndarray | None
) -> None:
    """Compare the records in their order, in which they are stored: slice outermost, then image, phase."""
    params, slices = program.params, program.geometry.slices
    images, classes = (0, 0) if expected is None else expected.shape
    _, in_turn = _in_turn(
        verdict,
        place,
        "logits",
        output.logits,
        output.logit_cycles,
        {"slice": slices, "image": images, "phase": params.rq_phases},
    )
    if expected is None:
        return

    def by_class(values: np.ndarray) -> np.ndarray:
        """Bring values of the records' lanes, or one for each record, to the order of ``expected``."""
        lanes = np.zeros((len(in_turn), params.rq_lanes), dtype=np.int64)
        lanes[: len(values)] = values[: len(lanes)].reshape(-1, 1) if values.ndim == 1 else values[: len(lanes)]
        return lanes.reshape(slices, images, LANES).transpose(1, 0, 2).reshape(images, -1)[:, :classes]

    got, cycles, there = by_class(output.logits["logits"]), by_class(output.logit_cycles), by_class(in_turn) != 0
    verdict.outputs_checked += expected.size
    verdict.nonzero += int(np.count_nonzero(got[there]))
    wrong = np.argwhere((got != expected) | ~there)
    verdict.mismatches += len(wrong)
    for image, number in wrong[:KEPT].tolist():
        value, cycle = (int(got[image, number]), int(cycles[image, number])) if there[image, number] else (None, None)
        verdict.first.append(place.mismatch("logit", image, 0, 0, number, int(expected[image, number]), value, cycle))
    del verdict.first[KEPT:]


def _compare_decisions(verdict: Verdict, place: _Place, output: PassOutput, expected: np.ndarray | None) -> None:
    """Compare the records in their order: slice outermost, then image, row, column."""
    images, slices, deciders, rows, cols = (0,) * 5 if expected is None else expected.shape
    order, in_turn = _in_turn(
        verdict,
        place,
        "decisions",
        output.masks,
        output.mask_cycles,
        {"slice": slices, "image": images, "row": rows, "col": cols},
    )
    if expected is None:
        return
    count = len(order)
    verdict.decisions_checked += expected.size
    fire = np.zeros(count, dtype=np.int64)
    came = output.masks["fire"][:count]
    fire[: len(came)] = came
    # A record has a bit for each channel, all equal where the slice decides as one.
    bits = fire[:, None] >> np.arange(LANES) & 1
    wanted = np.repeat(expected.transpose(1, 0, 3, 4, 2).reshape(count, deciders), LANES // deciders, axis=1)
    differs = (bits != wanted) | ~in_turn[:, None]
    differs = differs.reshape(count, deciders, -1).any(2)
    wrong = np.argwhere(differs)
    verdict.mismatches += len(wrong)
    for n, decider in wrong[: KEPT // 2].tolist():
        slice_, image, row, col = order[n].tolist()
        lanes = slice(decider * LANES // deciders, (decider + 1) * LANES // deciders)
        got, cycle = None, None
        if in_turn[n]:
            # Shown as one bit, unless the channels of a slice differ.
            got = int(bits[n, lanes][0]) if len(set(bits[n, lanes].tolist())) == 1 else int(fire[n])
            cycle = int(output.mask_cycles[n])
        verdict.first.append(
            place.mismatch(
                "decision", image, row, col, LANES * slice_ + lanes.start, int(wanted[n, lanes][0]), got, cycle
            )
        )
