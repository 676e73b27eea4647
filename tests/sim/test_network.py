"""The layers of the trained network at full rate: bit-exact, within the laws, and as fast as the reference says."""

import dataclasses

import numpy as np
import pytest
import torch

from sim.layer import plan, simulate
from sw_model.checkpoint import DEFAULT_CHECKPOINT, load
from sw_model.images import default_images
from sw_model.int_model import IntNetwork, random_network

GATED = [f"conv{stage}_{number}" for stage in range(2, 6) for number in range(1, 5)]
LAYERS = ["conv1", *GATED, "down3", "down4", "down5", "fc"]


@pytest.fixture(scope="module")
def network():
    """The network of the repository; an untrained one of the same shape where there is none yet."""
    return load() if DEFAULT_CHECKPOINT.exists() else random_network()


def photographs(count):
    return np.stack([pixels for _, pixels in default_images(count)])


@pytest.fixture(scope="module")
def four_images(full, network, tmp_path_factory):
    """All layers on four photographs, one in a pass, dense and gated."""
    passes = plan(network, LAYERS, photographs(4), "gated", full.params)
    return simulate(passes, full.simulator, tmp_path_factory.mktemp("network") / "runs")


@pytest.fixture(scope="module")
def always_firing(full, network, tmp_path_factory):
    """All gated layers of the network whose thresholds are at minus infinity."""
    layers = [dataclasses.replace(layer, K=torch.full_like(layer.K, -2**31)) if layer.gated else layer
              for layer in network.layers]
    passes = plan(IntNetwork(tuple(layers), network.meta), GATED, photographs(1), "gated", full.params)
    return simulate(passes, full.simulator, tmp_path_factory.mktemp("firing") / "runs")


def held(results):
    """Fail with the first findings of all results that differ or break a law."""
    bad = [f"{name} {mode}: {result.verdict.mismatches} mismatches; "
           + "; ".join([*map(str, result.verdict.first[:2]), *result.verdict.broken[:3]])
           for name, modes in results.items() for mode, result in modes.items() if not result.verdict.holds]
    assert not bad, "\n".join(bad)


def test_all_layers_are_bit_exact(four_images):
    held(four_images)
    assert list(four_images) == LAYERS
    outputs = {name: modes["gated"].verdict.outputs_checked for name, modes in four_images.items()}
    assert outputs["conv2_2"] == 4 * 64 * 32 * 32 and outputs["conv5_2"] == 4 * 512 * 4 * 4 and outputs["fc"] == 40
    decisions = {name: modes["gated"].verdict.decisions_checked for name, modes in four_images.items()}
    assert decisions["conv2_2"] == 4 * 8 * 32 * 32 and decisions["conv5_2"] == 4 * 64 * 4 * 4
    assert decisions["conv1"] == decisions["down3"] == decisions["fc"] == 0


@pytest.mark.parametrize("name", GATED)
def test_clock_sees_the_steps_that_are_saved(four_images, name):
    dense, gated = four_images[name]["dense"], four_images[name]["gated"]
    assert dense.count.dense / dense.cycles >= 0.985
    assert (gated.count.base + gated.count.conditional) / gated.cycles >= 0.985
    assert 0.985 <= dense.cycles / gated.cycles / gated.count.speedup <= 1.01


@pytest.mark.parametrize("name, rate", [("conv2_2", 1.03), ("conv4_2", 1.15)])
def test_padded_taps_cost_no_cycle(four_images, full, name, rate):
    dense = four_images[name]["dense"]
    assert dense.count.nominal_macs / (full.params.macs * dense.cycles) >= rate


@pytest.mark.parametrize("name", GATED)
def test_thresholds_at_minus_infinity_cost_nothing(always_firing, name):
    dense, gated = always_firing[name]["dense"], always_firing[name]["gated"]
    assert dense.verdict.holds and gated.verdict.holds and gated.count.fired == gated.count.decisions
    assert abs(gated.cycles - dense.cycles) <= 64 + dense.cycles / 1000


@pytest.mark.parametrize("name", ["conv2_2", "conv3_2", "conv4_2", "conv5_2"])
def test_base_only(full, network, tmp_path, name):
    results = simulate(plan(network, [name], photographs(1), "base", full.params), full.simulator, tmp_path / "runs")
    held(results)
    assert results[name]["base"].cond_steps == 0


def test_four_images_in_one_pass(full, network, tmp_path):
    passes = plan(network, ["conv5_2"], photographs(4), "gated", full.params, batch=4)
    assert len(passes) == 2
    held(simulate(passes, full.simulator, tmp_path / "runs"))


@pytest.mark.slow
def test_all_layers_on_more_images(full, network, tmp_path):
    passes = plan(network, LAYERS, photographs(16)[4:], "gated", full.params)
    held(simulate(passes, full.simulator, tmp_path / "runs"))
