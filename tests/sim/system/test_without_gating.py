"""An engine without gating: it computes a gated network as if it had no gates, and does not take its gated layers."""

from dataclasses import replace

import pytest
import torch

from cdgate.errors import CompileError
from gen.network.compiler import compile_network
from hw.configurations import CONFIGS
from sim.engine import Engine
from sw_model.quantisation.random_network import random_network
from tests.sim.system.narrow_networks import photographs

SIZE = 16


@pytest.fixture(scope="module")
def network():
    return random_network(width=0.25, groups=2, blocks=1, seed=5, images=photographs(8, SIZE))


def test_network(network, root, tmp_path):
    engine = Engine(replace(CONFIGS["small"], gating=False), build=root / "build", say=lambda _: None)
    images = photographs(2, SIZE)
    found = engine.run(network, images, output=tmp_path)
    assert found.passed and found.report["verdict"] == "pass" and found.report["decisions_checked"] == 0
    steps = found.report["runs"]["dense"]["steps"]
    assert steps["conditional"] == 0 and found.report["runs"]["gated"]["steps"] == steps
    # What it was compared with is what the network with its gates gives in dense mode.
    assert torch.equal(network.ungated().run(images, "gated").logits, network.run(images, "dense").logits)


def test_gated_layer_is_refused(network):
    params = replace(CONFIGS["small"], gating=False)
    with pytest.raises(CompileError, match="it must have no gate, as the configuration has no gating"):
        compile_network(network, params, 1, (SIZE, SIZE), "dense")
