"""The bounds of the cycle model, on made-up counts."""

import numpy as np
import pytest

from hw.interface.layouts import IdleCause
from sim.check.layer import ModeResult
from sim.check.model import BOUNDS, MARGIN, WAIT_MARGIN, bounds, judge_model
from sim.check.network import NetworkResult
from sim.check.verdict import Verdict

MEMORY = {"bandwidth": 8, "latency": 40}


def judged(counted, predicted, memory=MEMORY, waited=None, waits=None):
    """Return the sentences of each layer and of the network."""
    layers = {name: ModeResult(cycles=cycles) for name, cycles in counted.items()}
    for name, layer in layers.items():
        layer.idle[IdleCause.WEIGHTS.value] = (waited or {}).get(name, 0)
    result = NetworkResult(layers, Verdict(), np.zeros((1, 10)), {}, {})
    judge_model(result, predicted, waits or dict.fromkeys(counted, 0), memory, "gated")
    return [*(layer.verdict.model for layer in layers.values()), result.verdict.model]


def test_bounds():
    assert BOUNDS == {"layer": 0.02, "network": 0.01} == bounds(MEMORY)
    assert judged({"a": 10_000, "b": 90_000}, {"a": 10_200, "b": 90_800}) == [[], [], []]
    assert judged({"a": 10_000, "b": 90_000}, {"a": 9_799, "b": 90_000}) == [
        ["layer a, gated: 9799 predicted cycles must be within 2% of the 10000 counted"],
        [],
        [],
    ]
    assert judged({"a": 10_000, "b": 90_000}, {"a": 10_000, "b": 91_001}) == [
        [],
        [],
        ["network, gated: 101001 predicted cycles must be within 1% of the 100000 counted"],
    ]


def test_small_layers():
    assert judged({"a": 100, "b": 100_000}, {"a": 100 + MARGIN, "b": 100_000}) == [[], [], []]
    assert judged({"a": 100, "b": 100_000}, {"a": 101 + MARGIN, "b": 100_000})[0]


def test_waits_for_weights():
    """An engine that blames another cause, or blames the weights for what others did."""
    cycles = {"a": 10_000, "b": 490_000}
    honest = {"a": WAIT_MARGIN, "b": 100_000}
    assert judged(cycles, cycles, waited=honest, waits={"a": 0, "b": 104_000 - WAIT_MARGIN}) == [[], [], []]
    for waited, waits in (({"b": 100_000}, {"a": 0, "b": 0}), ({}, {"a": 0, "b": 100_000})):
        found = judged(cycles, cycles, waited=waited, waits=waits)
        assert not found[0] and "predicted waits for weights must be within 2% of all cycles of" in found[1][0]
        assert found[2][0].startswith("network, gated: ")
    assert judged(cycles, cycles, waited={"a": WAIT_MARGIN + 1})[0]


@pytest.mark.parametrize("memory", [{"bandwidth": 4, "latency": 40}, {"bandwidth": 8, "latency": 400}])
def test_memories_that_they_are_not_for(memory):
    assert bounds(memory) is None and judged({"a": 100_000}, {"a": 1}, memory) == [[], []]
