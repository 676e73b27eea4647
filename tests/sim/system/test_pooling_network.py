"""A network with max-pooling on the whole engine: the commands, the comparison, the cycles and what they go by."""

import json

import numpy as np
import pytest

from sim import __main__ as sim_layers
from sim import network
from sim.check import model
from sim.plan import network as plan_module
from sim.run.scenario import run_networks
from sw_model.integer.checkpoint import save
from sw_model.quantisation.random_network import random_network
from tests.gen.network.networks import graph, pool, skip
from tests.sim.system.narrow_networks import compared, findings, photographs

#: A stem with pooling as in the large ResNets, gated convolutions, a second pooling before the classifier.
PLAN = [
    {**skip("conv1", "image", None), "in_ch": 3},
    pool("pool1", "conv1", 3, 2, 1),
    skip("conv2", "pool1", None, gated=True),
    skip("conv3", "conv2", "pool1", gated=True),
    pool("pool2", "conv3", 2, 2),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "pooling.safetensors"
    save(path, random_network(plan=PLAN, groups=2, seed=31))
    return path


@pytest.fixture
def run(small_system, checkpoint, tmp_path, monkeypatch, root, capsys):
    """Call a program on the small configuration; return exit status, report of a name, and what was printed."""
    monkeypatch.chdir(root)

    def call(main, name, *options):
        status = main(["--config", "small", "--checkpoint", str(checkpoint), "-o", str(tmp_path), *options])
        return status, json.loads((tmp_path / name / "report.json").read_text()), capsys.readouterr().out

    return call


def test_network(run):
    status, report, printed = run(network.main, "network", "--images", "2")
    assert status == 0 and printed.endswith("\nbit_exact: true\nverdict: pass\n")
    layers = {layer["layer"]: layer for layer in report["layers"]}
    for name, outputs in (("pool1", 16 * 16 * 16), ("pool2", 16 * 8 * 8)):
        layer = layers[name]
        assert layer["outputs_checked"] == 2 * 2 * outputs and layer["decisions_checked"] == 0
        for run_ in layer["runs"].values():
            assert run_["steps"] == {"base": 0, "conditional": 0}
            assert run_["idle"]["pool"] > 0.9 * run_["cycles"], name
        assert layer["memory"]["gated"]["weights_read"] == layer["memory"]["gated"]["parameters_read"] == 0
        assert f"{name} pool " in " ".join(printed.split())
    for mode, total in report["runs"].items():
        assert sum(total["steps"].values()) + sum(total["idle"].values()) == total["cycles"]
        assert layers["conv2"]["runs"][mode]["idle"]["pool"] < 40  # what is left of the pass before it
        for name, layer in layers.items():
            off = abs(layer["predicted_cycles"][mode] - layer["runs"][mode]["cycles"])
            assert off <= max(model.MARGIN, model.BOUNDS["layer"] * layer["runs"][mode]["cycles"]), name


def test_layer(run):
    status, report, printed = run(sim_layers.main, "pool1", "--layer", "pool1")
    assert status == 0 and printed.endswith("\nbit_exact: true\nverdict: pass\n")
    for one in report["runs"].values():
        assert one["idle"] == dict.fromkeys(one["idle"], 0) | {"pool": one["cycles"]}
    assert report["speedup"] == {"theoretical": 1.0, "realised": 1.0, "ratio": 1.0} and report["mismatches"] == 0


def test_random_bus_and_banks_too_small(small_system, tmp_path):
    """Tiles of rows and stored maps, whatever the bus does; a pooling of int8 codes that is added to a map."""
    plans = []
    for plan, size in (
        (graph(pool("p", "a", 3, 1, 1), {**skip("b", "p", None), "stride": 2}, pool("q", "b")), 68),
        (graph({**skip("s", "a", None), "relu": False}, pool("p", "s"), pool("q", "a"), skip("b", "q", "p")), 24),
    ):
        images = photographs(2, size)
        made = random_network(plan=plan, groups=2, seed=32, images=images)
        plans.append(plan_module.plan(made, small_system.params, images, "gated"))
    assert any(info.rows[0] for info in plans[0].program.passes if info.layer == "p")
    settings = {"bandwidth": 6, "latency": 30, "extra": 80, "stall": 70, "lite_gap": 5, "seed": 9}
    runs = small_system.simulator.run(run_networks, ([one.job for one in plans[:1]], settings), tmp_path / "run")
    runs += small_system.simulator.run(run_networks, ([one.job for one in plans[1:]], settings), tmp_path / "more")
    for one, result in zip(plans, runs, strict=True):
        found = compared(one, result)
        assert not findings(found), findings(found)[:5]
        assert np.count_nonzero(found.logits)
