"""What the training commands share: refusals, exit statuses, the note of a run's options."""

import argparse
import json
import re
import subprocess
import sys

import pytest
import torch

from cdgate.errors import UserError
from sw_model.training import options


def machine(**changed):
    usual = dict(seed=1, steps=None, devices=1, threads=1, accelerator="cpu", precision="32-true")
    return argparse.Namespace(**usual | changed)


@pytest.mark.parametrize(
    ("changed", "batches", "message"),
    [
        (dict(accelerator="gpu"), (), "--accelerator must be cpu or auto where there is no GPU, not 'gpu'"),
        (dict(devices=3), (128,), "must share every batch evenly, two images or more each: not 3 a batch of 128"),
        (dict(devices=4), (128, 4), "must share every batch evenly, two images or more each: not 4 a batch of 4"),
        (dict(threads=0), (), "--threads must be a whole number from 1 to 1024, not 0"),
    ],
)
def test_machines_that_cannot_train(monkeypatch, changed, batches, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(options.UsageError, match=message):
        options.check_machine(machine(**changed), batches)
    options.check_machine(machine(devices=2, accelerator="auto"), (128, 64))


def test_more_devices_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    options.check_machine(machine(devices=2, accelerator="gpu"), (64,))
    options.check_machine(machine(devices=4), (64,))
    for accelerator in ("gpu", "auto"):
        with pytest.raises(options.UsageError, match="--devices must be at most 2, the GPUs there are, not 4"):
            options.check_machine(machine(devices=4, accelerator=accelerator), (64,))


def test_a_folder_of_data_is_told_as_data():
    told = "python -m m --data DATA --run r"
    assert options.command_line("m", ["--data", "some/where", "--run", "r"], "some/where") == told
    assert options.command_line("m", ["--data=some/where", "--run", "r"], "some/where") == told.replace(
        " DATA", "=DATA"
    )
    assert options.command_line("m", ["--data", "digits"], "digits") == "python -m m --data digits"


def test_a_folder_keeps_its_options(tmp_path):
    note = tmp_path / "run" / "options.json"
    options.keep_options(note, {"seed": 1, "network": {"blocks": (1, 2)}, "start": None})
    assert json.loads(note.read_text())["network"] == {"blocks": [1, 2]}
    options.keep_options(note, {"seed": 1, "network": {"blocks": (1, 2)}, "start": None})
    with pytest.raises(options.UsageError, match="run must go on with its own network and seed, not others"):
        options.keep_options(note, {"seed": 2, "network": {"blocks": (1, 1)}, "start": None})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("seed", (0, 2**32 - 1), (-1, 2**32)),
        ("save_every", (0, 300.0), (float("nan"), -1, float("inf"))),
        ("supervised_lr", (1e-6, 100), (0, -1, float("nan"), float("inf"), 1e30)),
        ("tune_lr", (0.1,), (0,)),
        ("contrastive_target", (-10, 0, 10), (float("nan"), float("-inf"), 11)),
        ("decay_epochs", (0, 0.5), (-1, float("inf"), float("nan"))),
        ("sparsity", (0.5,), (0, 1, float("nan"))),
        ("batches2", (1,), (0,)),
    ],
)
def test_numbers_have_limits(name, good, bad):
    for value in (None, *good):
        options.check_numbers(argparse.Namespace(**{name: value}), name)
    for value in bad:
        told = f"--{name.replace('_', '-')} must be a .*number .*, not {re.escape(str(value))}"
        with pytest.raises(options.UsageError, match=told):
            options.check_numbers(argparse.Namespace(**{name: value}), name)


def test_files_that_could_not_be_written(tmp_path):
    options.check_output("--json", None)
    options.check_output("--json", tmp_path / "a" / "b" / "c.json")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(options.UsageError, match="--json must be a file, not the folder"):
        options.check_output("--json", tmp_path)
    with pytest.raises(options.UsageError, match="--json must be a file that can be written, not .*x.json: .*file is"):
        options.check_output("--json", tmp_path / "file" / "x.json")


def test_damaged_notes_are_named(tmp_path):
    note = tmp_path / "options.json"
    for content in ("{", "", "[]", "\x00"):
        note.write_text(content)
        with pytest.raises(UserError, match="options.json must .* it is damaged; remove it"):
            options.keep_options(note, {"seed": 1})
        assert note.read_text() == content


def test_options_from_before_the_granularity_had_its_name(tmp_path):
    note = tmp_path / "options.json"
    note.write_text(json.dumps({"network": {"gate_mode": "slice", "width": 1}}))
    options.keep_options(note, {"network": {"granularity": "slice", "width": 1}})
    with pytest.raises(options.UsageError, match="its own network"):
        options.keep_options(note, {"network": {"granularity": "dense", "width": 1}})


def test_a_run_has_one_process(tmp_path, root):
    """The lock goes with the process that holds it, however that ends."""
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r})\nfrom pathlib import Path\n"
        "from sw_model.training.options import only_run\n"
        f"with only_run(Path({str(tmp_path / 'r')!r})):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(options.UsageError, match="r must not be one that another process trains in now"):
            with options.only_run(tmp_path / "r"):
                pass
    finally:
        other.kill()
        other.communicate()
    with options.only_run(tmp_path / "r"):
        pass
