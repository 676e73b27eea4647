"""Networks of other shapes on the whole engine: LeNet-5 by the command, a narrow VGG-11 and grey, oblong images."""

import json

import pytest

from sim import __main__ as sim_layers
from sim import network
from sim.plan import network as plan_module
from sim.run.scenario import run_networks
from sw_model.data.photographs import photographs
from sw_model.quantisation.named_networks import SPARSITY
from sw_model.quantisation.plan import vgg11_plan
from sw_model.quantisation.random_network import random_network
from tests.gen.network.networks import pool, skip
from tests.sim.system.narrow_networks import compared, findings


@pytest.fixture
def here(monkeypatch, root):
    """Work in the checkout, where simulators are kept."""
    monkeypatch.chdir(root)


def test_lenet5(here, tmp_path, capsys):
    assert network.main(["--net", "lenet5", "--config", "small", "--images", "2", "-o", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "network/report.json").read_text())
    assert report["bit_exact"] and report["network"] == "lenet5" and report["checkpoint_sha256"] == ""
    per_image = 6 * 24**2 + 6 * 12**2 + 16 * 8**2 + 16 * 4**2 + 120 + 84 + 10
    assert report["outputs_checked"] == 2 * 2 * per_image
    assert [layer["layer"] for layer in report["layers"]][-3:] == ["fc1", "fc2", "fc"]
    assert capsys.readouterr().out.endswith("bit_exact: true\nverdict: pass\n")


def test_a_layer_of_lenet5(here, tmp_path, capsys):
    options = ["--net", "lenet5", "--config", "small", "-o", str(tmp_path)]
    assert sim_layers.main([*options, "--layer", "fc1"]) == 0
    report = json.loads((tmp_path / "fc1/report.json").read_text())
    assert report["outputs_checked"] == 2 * 120 and report["network"] == "lenet5"
    assert sim_layers.main(options) == 0
    assert json.loads((tmp_path / "conv1/report.json").read_text())["layer"] == "conv1"  # there is no conv3_2
    assert sim_layers.main([*options, "--layer", "conv3_2"]) == 2
    assert "layer must be one of conv1, pool1, conv2, pool2, fc1, fc2, fc or all" in capsys.readouterr().err


def run(engine, network, images, work, mode="gated"):
    """Run a network with back-pressure on the bus; return what the comparison found."""
    one = plan_module.plan(network, engine.params, images, mode)
    settings = {"bandwidth": 6, "latency": 30, "extra": 40, "stall": 40, "seed": 9}
    [done] = engine.simulator.run(run_networks, ([one.job], settings), work)
    found = compared(one, done)
    assert not findings(found), findings(found)[:5]
    return one, found


@pytest.mark.parametrize("mode", ["gated", "dense"])
def test_narrow_vgg11(small_system, tmp_path, mode):
    """A quarter of the width; its last maps have one pixel."""
    images = photographs(2, 32)
    made = random_network(plan=vgg11_plan(0.25), seed=41, images=images, groups=2, sparsity=SPARSITY)
    one, found = run(small_system, made, images, tmp_path / "run", mode)
    outputs = sum(tap.ofmap[0].numel() for tap in one.golden.taps.values())
    assert found.total().outputs_checked == 2 * outputs and any(layer.gated for layer in made.layers)


@pytest.mark.parametrize("size, colours", [((12, 30), 3), ((26, 9), 1)])
def test_oblong_and_grey_images(small_system, tmp_path, size, colours):
    """A 7x7 stem of stride 2 through patches, a pooling, a 5x5 convolution without padding where it fits."""
    plan = [
        {**skip("conv1", "image", None), "in_ch": colours, "kernel": 7, "pad": 3, "stride": 2},
        pool("pool1", "conv1", 3, 1, 1),
        skip("conv2", "pool1", None, gated=True),
        {**skip("conv3", "conv2", None, kernel=5, gated=True), "pad": 0},
        {**skip("conv4", "conv3", None, kernel=2), "pad": 1},
        {**skip("conv5", "conv4", None), "stride": 2},
    ]
    images = photographs(3, size, colours)
    run(small_system, random_network(plan=plan, seed=42, images=images, groups=2), images, tmp_path / "run")
