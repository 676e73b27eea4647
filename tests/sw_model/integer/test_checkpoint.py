"""Checkpoint file: nothing is lost, and nothing damaged is accepted."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cdgate.errors import CheckpointError
from sw_model.data.photographs import default_images
from sw_model.integer.checkpoint import float_state, load, save
from sw_model.quantisation.random_network import random_network

PHOTOS = np.stack([image for _, image in default_images(1)])


@pytest.fixture(scope="module")
def net():
    return random_network(width=0.5, seed=7, blocks=1)


def test_base_groups_are_kept_where_there_are_some(net, whole, tmp_path):
    """And a file of a network without them is what it was before there were any."""
    path = tmp_path / "chosen.safetensors"
    chosen = random_network(width=0.5, seed=7, blocks=1, base_groups=(0, 1, 3, 2))
    save(path, chosen)
    assert [layer.base_groups for layer in load(path).layers] == [layer.base_groups for layer in chosen.layers]
    assert [layer.base_inputs for layer in load(path).layers if layer.gated] == [(0, 1, 3, 2)] * 8
    assert b"base_groups" in path.read_bytes() and b"base_groups" not in whole.read_bytes()


@pytest.fixture(scope="module")
def whole(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "net.safetensors"
    save(path, net)
    return path


@pytest.fixture
def damaged(whole, tmp_path):
    """Function that writes a copy of the checkpoint with changed tensors or scalars and returns its path."""

    def write(tensors=None, scalars=None, text=None):
        contents = load_file(whole)
        for name, value in (tensors or {}).items():
            contents[name] = value
            if value is None:
                del contents[name]
        header = json.loads(whole.read_bytes()[8 : 8 + int.from_bytes(whole.read_bytes()[:8], "little")])
        facts = json.loads(header["__metadata__"]["cdgate"])
        for index, change in (scalars or {}).items():
            facts["layers"][index] = {k: v for k, v in (facts["layers"][index] | change).items() if v != "absent"}
        path = tmp_path / "damaged.safetensors"
        save_file(contents, str(path), metadata={"cdgate": json.dumps(facts) if text is None else text})
        return path

    return write


def test_round_trip(net, whole):
    again = load(whole)
    assert again.meta == net.meta
    assert again.names == net.names
    for a, b in zip(net.layers, again.layers, strict=True):
        for field in a.__dataclass_fields__:
            x, y = getattr(a, field), getattr(b, field)
            same = torch.equal(x, y) and x.dtype == y.dtype if isinstance(x, torch.Tensor) else x == y
            assert same, f"{a.name} {field}"
    assert torch.equal(again.run(PHOTOS).logits, net.run(PHOTOS).logits)
    assert again.training.keys() == net.training.keys()


def test_saving_is_reproducible(net, whole, tmp_path):
    save(tmp_path / "new" / "again.safetensors", net)
    assert (tmp_path / "new" / "again.safetensors").read_bytes() == whole.read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["again.safetensors"]


def refuse(path, message):
    with pytest.raises(CheckpointError, match=message) as error:
        load(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_missing_file(tmp_path):
    refuse(tmp_path / "nowhere.safetensors", "must be an existing file")
    refuse(tmp_path, "must be an existing file")


@pytest.mark.parametrize("contents", [b"", b"no checkpoint", b"\x89PNG\r\n\x1a\n" * 100])
def test_not_safetensors(tmp_path, contents):
    (tmp_path / "file").write_bytes(contents)
    refuse(tmp_path / "file", "must be a whole safetensors file")


@pytest.mark.parametrize("keep", [7, 100, 5000, -1])
def test_truncated(whole, tmp_path, keep):
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:keep])
    refuse(tmp_path / "cut", "must be a whole safetensors file")


def test_other_safetensors(tmp_path):
    save_file({"x": torch.zeros(1)}, str(tmp_path / "other"))
    refuse(tmp_path / "other", "metadata key cdgate is missing")


def test_wrong_metadata(damaged):
    refuse(damaged(text="{"), "metadata cdgate is not JSON")
    refuse(damaged(text="[]"), "schema must be 1")
    refuse(damaged(text='{"schema": 2}'), "schema must be 1, not 2")
    refuse(damaged(text='{"schema": 1}'), "missing entry 'layers'")
    refuse(damaged(scalars={1: {"S": "absent"}}), "every layer must have exactly the entries")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"int.conv2_1.weight": None}, "tensor int.conv2_1.weight is missing"),
        ({"int.conv2_1.K": None}, "tensor int.conv2_1.K is missing"),
        ({"int.conv2_1.weight": torch.zeros(32, 32, 3, 3)}, "int.conv2_1.weight must be torch.int8, not torch.float32"),
        ({"int.conv2_1.M": torch.zeros(31, dtype=torch.int16)}, "layer conv2_1: M must be torch.int16 of shape"),
        ({"int.conv2_1.B": torch.full((32,), 2**47 - 1)}, r"layer conv2_1: requantiser sum must stay below 2\^47"),
        ({"int.conv1.weight": torch.full((32, 3, 3, 3), -128, dtype=torch.int8)}, "layer conv1: weight codes must be"),
        ({"int.fc.B": torch.full((10,), 2**31)}, r"layer fc: logits must stay below 2\^31"),
        ({"train.scale.conv1": torch.full((32,), torch.nan)}, "train.scale.conv1 must be finite"),
    ],
)
def test_wrong_tensors(damaged, change, message):
    refuse(damaged(tensors=change), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": 0}, "layer conv2_1: stride must be 1 to 4096, not 0"),
        ({"stride": 10**30}, "layer conv2_1: stride must be 1 to 4096, not 10+"),
        ({"pad": 10**30}, "layer conv2_1: pad must be 0 to 4096, not 10+"),
        ({"stride": True}, "layer conv2_1: stride must be of type int, not True"),
        ({"S": 1.5}, "layer conv2_1: S must be of type int, not 1.5"),
        ({"gated": 1}, "layer conv2_1: gated must be of type bool, not 1"),
        ({"groups": 3}, "layer conv2_1: groups must divide"),
        ({"input": "conv7_7"}, "layer conv2_1: input must be an earlier layer or image, not conv7_7"),
        ({"pad_code": "0"}, "layer conv2_1: pad_code must be a list of integers"),
        ({"residual": 3}, "layer conv2_1: residual must be of type str, not 3"),
    ],
)
def test_wrong_scalars(damaged, change, message):
    refuse(damaged(scalars={1: change}), message)


@pytest.mark.parametrize(
    "name", ["../up", "/tmp/up", "a/b", "", ".", "..", "all", "network", "image", "x" * 65, "a\nb", "ä"]
)
def test_names_that_leave_their_folder(damaged, name):
    """A layer's name is a folder of reports."""
    refuse(
        damaged(scalars={1: {"name": name}}),
        "name of a layer must be 1 to 64 letters, digits and _ . -, and none of",
    )


def test_wrong_facts(net, whole, tmp_path):
    header = json.loads(whole.read_bytes()[8 : 8 + int.from_bytes(whole.read_bytes()[:8], "little")])
    facts = json.loads(header["__metadata__"]["cdgate"])
    for change, message in (
        ({"meta": []}, "meta must be a dictionary, not list"),
        ({"meta": {"classes": ["a"]}}, "meta: classes must be a list of 10 names"),
        ({"meta": {"classes": [1] * 10}}, "meta: classes must be a list of 10 names"),
        ({"meta": {"classes": "0123456789"}}, "meta: classes must be a list of 10 names"),
        ({"layers": {}}, "layers must be a list"),
    ):
        path = tmp_path / "wrong.safetensors"
        save_file(load_file(whole), str(path), metadata={"cdgate": json.dumps(facts | change)})
        refuse(path, message)


def test_file_that_is_cut_while_its_network_is_in_use(net, tmp_path):
    """What was read is not mapped."""
    path = tmp_path / "net.safetensors"
    save(path, net)
    again = load(path)
    path.write_bytes(b"")
    assert torch.equal(again.run(PHOTOS).logits, net.run(PHOTOS).logits)


def test_digest_is_that_of_the_file(net, whole):
    assert load(whole).digest == hashlib.sha256(whole.read_bytes()).hexdigest() and net.digest == ""


def test_float_state_needs_a_trained_network(net):
    with pytest.raises(CheckpointError, match="must hold a training state to continue from, but has none"):
        float_state(net)
