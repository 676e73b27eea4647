"""Layers whose maps do not fit a bank: computed in tiles of rows on the core, whole results from all of them."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from gen.network.tiles import tile_rows
from sim import __main__ as sim_layers
from sim.check.execution import execute_layers
from sim.check.layer import sum_up
from sim.engine import Engine
from sim.plan.layer import plan
from sw_model.data.photographs import photographs
from sw_model.integer.checkpoint import save
from sw_model.integer.steps import count_layer
from sw_model.quantisation.plan import resnet_plan
from sw_model.quantisation.random_network import random_network
from tests.gen.network.networks import pool

#: Maps of 32x32 pixels take two banks of `small`, and a pooling of them one.
PLAN = [*resnet_plan(1, (1, 1), (32, 32)), pool("pool", "conv3_2", 3, 2, 1)]


@pytest.fixture(scope="module")
def network():
    return random_network(plan=PLAN, groups=2, seed=51, images=photographs(2))


@pytest.mark.parametrize("name", ["conv1", "conv2_1", "conv2_2", "conv3_1"])
def test_counts_of_tiles_add_up(network, small, name):
    layer, images = network.layer(name), photographs(1)
    decision = network.run(images, only=[name]).taps[name].decision
    size = network.map_sizes(32, 32)[layer.input]
    whole = count_layer(layer, size, 1, 4, decision)
    tiles = tile_rows(layer, small.params, *size)
    parts = [
        count_layer(layer, size, 1, 4, None if decision is None else decision[:, :, slice(*rows)], rows)
        for rows in tiles
    ]
    assert len(parts) > 1
    for field in dataclasses.fields(whole):
        if field.name != "name":
            assert sum(getattr(part, field.name) for part in parts) == getattr(whole, field.name), field.name


def test_command(network, tmp_path, monkeypatch, root, capsys):
    monkeypatch.chdir(root)
    save(tmp_path / "wide.safetensors", network)
    options = ["--config", "small", "--checkpoint", str(tmp_path / "wide.safetensors"), "--images", "2"]
    assert sim_layers.main([*options, "--layer", "all", "--batch", "2", "-o", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "all/report.json").read_text())
    outputs = 32 * (32 * 32 * 3 + 16 * 16 * 3 + 8 * 8) + 10
    assert report["bit_exact"] and report["laws_hold"] and report["outputs_checked"] == 2 * 2 * outputs
    assert (tmp_path / "all/masks.png").is_file()
    by_name = {layer["layer"]: layer for layer in report["layers"]}
    assert by_name["conv2_2"]["decisions_checked"] == 2 * 4 * 32 * 32
    assert by_name["conv2_2"]["speedup"]["ratio"] > 0.97


@pytest.mark.parametrize("mode", ["channel", "forced", "base"])
def test_modes(network, small, tmp_path, mode):
    mask = None
    if mode == "forced":
        mask = torch.from_numpy(np.random.default_rng(52).random((1, 4, 16, 16)) < 0.3)
    passes = plan(network, ["conv3_1"], photographs(1), mode, small.params, masks=mask)
    assert sum(not one.stress for one in passes) > 2
    results = sum_up(execute_layers(passes, small.simulator, tmp_path / "runs"))["conv3_1"]
    assert all(result.verdict.holds for result in results.values())
    if mask is not None:
        assert results[mode].fired == int(mask.sum())


def test_mask_is_whole(network, tmp_path, monkeypatch, root):
    monkeypatch.chdir(root)
    found = Engine("small").run_layer(network, "conv2_1", photographs(2), output=tmp_path)
    golden = network.run(photographs(2), only=["conv2_1"]).taps["conv2_1"].decision
    for image in range(2):
        assert np.array_equal(found.mask(image), golden[image].numpy())
