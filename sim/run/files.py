"""The files between Python and the testbench: what `sim/testbench/tb_core.sv` reads for a run, and what it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gen.layer.packing import pack, packed_bytes, unpack
from gen.layer.pass_program import Program
from gen.layer.places import MapPlace
from hw.interface.layouts import CounterLayout, LayerRegisters, LogitRecord, MaskRecord, OfmapWrite
from hw.params import HwParams

__all__ = ["STREAMS", "Run", "RunOutput", "read_records", "read_run", "traced_words", "write_run"]

#: Streams of the core in the order of the testbench.
STREAMS = ("load", "param", "weight", "mask", "logit", "read", "word", "force")


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One pass for the testbench.

    Attributes
    ----------
    program
        What is loaded, streamed and read back.
    cycle_limit
        Cycles after which the pass is given up.
    stalls
        Probability, 0 to 1, of a stall in each cycle by stream (see `STREAMS`); a stream not named runs at full rate.
    seed
        Of the stalls.
    early_weights
        Whether weights are offered before ``start``; otherwise from the cycle after it on.
    late_loads
        How many of the last bank words are offered only while the pass runs.
    """

    program: Program
    cycle_limit: int
    stalls: Mapping[str, float] = field(default_factory=dict)
    seed: int = 1
    early_weights: bool = False
    late_loads: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class RunOutput:
    """What a pass left behind.

    Attributes
    ----------
    timeout
        Whether the cycle limit was reached.
    violations
        Breaches of the stream rule by the core's outputs.
    stray
        Outputs outside of the pass, in the 64 cycles after it or after the last word asked for.
    weights_left, words_left, late_loads_left, forces_left
        Items not taken or not delivered.
    late_weights
        Entries of the ring that were taken after ``done``: of a conditional path that nobody waited for.
    counters_changed
        Whether the counters moved after ``done``.
    done_cycle
        Cycle in which ``done`` was high.
    counters
        By the field names of `hw.interface.layouts.CounterLayout`; integers, and a list for ``idle``.
    mask_cycles, masks
        Decisions: the cycle each was taken in, and the fields of `hw.interface.layouts.MaskRecord`, (n,) int64.
    logit_cycles, logits
        The same of `hw.interface.layouts.LogitRecord`; ``logits["logits"]`` is (n, rq_lanes).
    trace_cycles, trace
        Writes to the ofmap, the same of `hw.interface.layouts.OfmapWrite`; ``trace["codes"]`` is (n, rq_lanes).
    words
        Bank words read back, (n, in_par) uint8.
    """

    timeout: bool
    violations: int
    stray: int
    weights_left: int
    words_left: int
    late_loads_left: int
    forces_left: int
    late_weights: int
    counters_changed: bool
    done_cycle: int
    counters: dict[str, Any]
    mask_cycles: np.ndarray
    masks: dict[str, Any]
    logit_cycles: np.ndarray
    logits: dict[str, Any]
    trace_cycles: np.ndarray
    trace: dict[str, Any]
    words: np.ndarray


def write_run(folder: Path, run: Run, reset: bool) -> None:
    """Write the files of a run.

    Parameters
    ----------
    folder
        Made if missing.
    run
        The run.
    reset
        Whether the core is reset before it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unknown = set(run.stalls) - set(STREAMS)
    if unknown:
        raise ValueError(f"stalls must be of {', '.join(STREAMS)}, not {', '.join(sorted(unknown))}")
    program = run.program
    streams = {
        "loads": program.packed_loads(),
        "params": program.packed_parameters(),
        "weights": program.weights,
        "reads": program.packed_reads(),
        "forces": program.packed_masks(),
        "layer": pack(LayerRegisters(program.params), program.registers, 1),
    }
    for name, packed in streams.items():
        (folder / f"{name}.bin").write_bytes(np.ascontiguousarray(packed[:, ::-1]).tobytes())
    numbers = [
        int(reset),
        int(run.early_weights),
        run.seed & 0x7FFFFFFF,
        run.cycle_limit,
        len(streams["loads"]) - run.late_loads,
        run.late_loads,
        *(len(streams[name]) for name in ("params", "weights", "reads", "forces")),
        *(round(256 * run.stalls.get(name, 0)) for name in STREAMS),
    ]
    (folder / "control.txt").write_text(" ".join(map(str, numbers)) + "\n", encoding="ascii")


#: Value of a hexadecimal digit, by its code.
_DIGITS = np.zeros(256, dtype=np.uint8)
_DIGITS[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16)


def read_records(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Read lines of a cycle and a payload, both in hexadecimal digits, all lines of one length.

    Parameters
    ----------
    path
        The file.
    size
        Bytes of a payload.

    Returns
    -------
    tuple
        Cycles (n,) int64, and payloads (n, size) uint8, packed as by `gen.layer.packing.pack`.
    """
    raw = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    if not len(raw):
        return np.zeros(0, dtype=np.int64), np.zeros((0, size), dtype=np.uint8)
    digits = _DIGITS[raw.reshape(-1, int(np.flatnonzero(raw == ord("\n"))[0]) + 1)]
    space = int(np.flatnonzero(raw == ord(" "))[0])
    cycles = np.zeros(len(digits), dtype=np.int64)
    for column in range(space):
        cycles = cycles << 4 | digits[:, column]
    payload = digits[:, space + 1 : -1]
    payload = np.pad(payload, ((0, 0), (2 * size - payload.shape[1], 0)))
    return cycles, (payload[:, ::2] << 4 | payload[:, 1::2])[:, ::-1]


def _packed(payloads: list[str], size: int) -> np.ndarray:
    text = "".join(payload.zfill(2 * size) for payload in payloads)
    return np.frombuffer(bytes.fromhex(text), dtype=np.uint8).reshape(-1, size)[:, ::-1]


def read_run(folder: Path, run: Run) -> RunOutput:
    """Read what the testbench wrote for a run."""
    params = run.program.params
    lines = (folder / "result.txt").read_text(encoding="ascii").split("\n")
    result = dict(line.split() for line in lines if line)
    counters = unpack(CounterLayout, _packed([result["counters"]], packed_bytes(CounterLayout)))
    found = {}
    for name, layout in (("masks", MaskRecord(params)), ("logits", LogitRecord(params)), ("trace", OfmapWrite(params))):
        cycles, packed = read_records(folder / f"{name}.txt", packed_bytes(layout))
        found[name] = cycles, unpack(layout, packed)
    words = _packed((folder / "words.txt").read_text(encoding="ascii").split(), params.in_par)
    return RunOutput(
        timeout=result["timeout"] != "0",
        violations=int(result["violations"]),
        stray=int(result["stray"]),
        weights_left=int(result["weights_left"]),
        late_weights=int(result["late_weights"]),
        words_left=int(result["words_left"]),
        late_loads_left=int(result["late_loads_left"]),
        forces_left=int(result["forces_left"]),
        counters_changed=result["counters_changed"] != "0",
        done_cycle=int(result["done_cycle"]),
        counters={name: value[0].tolist() for name, value in counters.items()},
        mask_cycles=found["masks"][0],
        masks=found["masks"][1],
        logit_cycles=found["logits"][0],
        logits=found["logits"][1],
        trace_cycles=found["trace"][0],
        trace=found["trace"][1],
        words=words,
    )


def traced_words(trace: Mapping[str, Any], place: MapPlace, params: HwParams) -> tuple[np.ndarray, np.ndarray]:
    """Put the granules of a trace together to the words of a map.

    Parameters
    ----------
    trace
        Fields of `hw.interface.layouts.OfmapWrite`.
    place
        Where the map lies.
    params
        The engine.

    Returns
    -------
    tuple
        Words in the order of `gen.layer.places.MapPlace.addresses`, (n, in_par) uint8, 0 where nothing was written; and
        alike whether something was.
    """
    bank = np.zeros((params.bank_words, params.word_subs, params.rq_lanes), dtype=np.uint8)
    written = np.zeros_like(bank)
    bank[trace["addr"], trace["sub"]] = trace["codes"]
    written[trace["addr"], trace["sub"]] = 1
    addresses = place.addresses().reshape(-1)
    return bank[addresses].reshape(-1, params.in_par), written[addresses].reshape(-1, params.in_par)
