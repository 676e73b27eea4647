"""Programs that are none any more: bits flipped, instructions left out or swapped, lengths and windows wrong."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from hw.interface.instructions import PASSES
from hw.params import HwParams
from verification.fuzzing.case import Case, Kind
from verification.fuzzing.host import DONE, HANG, FindingError, Host, Job
from verification.fuzzing.jobs import POOL, good_job, prepared
from verification.independent.decoded_program import ProgramError, decode, unordered
from verification.independent.program_interpreter import Engine

__all__ = ["PROGRAMS"]


def draw(rng: random.Random, params: HwParams) -> Case:
    """Draw what is done to a program."""
    number = rng.randrange(POOL)
    count = good_job(params, number).network.instructions
    kind = rng.choice(["bits", "bits", "tokens", "transfers", "order", "length", "window"])
    flips, order, length, window = [], [], None, None
    if kind == "bits":
        flips = [[rng.randrange(count), rng.randrange(512)] for _ in range(rng.choice([1, 1, 2, 8]))]
    elif kind == "tokens":
        flips = [[rng.randrange(count), rng.randrange(4, 10)] for _ in range(rng.choice([1, 1, 2]))]
    elif kind == "transfers":
        flips = [[rng.randrange(count), rng.randrange(64, 138)] for _ in range(rng.choice([1, 1, 2]))]
    elif kind == "order":
        order = [[rng.choice(["drop", "double", "swap"]), rng.randrange(count)] for _ in range(rng.choice([1, 1, 2]))]
    elif kind == "length":
        length = rng.choice([0, 1, count - 1, count + 1, count + 7, 65535, 65536, 1 << 31, rng.randrange(1, count + 1)])
    else:
        window = [rng.random(), rng.random()]
    return {"pool": number, "flips": flips, "order": order, "length": length, "window": window}


def changed_text(case: Case, text: bytes) -> bytes:
    """Return the instructions as they are run."""
    words = np.frombuffer(text, dtype=np.uint8).reshape(-1, 64).copy()
    for number, bit in case["flips"]:
        words[number % len(words), bit // 8] ^= 1 << bit % 8
    parts = list(words)
    for what, number in case["order"]:
        n = number % len(parts)
        if what == "drop" and len(parts) > 1:
            parts.pop(n)
        elif what == "double":
            parts.insert(n, parts[n])
        elif what == "swap" and len(parts) > 1:
            other = (n + 1) % len(parts)
            parts[n], parts[other] = parts[other], parts[n]
    return np.stack(parts).tobytes()


def meaning(job: Job, text: bytes, params: HwParams, before: np.ndarray) -> tuple[str, np.ndarray | None]:
    """Say what a program means, by the interpreter.

    Returns
    -------
    tuple
        "bad" if the engine must refuse it, "undefined" if nothing says what it does, else "good"; and what memory
        holds after a good one.
    """
    words = np.frombuffer(text, dtype=np.uint8).reshape(-1, 64)
    try:
        program = decode(words, params)
    except (ProgramError, ValueError):
        return "bad", None
    engine = Engine(params, job.size)
    try:
        if unordered(program):
            return "undefined", None
        engine.write(0, before.tobytes())
        engine.run(program, lambda can: can[-1])
    except (ProgramError, IndexError, ValueError, OverflowError, KeyError):
        return "undefined", None
    return "good", engine.memory[: job.size]


def run(case: Case, host: Host) -> str:
    """Run a changed program; then a good one, which must not notice."""
    params: HwParams = host.params
    job = prepared(host, params, case["pool"])
    region = next(data for address, data in job.network.regions if address == job.network.program)
    text = changed_text(case, region)
    room = job.network.program + len(text) <= job.size
    if not room:
        text = region
    host.load(job, patches=[(job.network.program, text)])
    length = len(text) // 64 if case["length"] is None else case["length"]
    host.driver.write("PROGRAM_LENGTH", length)
    if case["window"] is not None:
        first, stop = job.network.window
        low, high = (first + int(part * (stop - first)) for part in case["window"])
        host.window = (low, high)  # perhaps the wrong way round
        host.driver.write("STORE_BASE", host.window[0])
        host.driver.write("STORE_END", host.window[1])
    compares = all(_is_plain(text, number) for number, _ in case["flips"]) and case["length"] is None
    said, memory = meaning(job, text, params, host.before) if compares and room else ("undefined", None)
    host.start()
    end = host.finish()
    if end == HANG:
        raise FindingError("hang: neither end nor error within the watchdog")
    host.check(exact=False)
    if end == DONE and said == "bad":
        raise FindingError("a bad instruction is executed without an error")
    if end == DONE and memory is not None and case["window"] is None:
        first, stop = host.window
        found = host.memory()[first:stop]
        if not np.array_equal(found, memory[first:stop]):
            raise FindingError("memory is not as the interpreter says")
    told = f"error {end}" if end != DONE else "exact" if memory is not None else "ends, meaning undefined"
    host.recover(good_job(params, (case["pool"] + case["flips"][0][1]) % POOL if case["flips"] else case["pool"]))
    return told


def _is_plain(text: bytes, number: int) -> bool:
    """Tell whether an instruction only moves data: what changed registers of a layer compute is written nowhere."""
    passes: Any = PASSES  # members of an enumeration of Amaranth's
    return text[64 * (number % (len(text) // 64))] & 15 not in {opcode.value for opcode in passes}


_SIMPLEST: dict[str, Any] = {"flips": [], "order": [], "length": None, "window": None, "pool": 0}

PROGRAMS = Kind("programs", 0.07, draw, run, _SIMPLEST)
