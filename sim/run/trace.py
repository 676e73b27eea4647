"""What a run of a whole network leaves behind, and how it is cut into passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen.layer.packing import packed_bytes, unpack
from gen.layer.places import MapPlace
from hw.interface.instructions import PassRecord
from hw.interface.layouts import IdleCause, MaskRecord, OfmapWrite
from hw.params import HwParams
from sim.run.files import read_records, traced_words

__all__ = ["PassTrace", "RunTrace", "read_trace"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PassTrace:
    """What came during one pass; as `sim.check.outputs.PassOutput`, with the pass's share of the cycles.

    Attributes
    ----------
    index
        Number of its instruction.
    counters
        Differences of the counters from its first step (from the start bit in the first pass) to the next pass's first
        step, or to the end of the run: by the names in `hw.interface.registers.COUNTERS`, integers.
    trace_cycles, trace, mask_cycles, masks
        As in `sim.run.files.RunOutput`; cycles count since the simulation began.
    words
        What was written to the ofmap, in the order of `gen.layer.places.MapPlace.addresses`: (n, in_par) uint8.
    logit_cycles, logits
        Empty: logits are compared in memory.
    """

    index: int
    counters: dict[str, int]
    trace_cycles: np.ndarray
    trace: dict[str, Any]
    mask_cycles: np.ndarray
    masks: dict[str, Any]
    words: np.ndarray
    logit_cycles: np.ndarray
    logits: dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class RunTrace:
    """Records of a run.

    Attributes
    ----------
    params
        The engine.
    pass_cycles, passes
        Cycle in which each pass was announced, and the fields of `hw.interface.instructions.PassRecord`.
    trace_cycles, trace_words
        Writes to the ofmap: cycle and packed `hw.interface.layouts.OfmapWrite`.
    mask_cycles, mask_words
        Decisions: cycle and packed `hw.interface.layouts.MaskRecord`.
    """

    params: HwParams
    pass_cycles: np.ndarray
    passes: dict[str, Any]
    trace_cycles: np.ndarray
    trace_words: np.ndarray
    mask_cycles: np.ndarray
    mask_words: np.ndarray

    @property
    def early(self) -> int:
        """Records before the first pass."""
        first = self.pass_cycles[0] if len(self.pass_cycles) else np.iinfo(np.int64).max
        return int((self.trace_cycles < first).sum() + (self.mask_cycles < first).sum())

    def cumulative(self, final: dict[str, int]) -> list[dict[str, int]]:
        """Return the run's counters at the beginning of each pass but the first, where they are 0, and at the end."""
        counters = self.passes["counters"] if len(self.pass_cycles) else {}
        rows = [dict.fromkeys(final, 0)]
        for number in range(1, len(self.pass_cycles)):
            row = {name: int(values[number]) for name, values in counters.items() if name != "idle"}
            row |= {f"idle_{cause.name.lower()}": int(counters["idle"][number, cause.value]) for cause in IdleCause}
            rows.append(row)
        return [*rows, final]

    def cut(self, number: int, counters: dict[str, int], ofmap: MapPlace | None) -> PassTrace:
        """Return the records of one pass, of which the counters are given, and where its ofmap lies."""
        begin = self.pass_cycles[number]
        more = number + 1 < len(self.pass_cycles)
        end = self.pass_cycles[number + 1] if more else np.iinfo(np.int64).max
        writes, decisions = (
            slice(*np.searchsorted(cycles, [begin, end])) for cycles in (self.trace_cycles, self.mask_cycles)
        )
        none = np.zeros(0, dtype=np.int64)
        trace = unpack(OfmapWrite(self.params), self.trace_words[writes])
        words = np.zeros((0, self.params.in_par), dtype=np.uint8)
        if ofmap is not None:
            words, _ = traced_words(trace, ofmap, self.params)
        return PassTrace(
            index=int(self.passes["index"][number]),
            counters=counters,
            words=words,
            trace_cycles=self.trace_cycles[writes],
            trace=trace,
            mask_cycles=self.mask_cycles[decisions],
            masks=unpack(MaskRecord(self.params), self.mask_words[decisions]),
            logit_cycles=none,
            logits={"logits": none.reshape(0, self.params.rq_lanes), "phase": none, "slice": none, "image": none},
        )


def read_trace(path: Path, params: HwParams) -> RunTrace:
    """Read the files that `sim.testbench.session.Session.open_traces` began."""
    found = {}
    for suffix, layout in (("passes", PassRecord), ("trace", OfmapWrite(params)), ("masks", MaskRecord(params))):
        found[suffix] = read_records(path.with_suffix(f".{suffix}"), packed_bytes(layout))
    cycles, words = found["passes"]
    return RunTrace(
        params=params,
        pass_cycles=cycles,
        passes=unpack(PassRecord, words),
        trace_cycles=found["trace"][0],
        trace_words=found["trace"][1],
        mask_cycles=found["masks"][0],
        mask_words=found["masks"][1],
    )
