"""Accuracy, sparsity and dynamics of a quantised network over batches of images."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch

from sw_model import evaluate
from sw_model.data import sources as data_module
from sw_model.data.dataset import DataSet
from sw_model.data.photographs import default_images
from sw_model.evaluation import accuracy as int_accuracy
from sw_model.evaluation import gating_report
from sw_model.evaluation import workers as parallel
from sw_model.integer import checkpoint
from sw_model.integer import steps as accounting
from sw_model.network.resnet import ResNet
from sw_model.quantisation.folding import quantize
from sw_model.quantisation.random_network import random_network

PHOTOS = np.stack([image for _, image in default_images(6)])


@pytest.fixture(scope="module")
def net():
    return random_network(width=0.5, seed=2, blocks=1)


def test_accuracy_counts_over_batches(net, monkeypatch):
    result = net.run(PHOTOS)
    labels = result.classes().numpy()
    labels[0] = (labels[0] + 1) % 10
    monkeypatch.setattr(int_accuracy, "_BATCH", 4)
    monkeypatch.setattr(int_accuracy, "DYNAMIC_IMAGES", 5)
    done = []
    outcome = int_accuracy.accuracy(net, PHOTOS, labels, "gated", done.append)
    assert (outcome.correct, outcome.images, outcome.top1) == (5, 6, 5 / 6)
    assert done == [4, 6]
    expected = accounting.count_network(net, 6, int_accuracy.chunk_size(net), result)
    assert list(outcome.gating.counts.values()) == expected
    for name, tap in result.taps.items():
        if tap.decision is not None:
            rate = tap.decision[:5].double().mean((0, 2, 3))
            dynamic = float(((rate >= 0.02) & (rate <= 0.98)).double().mean())
            assert outcome.gating.dynamic(name) == dynamic, name


def test_base_and_dense_have_no_gating(net):
    labels = np.zeros(6, np.int64)
    for mode in ("base", "dense"):
        outcome = int_accuracy.accuracy(net, PHOTOS, labels, mode)
        assert outcome.correct == int((net.run(PHOTOS, mode).classes() == 0).sum())
        assert outcome.gating.counts == {}


def test_figures_and_table(net, capsys):
    figures = evaluate.as_json(net, int_accuracy.accuracy(net, PHOTOS, np.zeros(6, np.int64)).gating)
    json.dumps(figures)
    assert list(figures["layers"]) == net.names
    assert figures["layers"]["conv1"]["dynamic_slices"] is None
    assert 0 < figures["sparsity"]["output"] < 1 and 0 < figures["dynamic_slices"] <= 1
    assert 1 < figures["flop_reduction"]["whole_network"] < figures["flop_reduction"]["mac_weighted"] < 4
    assert gating_report.gating_table(figures).row_count == len(net.layers) + 2
    gating_report.print_evaluation(figures | {"accuracy": {"int8": 0.5, "images": 6}})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines) and lines[-1] == "top-1 on 6 images: gated 50.00 %"


def test_a_network_without_gates_saves_nothing():
    dense = quantize(ResNet(width=0.25, depth=10, granularity="dense").eval(), PHOTOS)
    figures = evaluate.as_json(dense, int_accuracy.accuracy(dense, PHOTOS, np.zeros(6, np.int64)).gating)
    assert figures["sparsity"] == {"output": 0, "mac": 0} and figures["dynamic_slices"] == 0
    assert figures["flop_reduction"]["mac_weighted"] == figures["flop_reduction"]["whole_network"] == 1
    assert figures["flop_reduction"]["output_weighted"] == 1
    assert gating_report.gating_table(figures).row_count == len(dense.layers) + 2


def test_zeros_takes_the_worst_photograph(net):
    images = np.stack([image for _, image in default_images(3)])
    tap = net.run(images).taps["conv3_1"]
    worst = max(float((ofmap == 0).double().mean()) for ofmap in tap.ofmap)
    assert gating_report.zeros(net, 3)["conv3_1"] == worst
    assert "fc" not in gating_report.zeros(net, 1)


def test_chunk_size(net):
    assert int_accuracy.chunk_size(net) == 8
    assert int_accuracy.chunk_size(random_network(width=0.25, blocks=1, groups=2)) == 8


@pytest.fixture
def data(monkeypatch):
    """Six photographs in place of every data set that exists."""
    photos, labels = torch.from_numpy(PHOTOS), torch.arange(6)
    six = DataSet(
        name="six", classes=tuple("abcdefghij"), train=photos, train_labels=labels, test=photos, test_labels=labels
    )
    sets = {"six": six, "two": dataclasses.replace(six, name="two", classes=("a", "b"))}
    monkeypatch.setattr(evaluate, "load_data", lambda source: sets.get(source) or data_module.load_data(source))


def test_main(net, data, tmp_path, capsys):
    checkpoint.save(tmp_path / "net.safetensors", net)
    options = ["--checkpoint", str(tmp_path / "net.safetensors"), "--data", "six"]
    assert evaluate.main([*options, "--limit", "3", "--json", str(tmp_path / "out.json")]) == 0
    assert "top-1 on 3 images: gated" in capsys.readouterr().out
    figures = json.loads((tmp_path / "out.json").read_text())
    digest = hashlib.sha256((tmp_path / "net.safetensors").read_bytes()).hexdigest()
    top1 = figures["accuracy"]
    assert figures["checkpoint_sha256"] == digest
    expected = net.run(PHOTOS[:3]).classes() == torch.arange(3)
    assert top1["int8"] == float(expected.double().mean()) and top1["images"] == 3


def test_network_that_does_not_name_its_classes(net, data, tmp_path):
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, dataclasses.replace(net, meta={}))
    assert evaluate.main(["--checkpoint", str(path), "--data", "six", "--limit", "1"]) == 0


def test_results_are_not_lost(net, data, tmp_path, capsys, monkeypatch):
    """A file that cannot be written is refused before the evaluation; a closed terminal costs no file."""
    checkpoint.save(tmp_path / "net.safetensors", net)
    options = ["--checkpoint", str(tmp_path / "net.safetensors"), "--data", "six", "--limit", "1"]
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "x.json"):
        with monkeypatch.context() as patch:
            patch.setattr(evaluate, "evaluate_all", None)
            assert evaluate.main([*options, "--json", str(path)]) == 2
        assert capsys.readouterr().err.startswith("sw_model.evaluate: --json must be a file")
    new = tmp_path / "new" / "folder" / "x.json"
    assert evaluate.main([*options, "--json", str(new)]) == 0 and new.is_file()
    new.unlink()

    def full(figures):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluate, "print_evaluation", full)
    capsys.readouterr()
    assert evaluate.main([*options, "--json", str(new)]) == 2 and new.is_file()
    assert capsys.readouterr().err == "sw_model.evaluate: No space left on device\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--checkpoint", "nowhere.safetensors"], "checkpoint nowhere.safetensors must be an existing file"),
        (["--workers", "0"], "--workers must be a whole number from 1 to 1024, not 0"),
        (["--limit", "0"], "--limit must be 1 to 6, not 0"),
        (["--limit", "7"], "--limit must be 1 to 6, not 7"),
        (["--data", ""], "data must be a path, not an empty name"),
        (["--data", "nowhere"], "data must be 'digits' or a folder with CIFAR-10"),
        (["--data", "two"], "network for two must have 2 classes, not 10"),
    ],
)
def test_main_refuses_bad_input(net, data, tmp_path, capsys, options, message):
    checkpoint.save(tmp_path / "net.safetensors", net)
    good = ["--checkpoint", str(tmp_path / "net.safetensors"), "--data", "six"]
    assert evaluate.main([*good, *options]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("sw_model.evaluate: ") and message in output.err and output.err.count("\n") == 1
    assert output.out == ""


def test_shards_and_processes_change_nothing(net, monkeypatch):
    labels = net.run(PHOTOS).classes().numpy()
    whole = int_accuracy.accuracy(net, PHOTOS, labels)
    task = parallel.Task(net, ResNet(width=0.5, depth=10).eval(), PHOTOS, labels)
    monkeypatch.setattr(parallel, "_SHARD", 4)
    for workers in (1, 2):
        results = parallel.evaluate_all(task, workers)
        assert list(results) == ["float32", "gated", "base", "dense"]
        assert results["gated"].gating.counts == whole.gating.counts
        assert list(results["gated"].gating.counts) == net.names
        assert all(torch.equal(fired, whole.gating.fired[n]) for n, fired in results["gated"].gating.fired.items())
        assert (results["gated"].correct, results["gated"].images) == (6, 6)
        for mode in ("base", "dense"):
            assert results[mode].correct == int_accuracy.accuracy(net, PHOTOS, labels, mode).correct
        assert results["float32"].correct == parallel.float_correct(task.model, PHOTOS, labels)


def test_evaluation_shows_progress(net, monkeypatch, capsys):
    task = parallel.Task(net, None, PHOTOS, np.zeros(6, np.int64))
    monkeypatch.setattr(parallel.time, "monotonic", lambda: 0.0)
    assert list(parallel.evaluate_all(task)) == ["gated", "base", "dense"]
    assert capsys.readouterr().err == ""
    clock = iter(range(0, 1000, 7))
    monkeypatch.setattr(parallel.time, "monotonic", lambda: next(clock))
    parallel.evaluate_all(task)
    assert capsys.readouterr().err.startswith("evaluation 1/3, about 14 s left: gated ")
