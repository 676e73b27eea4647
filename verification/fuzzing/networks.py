"""Random whole networks: through the compiler and the program interpreter, and on the RTL with its memory."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from cdgate.errors import CompileError
from hw.params import HwParams
from sim.check.network import compare_network
from sim.plan.network import plan as plan_network
from sim.run.scenario import MARGIN, run_networks
from sw_model.integer.network import IntNetwork
from sw_model.quantisation.random_network import random_network
from verification.fuzzing.case import Case, Kind
from verification.fuzzing.host import QUIET, FindingError, Host
from verification.independent.execution import check, checked
from verification.networks.plans import random_plan, without

__all__ = ["NETWORKS", "NETWORKS_RTL", "images_of", "network_of", "params_of"]


def draw(rng: random.Random, params: HwParams | None) -> Case:
    """Draw a network, and without an engine one, too."""
    chosen = params or HwParams(
        in_par=(in_par := rng.choice([2, 4, 4, 8, 16])),
        rq_lanes=rng.choice([n for n in (1, 2, 4, 8) if n <= in_par]),
        bank_words=rng.choice([256, 512, 1024, 4096]),
        ring_entries=rng.choice([256, 512]),
        axi_bits=rng.choice([32, 64, 128] if in_par > 2 else [32, 64]),
        max_images=rng.choice([2, 8]),
    )
    groups = rng.choice([2, 2, 4] if chosen.in_par < 8 else [2])
    unit = groups * max(8, chosen.in_par)
    rows, cols, colours = rng.randint(1, 9), rng.randint(1, 9), rng.choice([3, 3, 1])
    return {
        "seed": rng.randrange(1 << 30),
        "params": {name: value for name, value in dataclasses.asdict(chosen).items()},
        "rows": rows,
        "cols": cols,
        "colours": colours,
        "images": rng.choice([1, 1, 2, 3, 4]),
        "mode": rng.choice(["gated", "gated", "gated", "dense", "base"]),
        "groups": groups,
        "branch": rng.choice([1, 1, 2]),
        "base_groups": [rng.randrange(groups) for _ in range(groups)] if rng.random() < 0.3 else [],
        "slice_size": rng.choice([8, 8, 8, 1]),
        "sparsity": rng.choice([0.3, 0.7]),
        "classes": rng.randint(1, 20),
        "plan": random_plan(rng, unit, (rows, cols), 5, colours),
        "bandwidth": rng.choice([1, 3, 8, 16]),
        "latency": rng.choice([1, 5, 40, 150]),
        "extra": rng.choice([0, 0, 30]),
        "stall": rng.choice([0, 0, 60, 120]),
        "again": rng.random() < 0.25,
    }


def params_of(case: Case) -> HwParams:
    """Return the engine of a case."""
    return HwParams(**case["params"])


def images_of(case: Case) -> np.ndarray:
    """Return the images of a case, (N, rows, columns, colours) uint8: neither flat nor noise alone."""
    rng = np.random.default_rng(case["seed"])
    shape = (case["images"], case["rows"], case["cols"], case["colours"])
    slopes = np.linspace(0, 120, case["cols"])[None, None, :, None]
    return np.clip(slopes + rng.integers(0, 136, shape), 0, 255).astype(np.uint8)


def network_of(case: Case) -> IntNetwork:
    """Return the network of a case, calibrated on images like its own."""
    return random_network(
        seed=case["seed"],
        plan=case["plan"],
        images=images_of({**case, "images": 3, "seed": case["seed"] + 1}),
        groups=case["groups"],
        branch=case["branch"],
        base_groups=case["base_groups"],
        slice_size=case["slice_size"],
        sparsity=case["sparsity"],
        classes=case["classes"],
    )


def run(case: Case, place: Any) -> str:
    """Compile a network, check its program, execute it in Python and compare everything with the golden network."""
    network, images = network_of(case), images_of(case)
    try:
        program = checked(network, params_of(case), len(images), (case["rows"], case["cols"]), case["mode"])
    except CompileError as error:
        text = str(error)
        if "\n" in text or not text.startswith(("layer ", "network: ")):
            raise FindingError(f"refused without naming the layer: {text}") from None
        return f"refused: {text.split(': ', 1)[1].split(' must')[0].split(' of ')[0][:24]}"
    check(program, images, random.Random(case["seed"]).choice)
    return "exact"


def run_rtl(case: Case, host: Host) -> str:
    """Run a network on the RTL behind a memory of some speed, and compare all that it leaves."""
    network, images = network_of(case), images_of(case)
    params = params_of(case)
    try:
        one = plan_network(network, params, images, case["mode"], case["bandwidth"], case["latency"])
    except CompileError:
        return "refused"
    job = dataclasses.replace(one.job, cycle_limit=10 * one.job.cycle_limit)
    size = -(-(job.size + MARGIN) // 64) * 64
    session = host.session
    session.memory_write(0, bytes(size))
    settings = {**QUIET, **{name: case[name] for name in ("bandwidth", "latency", "extra", "stall")}}
    try:
        runs = run_networks(session, [job] * (2 if case["again"] else 1), {**settings, "seed": case["seed"] % 1000})
        before = None
        for done in runs:
            total = compare_network(one.program, job, done, one.golden, one.counts, before).total()
            if total.mismatches or total.broken:
                raise FindingError("; ".join([*map(str, total.first[:1]), *total.broken[:2]]))
            before = np.fromfile(done.memory, dtype=np.uint8)
    finally:
        for path in session.folder.glob("[0-9]*"):
            path.unlink()
        session.set(**QUIET)
        session.reset()
    return "exact"


def smaller(case: Case) -> Iterator[Case]:
    """Yield cases with a layer less, or a simpler one."""
    for number, one in enumerate(case["plan"]):
        plan = without(case["plan"], number)
        if plan is not None:
            yield {**case, "plan": plan}
        for name, value in (("residual", None), ("gated", False), ("kernel", 1)):
            if name not in one or (name == "residual" and any(not other.get("relu", True) for other in case["plan"])):
                continue
            if one[name] != value:
                changed = {**one, name: value, **({"pad": 0} if name == "kernel" else {})}
                yield {**case, "plan": [*case["plan"][:number], changed, *case["plan"][number + 1 :]]}


_SIMPLEST: Case = {
    "images": 1,
    "mode": "dense",
    "branch": 1,
    "base_groups": [],
    "slice_size": 8,
    "classes": 1,
    "stall": 0,
    "extra": 0,
    "latency": 1,
    "bandwidth": 8,
    "again": False,
    "rows": 1,
    "cols": 1,
}

NETWORKS = Kind("networks", 0.27, draw, run, _SIMPLEST, smaller)
NETWORKS_RTL = Kind("networks_rtl", 0.08, draw, run_rtl, _SIMPLEST, smaller)
