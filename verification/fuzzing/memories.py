"""Memories that change while a program runs: speed and stalls, errors at any beat, answers that stay away."""

from __future__ import annotations

import random
from typing import Any

from hw.params import HwParams
from verification.fuzzing.case import Case, Kind
from verification.fuzzing.host import DONE, HANG, QUIET, FindingError, Host
from verification.fuzzing.jobs import POOL, good_job, prepared

__all__ = ["MEMORIES"]

#: How a run may end with a fault of each number, see `sim.testbench.session.SETTINGS`, besides well.
_ENDS = {
    2: {"READ_SLAVE", "WRITE_SLAVE"},
    3: {"READ_DECODE", "WRITE_DECODE"},
    4: {"WATCHDOG"},
    5: {"READ_LAST"},
    6: {"WATCHDOG"},
}


def _speed(rng: random.Random) -> dict[str, int]:
    found = {"bandwidth": rng.choice([0, 1, 2, 8, 64]), "latency": rng.choice([1, 2, 20, 100, 300])}
    found |= {"extra": rng.choice([0, 0, 1, 50, 300])}
    for channel in rng.sample(["ar", "r", "aw", "w", "b"], rng.randint(0, 5)):
        found[f"stall_{channel}"] = rng.choice([0, 30, 128, 220])
    return found


def draw(rng: random.Random, params: HwParams) -> Case:
    """Draw a memory and what becomes of it, in shares of the program's cycles."""
    changes: list[list[Any]] = [[rng.random() * 1.5, _speed(rng)] for _ in range(rng.choice([0, 1, 2, 5]))]
    if rng.random() < 0.7:
        way = rng.choice(["read", "read", "write"])
        kind = rng.choice([2, 3, 4, 5, 6] if way == "read" else [2, 3, 4, 6])
        fault = {"way": way, "kind": kind, "place": rng.random(), "beats": rng.choice([1, 1, 1, 5, 1000])}
        changes.append([rng.choice([0, 0, rng.random()]), fault])
        if rng.random() < 0.2 and (way, kind) != ("write", 4):  # what was not written would be acknowledged
            changes.append([rng.random(), {"way": way, "kind": 0, "place": 0, "beats": 1}])
    return {
        "pool": rng.randrange(POOL),
        "seed": rng.randrange(1 << 16),
        "speed": _speed(rng),
        "late": rng.choice([10, 300, 1 << 20]),
        "changes": sorted(changes, key=lambda change: change[0]),
        "reset": rng.random() < 0.5,
    }


def run(case: Case, host: Host) -> str:
    """Run a good program on a bad memory; then on a good one."""
    params: HwParams = host.params
    session = host.session
    job = prepared(host, params, case["pool"])
    cycles = host.cycles[case["pool"]]
    host.watchdog = 60 * cycles + 40_000
    host.registers()
    session.set(**case["speed"], seed=case["seed"], late=min(case["late"], 2 * host.watchdog))
    if case["reset"]:  # the seed is taken then
        session.reset()
        host.registers()
    ends = {DONE}

    def change(settings: dict[str, Any]) -> None:
        if "way" not in settings:
            session.set(**settings)
            return
        ends.update(_ENDS.get(settings["kind"], set()))
        size = params.axi_bytes
        first, stop = (0, job.size) if settings["way"] == "read" else job.network.window
        spans = (
            [(place, len(data)) for place, data in job.network.regions] if settings["way"] == "read" else job.expected
        )
        lengths = [span[1] if isinstance(span[1], int) else len(span[1]) for span in spans]
        at = int(settings["place"] * sum(lengths))
        for (place, _), length in zip(spans, lengths, strict=True):
            if at < length:
                first = (place + at) // size * size
                break
            at -= length
        stop = min(stop, first + size * settings["beats"])
        way = settings["way"]
        session.set(**{f"{way}_error": settings["kind"], f"{way}_first": first, f"{way}_last": stop - 1})

    at = 0
    for when, settings in case["changes"]:
        if when <= 0:
            change(settings)
    host.start()
    for when, settings in case["changes"]:
        if when > 0:
            if session.wait(max(0, int(when * cycles) - at)):
                break
            at = max(at, int(when * cycles))
            change(settings)
    end = host.finish()
    if end == HANG:
        raise FindingError("hang: neither end nor error within the watchdog")
    if end not in ends:
        raise FindingError(f"ends with {end}, not {' or '.join(sorted(ends))}")
    host.check(exact=end == DONE)
    host.watchdog = 2 * cycles + 2_000
    host.registers()
    host.recover(good_job(params, (case["pool"] + case["seed"]) % POOL) if case["seed"] % 2 else None)
    return DONE if end == DONE else f"error {end}"


_SIMPLEST: Case = {
    "changes": [],
    "speed": {name: QUIET[name] for name in ("bandwidth", "latency")},
    "seed": 0,
    "pool": 0,
}

MEMORIES = Kind("memories", 0.07, draw, run, _SIMPLEST)
