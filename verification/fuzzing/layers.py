"""Random layers: golden operators against slow loops, compiled layers against the layer interpreter, and on the RTL."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cdgate.errors import CompileError
from gen.layer.compiler import compile_layer
from gen.layer.places import Placement
from hw.params import HwParams
from sim.check.outputs import compare
from sim.plan.cases import Case as LayerCase
from sim.plan.cases import pool_case, random_case
from sim.run.core import Simulator
from sim.run.files import Run
from sw_model.integer.steps import count_layer
from verification.fuzzing.case import Case, Kind
from verification.fuzzing.host import FindingError
from verification.independent.layer_interpreter import Interpreter
from verification.independent.looped_layer import looped

__all__ = ["LAYERS", "LAYERS_RTL", "run_batch"]

#: Words of a bank and entries of the weight ring of the engine that layers are compiled for.
_BANK, _RING = 1 << 15, 512

#: Streams of the testbench that may stall.
_STREAMS = ("load", "param", "weight", "mask", "logit", "read", "word", "force")


def draw(rng: random.Random, params: HwParams | None) -> Case:
    """Draw a layer; for an engine only such as it can run, without one all that the golden model can."""
    in_par = params.in_par if params else rng.choice([2, 4, 8, 16])
    rq_lanes = params.rq_lanes if params else rng.choice([n for n in (1, 2, 4, 8) if n <= in_par])
    shape = rng.choice(["gated", "gated", "gated", "plain", "plain", "image", "image", "classifier", "pool"])
    free = params is None and rng.random() < 0.25  # of the engine's rules
    kernel = _kernel(rng, shape, free)
    pad = kernel // 2 if kernel in (1, 3) and shape != "pool" else rng.choice([0, 0, 1]) if kernel > 1 else 0
    groups = rng.choice([2, 2, 4]) if shape == "gated" else 1
    case: Case = {
        "seed": rng.randrange(1 << 30),
        "shape": shape,
        "in_par": in_par,
        "rq_lanes": rq_lanes,
        "groups": groups,
        "in_ch": groups * in_par * rng.choice([1, 1, 2 if in_par < 16 else 1]),
        "out_ch": groups * 8 * rng.choice([1, 1, 2 if groups < 4 else 1]),
        "rows": rng.randint(1, 5 if kernel < 4 else 4),
        "cols": rng.randint(1, 5 if kernel < 4 else 4),
        "images": rng.choice([1, 1, 2, 3]),
        "kernel": kernel,
        "pad": pad,
        "stride": rng.choice([1, 1, 1, 2, 2, 3, 8]),
        "branch": rng.choice([1, 2]),
        "base_groups": [rng.randrange(groups) for _ in range(groups)] if groups > 1 and rng.random() < 0.4 else [],
        "slice_size": rng.choice([8, 8, 1]),
        "residual": rng.choice([None, None, "unsigned", "signed"]),
        "relu": rng.random() < 0.6,
        "mode": rng.choice(["gated", "gated", "gated", "dense", "base", "forced"]),
        "extreme": rng.choice(["", "", "thresholds", "weights", "scales", "multipliers"]),
        "tile": rng.choice([None, None, None, [rng.random(), rng.random()]]),
        "banks": rng.sample(range(4), 3),
        "bases": [rng.randrange(40) for _ in range(3)],
        "in_place": rng.random() < 0.4,
        "stalls": {name: rng.choice([0.1, 0.5, 0.9]) for name in _STREAMS if rng.random() < 0.15},
    }
    if shape != "gated":
        case |= {"in_ch": rng.randint(1, 3 * in_par), "out_ch": rng.randint(1, 24)}
    if shape == "image":
        case |= {"in_ch": rng.choice([1, 3]), "residual": None, "pad": rng.choice([0, kernel // 2, kernel - 1])}
    if shape == "pool":
        case |= {"stride": rng.choice([1, 2]), "residual": None}
    if shape == "classifier":
        case |= {"rows": rng.randint(1, 8), "cols": rng.randint(1, 4), "residual": None, "tile": None}
    if free and shape != "classifier":
        case["pad"] = rng.randint(0, kernel // 2 if shape == "pool" else kernel)
    if shape != "classifier":  # a kernel's place at least, and some more
        need = max(0, kernel - 2 * case["pad"] - 1)
        case["rows"], case["cols"] = case["rows"] + need, case["cols"] + need
    if free:
        if shape == "gated" and rng.random() < 0.3:
            case["in_ch"] = groups * rng.randint(1, 9)
    return case


def _kernel(rng: random.Random, shape: str, free: bool) -> int:
    if shape == "pool":
        return rng.choice([2, 3, 4]) if free else rng.choice([2, 3])
    return rng.randint(1, 8) if (free or rng.random() < 0.3) and shape != "classifier" else rng.choice([1, 3, 3])


def layer_of(case: Case) -> LayerCase:
    """Return the layer of a case with its maps; ValueError if the golden model refuses it."""
    rng = torch.Generator().manual_seed(case["seed"])
    classes = case["out_ch"] if case["shape"] == "classifier" else 0
    if case["shape"] == "pool":
        return pool_case(
            case["seed"],
            channels=case["in_ch"],
            size=(case["rows"], case["cols"]),
            images=case["images"],
            window=case["kernel"],
            stride=case["stride"],
            pad=case["pad"],
            signed=not case["relu"],
        )
    made = random_case(
        case["seed"],
        in_ch=case["in_ch"],
        out_ch=case["out_ch"],
        size=(case["rows"], case["cols"]),
        images=case["images"],
        kernel=case["kernel"],
        stride=case["stride"],
        pad=case["pad"],
        groups=case["groups"],
        branch=case["branch"],
        relu=case["relu"],
        image=case["shape"] == "image",
        classes=classes,
        slice_size=case["slice_size"],
        base_groups=tuple(case["base_groups"]),
    )
    if classes:
        return made
    layer = made.layer
    changes: dict[str, Any] = {}
    out = (case["images"], layer.out_ch)
    codes = None
    if case["residual"] is not None:
        shape = [
            (size + 2 * case["pad"] - case["kernel"]) // case["stride"] + 1 for size in (case["rows"], case["cols"])
        ]
        low, high = (0, 256) if case["residual"] == "unsigned" else (-128, 128)
        codes = torch.randint(low, high, (*out, *shape), generator=rng)
        changes |= {"R0": 23456, "Q": max(0, layer.S - 16), "residual": "added", "residual_signed": low < 0}
    pick = lambda *values: torch.tensor(values)[torch.randint(0, len(values), (layer.out_ch,), generator=rng)]  # noqa: E731
    if case["extreme"] == "thresholds" and layer.K is not None:
        changes["K"] = pick(-(2**31), -1, 0, 1, 2**31 - 1)[: len(layer.K)].to(torch.int32)
    elif case["extreme"] == "weights":
        changes["weight"] = torch.where(layer.weight < 0, -127, 127).to(torch.int8)
    elif case["extreme"] == "scales":
        changes["S"] = int(torch.randint(1, 41, (1,), generator=rng))
        changes["B"] = pick(-(2**45), -1, 0, 1, 2**40) * torch.randint(0, 4, (layer.out_ch,), generator=rng)
        changes["Q"] = int(torch.randint(0, 20, (1,), generator=rng)) if codes is not None else 0
    elif case["extreme"] == "multipliers":
        changes["M"] = pick(-(2**15), -1, 0, 1, 2**15 - 1).to(torch.int16)
    return LayerCase(dataclasses.replace(layer, **changes), made.ifmap, codes)


def masks_of(case: Case, made: LayerCase) -> torch.Tensor | None:
    """Return the decisions that mode forced needs."""
    if case["mode"] != "forced" or not made.layer.gated:
        return None
    rows, cols = (made.layer.out_size(size) for size in (case["rows"], case["cols"]))
    rng = torch.Generator().manual_seed(case["seed"] + 1)
    shape = (case["images"], made.layer.out_ch // made.layer.slice_size, rows, cols)
    return torch.rand(shape, generator=rng) < 0.4


def allowed(case: Case) -> bool:
    """Tell whether the engine must be able to run a layer of a shape, as docs/system.md says."""
    kernel, pad, shape = case["kernel"], case["pad"], case["shape"]
    if shape == "classifier":
        return True
    if shape == "pool":
        return kernel in (2, 3) and pad < 2 and case["stride"] < 3
    if shape == "image" and kernel > 1:  # patches
        return True
    taps = pad == 0 or (pad == 1 and kernel > 1)
    ring = kernel**2 * -(-case["in_ch"] // case["in_par"]) <= _RING
    return taps and ring and (case["groups"] == 1 or case["in_ch"] // case["groups"] % case["in_par"] == 0)


def options_of(case: Case, made: LayerCase, masks: torch.Tensor | None) -> dict[str, Any]:
    """Return the options of the layer compiler."""
    places = [Placement(bank=bank, base=base) for bank, base in zip(case["banks"], case["bases"], strict=True)]
    found: dict[str, Any] = {"ifmap_at": places[0], "ofmap_at": places[2], "masks": masks}
    found["residual_at"] = places[2] if case["in_place"] else places[1]
    if case["tile"] is not None:
        rows = made.layer.out_size(case["rows"])
        first, stop = sorted(int(part * (rows + 1)) for part in case["tile"])
        if first < stop:
            found["rows"] = (first, stop)
    return found


def run(case: Case, place: Any) -> str:
    """Try a layer in software."""
    try:
        made = layer_of(case)
    except ValueError as error:
        if not str(error).startswith("layer "):
            raise
        return "refused by the golden model"
    masks = masks_of(case, made)
    mode = case["mode"] if case["mode"] != "forced" or masks is not None else "gated"
    tap = made.golden(mode, masks)
    ofmap, decisions = looped(made, mode, masks)
    if tap.ofmap.flatten().tolist() != ofmap:
        raise FindingError("the golden operators differ from the loops")
    if decisions is not None and tap.decision is not None:
        if tap.decision.repeat_interleave(made.layer.slice_size, 1).flatten().tolist() != decisions:
            raise FindingError("the golden decisions differ from the loops")
    params = HwParams(in_par=case["in_par"], rq_lanes=case["rq_lanes"], bank_words=_BANK, ring_entries=_RING)
    options = options_of(case, made, masks)
    try:
        program = compile_layer(made.layer, made.ifmap, made.residual, params, mode, **options)
    except CompileError as error:
        if allowed(case):
            raise FindingError(f"refused, though the engine can run it: {error}") from None
        return "exact; refused by the compiler"
    if not allowed(case):
        raise FindingError("compiled, though the engine cannot run it")
    engine = Interpreter(params)
    engine.load(program)
    outcome = engine.run(program)
    expected = tap.ofmap.numpy()
    if made.layer.kind == "fc":
        logits = [[outcome.logits[image, c] for c in range(expected.shape[1])] for image in range(len(expected))]
        if not np.array_equal(logits, expected):
            raise FindingError("the compiled classifier differs from the golden model")
        return "exact"
    assert program.ofmap is not None
    words = outcome.banks[program.ofmap.bank, program.ofmap.addresses()]
    found = program.ofmap.from_words(words, program.channels, program.signed)
    if not np.array_equal(found, expected[:, :, slice(*options.get("rows", (0, None)))]):
        raise FindingError("the compiled layer differs from the golden model")
    return "exact"


def run_batch(
    cases: Iterable[Case],
    params: HwParams,
    simulator: Simulator,
    work: Path,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[str, str | None]]:
    """Run layers on the RTL of the core, one after the other without a reset; return ends and findings as `attempt`."""
    ends: list[tuple[str, str | None]] = []
    planned = []
    for case in cases:
        ends.append(("refused by the golden model", None))
        try:
            made = layer_of(case)
        except ValueError:
            continue
        masks = masks_of(case, made)
        mode = case["mode"] if case["mode"] != "forced" or masks is not None else "gated"
        options = options_of(case, made, masks)
        ends[-1] = ("refused by the compiler", None)
        try:
            program = compile_layer(made.layer, made.ifmap, made.residual, params, mode, **options)
        except CompileError:
            continue
        tap = made.golden(mode, masks)
        size = (case["rows"], case["cols"])
        count = count_layer(made.layer, size, case["images"], params.in_par, tap.decision)
        limit = (50_000 + 200 * count.dense) * (10 if case["stalls"] else 1)
        trial = Run(program=program, cycle_limit=limit, stalls=case["stalls"], seed=case["seed"])
        planned.append((len(ends) - 1, trial, tap, None if "rows" in options else count, mode))
    outputs = simulator.run([trial for _, trial, *_ in planned], work, progress) if planned else []
    for (number, trial, tap, counted, mode), output in zip(planned, outputs, strict=True):
        verdict = compare(trial.program, output, tap, counted, mode)
        bad = [*map(str, verdict.first[:1]), *verdict.broken[:1]]
        ends[number] = ("exact", None) if verdict.holds else ("finding", "; ".join(bad))
    return ends


def run_alone(case: Case, place: Any) -> str:
    """Run a layer on the RTL by itself; `place` is (parameters, simulator, folder)."""
    params, simulator, work = place
    [(end, text)] = run_batch([case], params, simulator, work)
    if text is not None:
        raise FindingError(text)
    return end


_SIMPLEST: Case = {
    "images": 1,
    "rows": 1,
    "cols": 1,
    "extreme": "",
    "residual": None,
    "tile": None,
    "mode": "gated",
    "stalls": {},
    "relu": True,
    "branch": 1,
    "base_groups": [],
    "stride": 1,
    "in_place": False,
    "banks": [0, 1, 2],
    "bases": [0, 0, 0],
    "out_ch": 8,
    "in_ch": 1,
}

LAYERS = Kind("layers", 0.40, draw, run, _SIMPLEST)
LAYERS_RTL = Kind("layers_rtl", 0.04, draw, run_alone, _SIMPLEST)
