"""Small layers on the generated Verilog, in all shapes and modes. No run but a process's first follows a reset."""

import dataclasses

import numpy as np
import pytest
import torch

from gen.layer.compiler import compile_layer
from gen.layer.places import Placement
from hw.interface.layouts import IdleCause
from sim.plan.cases import random_case
from tests.sim.bench import Trial, check, run_trials

MODES = ("gated", "dense", "base")


def channels(params, groups, slices=1):
    """Return the least channels that the shape rule allows."""
    return {"in_ch": params.in_par * groups, "out_ch": 8 * slices * groups, "groups": groups}


def test_groups_branches_and_modes(engine, tmp_path, seed):
    trials = [
        Trial(
            f"G {groups}, branch {branch}",
            random_case(seed % 1000 + groups, branch=branch, size=(3, 4), **channels(engine.params, groups)),
            mode,
        )
        for groups in (2, 4, 8)
        for branch in (1, 2)
        for mode in MODES
    ]
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


def test_channel_mode(engine, tmp_path, seed):
    trials = [
        Trial(
            f"channels, branch {branch}, {images} image(s)",
            random_case(
                seed % 1000, branch=branch, size=(3, 5), images=images, slice_size=1, **channels(engine.params, 4)
            ),
            "gated",
            run={"stalls": stalls, "seed": seed},
        )
        for branch, images in ((1, 1), (2, 3))
        for stalls in ({}, {"weight": 0.5, "mask": 0.5})
    ]
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


@pytest.mark.parametrize("slice_size", [1, 8])
def test_forced_mode(engine, tmp_path, seed, slice_size):
    case = random_case(seed % 1000, size=(4, 3), images=2, slice_size=slice_size, **channels(engine.params, 4))
    shape = (2, case.layer.out_ch // slice_size, 4, 3)
    rng = torch.Generator().manual_seed(seed)
    trials = [
        Trial(
            f"masks of density {density}, stalls {stalls}",
            case,
            "forced",
            {"masks": torch.rand(shape, generator=rng) < density},
            {"stalls": stalls, "seed": seed},
        )
        for density in (0.0, 0.1, 0.5, 1.0)
        for stalls in ({}, {"force": 0.98}, {"force": 0.3, "weight": 0.5, "mask": 0.5})
    ]
    outputs = check(engine.simulator, engine.params, tmp_path / "runs", trials)
    # Waiting for a decision to force is a cause of its own.
    waits = [output.counters["idle"][IdleCause.INPUT.value] for output in outputs]
    assert waits[0] < 10 and waits[1] > 100


def test_shapes_of_gated_layers(engine, tmp_path, seed):
    trials = [
        Trial(
            f"stride {stride}, map {size}, {images} image(s)",
            random_case(seed % 1000, stride=stride, size=size, images=images, **channels(engine.params, 4)),
            mode,
        )
        for stride in (1, 2)
        for size, images in (((1, 1), 2), ((1, 5), 1), ((2, 2), 8), ((5, 4), 3), ((7, 7), 1))
        for mode in ("gated", "dense")
    ]
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


def test_shapes_of_ungated_layers(engine, tmp_path, seed):
    trials = [
        Trial(
            f"kernel {kernel}, stride {stride}, map {size}, {in_ch} to {out_ch} channels",
            random_case(
                seed % 1000,
                kernel=kernel,
                stride=stride,
                size=size,
                groups=1,
                in_ch=in_ch,
                out_ch=out_ch,
                relu=out_ch > 16,
                images=2,
            ),
        )
        for kernel in (1, 3)
        for stride in (1, 2)
        for size in ((3, 3), (4, 5))
        for in_ch, out_ch in ((8, 16), (20, 24))
    ]
    trials += [
        Trial("stem", random_case(seed % 1000, in_ch=3, out_ch=16, size=(5, 6), groups=1, image=True)),
        Trial("classifier", random_case(seed % 1000, in_ch=48, size=(4, 4), classes=10, images=3)),
        Trial("classifier of 8x8", random_case(seed % 1000, in_ch=16, size=(8, 8), classes=100)),
    ]
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


def test_residuals(engine, tmp_path, seed):
    trials = []
    at = Placement(bank=2, base=64, image_step=512)
    for residual in ("unsigned", "signed"):
        for place in (Placement(bank=1), Placement(bank=3, base=5, image_step=700), at):
            case = random_case(
                seed % 1000,
                residual=residual,
                size=(4, 3),
                images=2,
                relu=residual == "unsigned",
                **channels(engine.params, 2),
            )
            trials += [
                Trial(f"{residual} residual at {place}", case, mode, {"residual_at": place, "ofmap_at": at})
                for mode in MODES
            ]
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


def test_banks_and_offsets(engine, tmp_path, seed):
    case = random_case(seed % 1000, size=(3, 3), images=3, **channels(engine.params, 4))
    top = engine.params.bank_words
    trials = [
        Trial(f"ifmap {ifmap}, ofmap {ofmap}", case, "gated", {"ifmap_at": ifmap, "ofmap_at": ofmap})
        for ifmap, ofmap in (
            (Placement(bank=3), Placement(bank=0, base=1)),
            (Placement(bank=1, base=77, image_step=300), Placement(bank=3, base=1000, image_step=999)),
            (Placement(bank=2, base=top - 3 * 144), Placement(bank=1, base=0, image_step=top // 4)),
        )
    ]
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


def test_row_tiles(engine, tmp_path, seed):
    trials = []
    for stride in (1, 2):
        case = random_case(
            seed % 1000,
            stride=stride,
            size=(4 * stride, 5),
            images=2,
            residual="unsigned",
            **channels(engine.params, 2),
        )
        trials += [
            Trial(f"rows {rows}, stride {stride}", case, mode, {"rows": rows})
            for rows in ((0, 1), (0, 3), (1, 2), (1, 3), (2, 4), (3, 4))
            for mode in ("gated", "dense")
        ]
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


def test_random_stalls(engine, tmp_path, seed):
    gated = random_case(seed % 1000, size=(4, 4), images=2, residual="unsigned", **channels(engine.params, 4))
    logits = random_case(seed % 1000, in_ch=32, size=(2, 2), classes=20, images=2)
    streams = ("load", "param", "weight", "mask", "read", "word")
    patterns = [{name: 0.5} for name in streams]
    patterns += [{"weight": 0.95}, {"mask": 0.97}, dict.fromkeys(streams, 0.3)]
    trials = []
    for n, stalls in enumerate(patterns):
        run = {"stalls": stalls, "seed": seed % 100_000 + n}
        trials += [Trial("gated layer", gated, mode, run=run) for mode in ("gated", "dense")]
    trials += [
        Trial("classifier", logits, run={"stalls": {"logit": probability, "weight": 0.3}, "seed": seed % 1000})
        for probability in (0.5, 0.95)
    ]
    outputs = check(engine.simulator, engine.params, tmp_path / "runs", trials)
    for output, cause in ((outputs[12], IdleCause.WEIGHTS), (outputs[14], IdleCause.OUTPUT)):
        idle = output.counters["idle"]
        assert idle[cause.value] > 100 and idle[cause.value] > 0.8 * sum(idle)


def test_weights_before_start(engine, tmp_path, seed):
    case = random_case(seed % 1000, size=(3, 3), **channels(engine.params, 4))
    trials = [
        Trial("early weights", case, mode, run={"early_weights": early})
        for early in (True, False)
        for mode in ("gated", "dense")
    ]
    outputs = check(engine.simulator, engine.params, tmp_path / "runs", trials)
    assert outputs[0].counters["idle"][IdleCause.WEIGHTS.value] == 0
    assert outputs[0].counters["cycles"] <= outputs[2].counters["cycles"]


def test_next_ifmap_is_loaded_during_a_pass(engine, tmp_path, seed):
    case = random_case(seed % 1000, size=(4, 4), **channels(engine.params, 4))
    following = random_case(seed % 1000 + 1, size=(4, 4), **channels(engine.params, 4))
    first = compile_layer(case.layer, case.ifmap, None, engine.params, "gated")
    second = compile_layer(following.layer, following.ifmap, None, engine.params, "gated", ifmap_at=Placement(bank=3))
    both = dataclasses.replace(
        first,
        **{
            name: np.concatenate([getattr(first, name), getattr(second, name)])
            for name in ("load_bank", "load_addr", "load_words")
        },
    )
    empty = dataclasses.replace(
        second, **{name: getattr(second, name)[:0] for name in ("load_bank", "load_addr", "load_words")}
    )
    late = len(second.load_addr)
    check(
        engine.simulator,
        engine.params,
        tmp_path / "runs",
        [
            Trial("loads the next ifmap", case, program=both, run={"late_loads": late}),
            Trial("uses it", following, program=empty),
        ],
    )


def test_thresholds_at_the_limits(engine, tmp_path, seed):
    case = random_case(seed % 1000, size=(4, 4), images=2, **channels(engine.params, 4))

    def at(value):
        return dataclasses.replace(case, layer=dataclasses.replace(case.layer, K=torch.full_like(case.layer.K, value)))

    never, always, dense = check(
        engine.simulator,
        engine.params,
        tmp_path / "runs",
        [Trial("never fires", at(2**31 - 1)), Trial("always fires", at(-(2**31))), Trial("dense", case, "dense")],
    )
    assert never.counters["fired"] == never.counters["cond_steps"] == 0
    assert np.array_equal(always.words, dense.words)
    assert abs(always.counters["cycles"] - dense.counters["cycles"]) <= 64 + dense.counters["cycles"] / 1000


def test_ties_do_not_fire(engine, tmp_path, seed):
    case = random_case(seed % 1000, size=(5, 5), **channels(engine.params, 4, slices=2))
    tap = case.golden("gated")
    saliency = tap.psum_base.reshape(1, -1, 8, 5, 5).sum(2)
    ties = saliency == case.layer.K.reshape(1, -1, 1, 1)
    assert ties.any(3).any(2).all() and not tap.decision[ties].any()
    check(engine.simulator, engine.params, tmp_path / "runs", [Trial("ties", case)])


def test_pass_that_starves_is_given_up(small, tmp_path):
    case = random_case(1, size=(2, 2), **channels(small.params, 2))
    program = compile_layer(case.layer, case.ifmap, None, small.params, "gated")
    starved = dataclasses.replace(program, weights=program.weights[:-1])
    [(output, verdict)] = run_trials(
        small.simulator,
        small.params,
        tmp_path / "runs",
        [Trial("a weight is missing", case, program=starved, run={"cycle_limit": 5000})],
    )
    assert output.timeout and not verdict.holds
    assert any("given up" in text for text in verdict.broken)
    assert output.counters["idle"][IdleCause.WEIGHTS.value] > 4000


@pytest.mark.parametrize("wrong", [{"weights": 0.5}, {"masks": 1}])
def test_stall_of_an_unknown_stream_wrong(small, tmp_path, wrong):
    case = random_case(1, size=(2, 2), **channels(small.params, 2))
    with pytest.raises(ValueError, match="stalls must be of load, param, weight, mask, logit, read, word, force, not"):
        run_trials(small.simulator, small.params, tmp_path / "runs", [Trial("", case, run={"stalls": wrong})])
