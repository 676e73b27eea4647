"""The whole core against the golden model, layer by layer, in Amaranth's simulator.

The Verilog's own tests are in tests/sim.
"""

import dataclasses

import numpy as np
import pytest
import torch

from gen.layer.compiler import compile_layer
from hw.params import HwParams
from sim.plan.cases import pool_case, random_case
from sw_model.integer.steps import count_layer
from tests.hw.core_bench import run_core

TINY = HwParams(in_par=2, rq_lanes=1, bank_words=2048, ring_entries=512)


def check(case, program, result, mode, seed, masks=None):
    tap = case.golden(mode, masks)
    where = f"seed {seed}"
    expected = tap.ofmap.numpy()
    if case.layer.kind == "fc":
        logits = np.zeros((len(expected), 64), dtype=np.int64)
        lanes = program.params.rq_lanes
        for record in result.logits:
            for n in range(lanes):
                logits[record.image, 8 * record.slice + lanes * record.phase + n] = record.logits[n]
        assert np.array_equal(logits[:, : expected.shape[1]], expected), where
        assert not result.writes
    else:
        words = np.array(result.words, dtype=np.uint8).reshape(*program.ofmap.addresses().shape, -1)
        assert np.array_equal(program.ofmap.from_words(words, program.channels, program.signed), expected), where
        granules = [(write.addr, write.sub) for _, write in result.writes]
        assert len(granules) == len(set(granules)) == words.size // program.params.rq_lanes, where
        assert result.cycles == result.writes[-1][0], where
    jobs = decisions = None
    if case.layer.gated:  # a conditional job runs if any of its slice's 8 channels fires
        decisions = tap.decision.repeat_interleave(case.layer.slice_size, 1).unflatten(1, (-1, 8))
        jobs = decisions.any(2)
    by_slice = (
        dataclasses.replace(case.layer, slice_size=8, K=case.layer.K[: program.geometry.slices])
        if case.layer.gated
        else case.layer
    )
    count = count_layer(by_slice, case.ifmap.shape[2:], len(case.ifmap), program.params.in_par, jobs)
    assert (result.base_steps, result.cond_steps) == (count.base, count.conditional), where
    assert result.base_steps + result.cond_steps + sum(result.idle) == result.cycles, where
    if mode in ("gated", "forced") and case.layer.gated:
        decision = decisions.permute(1, 0, 3, 4, 2).numpy()  # slice, image, row, column, channel
        got = np.zeros_like(decision)
        order = []
        for record in result.masks:
            place = (record.slice, record.image, record.row, record.col)
            got[place] = [record.fire >> lane & 1 for lane in range(8)]
            order.append(place)
        assert order == sorted(order) and len(order) == decision[..., 0].size, where
        assert np.array_equal(got, decision), where
        assert (result.decisions, result.fired) == (jobs.numel(), jobs.sum()), where
    else:
        assert not result.masks


@pytest.mark.parametrize("mode", ["gated", "dense", "base"])
@pytest.mark.parametrize("gaps", [0.0, 0.5])
def test_gated_layer(mode, gaps, seed):
    case = random_case(seed % 2**31, in_ch=8, out_ch=32, size=(3, 4), images=2, residual="unsigned")
    program = compile_layer(case.layer, case.ifmap, case.residual, TINY, mode)
    [result] = run_core(TINY, [program], gaps=gaps, seed=seed)
    check(case, program, result, mode, seed)


@pytest.mark.parametrize("gaps", [0.0, 0.5])
def test_channel_mode(gaps, seed):
    case = random_case(seed % 2**31, in_ch=8, out_ch=32, size=(3, 4), branch=2, slice_size=1, residual="signed")
    program = compile_layer(case.layer, case.ifmap, case.residual, TINY, "gated")
    [result] = run_core(TINY, [program], gaps=gaps, seed=seed)
    check(case, program, result, "gated", seed)


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize("slice_size", [1, 8])
def test_forced_mode(gaps, slice_size, seed):
    case = random_case(seed % 2**31, in_ch=8, out_ch=32, size=(3, 3), images=2, slice_size=slice_size)
    shape = (2, 32 // slice_size, 3, 3)
    masks = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    program = compile_layer(case.layer, case.ifmap, case.residual, TINY, "forced", masks=masks)
    [result] = run_core(TINY, [program], gaps=gaps, seed=seed)
    check(case, program, result, "forced", seed, masks)


@pytest.mark.parametrize("gaps", [0.0, 0.5])
def test_pooling_between_layers(gaps, seed):
    conv = random_case(seed % 2**31, in_ch=8, out_ch=32, size=(3, 4), residual="unsigned")
    pools = [
        pool_case(seed % 2**31, channels=16, size=(5, 4), images=2, window=3, stride=2, pad=1),
        pool_case(seed % 2**31, channels=8, size=(3, 4), window=2, stride=1, signed=True),
    ]
    cases = [conv, *pools, conv]
    programs = [compile_layer(case.layer, case.ifmap, case.residual, TINY, "gated") for case in cases]
    results = run_core(TINY, programs, gaps=gaps, seed=seed)
    for case, program, result in zip(cases, programs, results, strict=True):
        check(case, program, result, "gated", seed)
    assert all(result.idle[6] == result.cycles for result in results[1:3])
