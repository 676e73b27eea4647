"""The layers of the trained network at full rate: bit-exact, within the laws, and as fast as the reference says."""

import dataclasses

import numpy as np
import pytest
import torch

from sim.check.execution import execute_layers
from sim.check.layer import sum_up
from sim.check.outputs import compare
from sim.plan.layer import plan
from sw_model.data.photographs import default_images
from sw_model.integer.checkpoint import load
from sw_model.integer.network import IntNetwork

GATED = [f"conv{stage}_{number}" for stage in range(2, 6) for number in range(1, 5)]
LAYERS = ["conv1", *GATED, "down3", "down4", "down5", "fc"]


@pytest.fixture(scope="module")
def network():
    """The network of the repository."""
    return load()


def photographs(count):
    return np.stack([pixels for _, pixels in default_images(count)])


@pytest.fixture(scope="module")
def four_images(full, network, tmp_path_factory):
    """All layers on four photographs, one in a pass, dense and gated."""
    passes = plan(network, LAYERS, photographs(4), "gated", full.params)
    return sum_up(execute_layers(passes, full.simulator, tmp_path_factory.mktemp("network") / "runs"))


@pytest.fixture(scope="module")
def always_firing(full, network, tmp_path_factory):
    """All gated layers of the network whose thresholds are at minus infinity."""
    layers = [
        dataclasses.replace(layer, K=torch.full_like(layer.K, -(2**31))) if layer.gated else layer
        for layer in network.layers
    ]
    passes = plan(IntNetwork(tuple(layers), network.meta), GATED, photographs(1), "gated", full.params)
    return sum_up(execute_layers(passes, full.simulator, tmp_path_factory.mktemp("firing") / "runs"))


def held(results):
    """Fail with the first findings of all results that differ or break a law."""
    bad = [
        f"{name} {mode}: {result.verdict.mismatches} mismatches; "
        + "; ".join([*map(str, result.verdict.first[:2]), *result.verdict.broken[:3]])
        for name, modes in results.items()
        for mode, result in modes.items()
        if not result.verdict.holds
    ]
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
    passes = plan(network, [name], photographs(1), "base", full.params)
    results = sum_up(execute_layers(passes, full.simulator, tmp_path / "runs"))
    held(results)
    assert results[name]["base"].cond_steps == 0


def test_four_images_in_one_pass(full, network, tmp_path):
    passes = plan(network, ["conv5_2"], photographs(4), "gated", full.params, batch=4)
    assert [one.mode for one in passes if not one.stress] == ["dense", "gated"]
    held(sum_up(execute_layers(passes, full.simulator, tmp_path / "runs")))


@pytest.mark.parametrize("name", ["conv2_2", "conv3_2", "conv4_2", "conv5_2"])
def test_channels_and_masks(full, network, tmp_path, name):
    """Per-channel decisions, and masks from outside; with the network's own decisions forcing costs nothing."""
    tap = network.run(photographs(1), "gated", only=[name]).taps[name]
    rng = torch.Generator().manual_seed(5)
    shape = tap.decision.shape
    channels = torch.rand((1, 8 * shape[1], *shape[2:]), generator=rng) < 0.1
    one_bit = torch.zeros(shape, dtype=torch.bool)
    one_bit[0, shape[1] // 2, 1, shape[3] - 1] = True
    masks = {
        "golden": None,
        "random": torch.rand(shape, generator=rng) < 0.3,
        "channels": channels,
        "one bit": one_bit,
        "zeros": torch.zeros(shape, dtype=torch.bool),
        "ones": torch.ones(shape, dtype=torch.bool),
    }

    def planned(mode, mask=None):
        passes = plan(network, [name], photographs(1), mode, full.params, masks=mask)
        return [one for one in passes if not one.stress and one.mode != "dense"]

    passes = [*planned("gated"), *planned("channel")]
    for mask in masks.values():
        passes += planned("forced", mask)
    outputs = full.simulator.run([one.run for one in passes], tmp_path / "runs")
    for one, output, what in zip(passes, outputs, ["gated", "channel", *masks], strict=True):
        verdict = compare(one.run.program, output, one.tap, one.count, one.mode)
        assert verdict.holds, f"{what}: {[*map(str, verdict.first[:3]), *verdict.broken[:3]]}"
        assert verdict.decisions_checked == one.tap.decision.numel() > 0
    cycles = [output.counters["cycles"] for output in outputs]
    assert abs(cycles[2] - cycles[0]) <= 16  # forced with the golden mask, gated


@pytest.mark.slow
def test_all_layers_on_more_images(full, network, tmp_path):
    passes = plan(network, LAYERS, photographs(16)[4:], "gated", full.params)
    held(sum_up(execute_layers(passes, full.simulator, tmp_path / "runs")))
