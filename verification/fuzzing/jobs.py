"""Good programs to be disturbed: one layer, a classifier, whole small networks, each from a seed."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

import numpy as np

from gen.host.driver import loaded
from gen.network.compiler import compile_network
from hw.params import HwParams
from sim.plan.cases import random_case
from verification.fuzzing.host import DONE, PATIENT, FindingError, Host, Job, job_of
from verification.fuzzing.networks import images_of, network_of
from verification.independent.execution import engine_for, executed
from verification.networks.one_layer import one_layer
from verification.networks.plans import random_plan

__all__ = ["POOL", "good_job", "prepared"]

#: Programs that are drawn from.
POOL = 12


def _layer(rng: random.Random, params: HwParams) -> Job:
    groups = rng.choice([2, 2, 4])
    case = random_case(
        rng.randrange(1 << 30),
        in_ch=groups * params.in_par,
        out_ch=8 * groups,
        groups=groups,
        size=(rng.randint(2, 4), rng.randint(2, 4)),
        images=rng.choice([1, 2]),
        residual=rng.choice([None, "unsigned"]),
        slice_size=rng.choice([8, 1]),
    )
    return job_of(one_layer(case, params, rng.choice(["gated", "dense"])))


def _classifier(rng: random.Random, params: HwParams) -> Job:
    case = random_case(rng.randrange(1 << 30), in_ch=16, size=(2, 3), classes=rng.randint(5, 20), images=2)
    return job_of(one_layer(case, params))


def _network(rng: random.Random, params: HwParams) -> Job:
    rows, cols, images = rng.randint(3, 6), rng.randint(3, 6), rng.choice([1, 2, 3])
    case: dict[str, Any] = {
        "seed": rng.randrange(1 << 30),
        "rows": rows,
        "cols": cols,
        "colours": rng.choice([3, 1]),
        "images": images,
        "groups": 2,
        "branch": 1,
        "base_groups": rng.choice([[], [1, 1]]),
        "slice_size": 8,
        "sparsity": 0.5,
        "classes": 5,
    }
    case["plan"] = random_plan(rng, 2 * max(8, params.in_par), (rows, cols), 3, case["colours"])
    pixels = images_of(case)
    program = compile_network(network_of(case), params, images, (rows, cols))
    engine = engine_for(program)
    executed(program, engine, pixels, rng.choice)
    first, stop = program.store_window
    known = np.flatnonzero(engine.known[first:stop]) + first
    parts = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
    expected = tuple((int(part[0]), engine.memory[part[0] : part[-1] + 1].tobytes()) for part in parts)
    size = -(-(program.image.size + 4096) // 64) * 64
    return Job(loaded(program), program.pack_images(pixels), size, expected)


@lru_cache(maxsize=2 * POOL)
def good_job(params: HwParams, number: int) -> Job:
    """Return one of `POOL` good programs for an engine."""
    rng = random.Random(f"job {number}")
    return [_layer, _classifier, _network, _network][number % 4](rng, params)


def prepared(host: Host, params: HwParams, number: int) -> Job:
    """Load a good program; give the engine a watchdog that is twice as patient as it needs.

    Raises
    ------
    FindingError
        If the program does not run well as it is.
    """
    job = good_job(params, number)
    cycles = host.cycles.get(number)
    if cycles is None:
        host.watchdog = PATIENT
        host.load(job)
        host.start()
        end = host.finish()
        if end != DONE:
            raise FindingError(f"a good program ends with {end}")
        host.check_result()
        cycles = host.cycles[number] = host.driver.counters()["cycles"]
    host.watchdog = 2 * cycles + 2_000
    host.load(job)
    return job
