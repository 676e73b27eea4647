"""What the training commands share: refusals, exit statuses, the note of a run's options."""

import argparse
import json

import pytest
import torch

from cdgate.errors import DataError
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
        (dict(threads=0), (), "--threads must be at least 1, not 0"),
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


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("no data"), 2, "error: no data\n"),
        (options.UsageError("no option"), 2, "error: no option\n"),
        (FileExistsError(17, "File exists", "runs"), 2, "error: [Errno 17] File exists: 'runs'\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from the last save\n"),
    ],
)
def test_exit_statuses(capsys, error, status, message):
    def work():
        raise error

    assert options.exit_status(work) == status
    assert capsys.readouterr().err == message
    assert options.exit_status(lambda: 7) == 7


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
