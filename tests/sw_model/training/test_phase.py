"""A phase on its own: adjusted thresholds, the ramp of DGC, the monitor, and a real kill -9 on digits."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from sw_model import train
from sw_model.network.resnet import ResNet
from sw_model.training.callbacks import CsvLog, _spread, read_log
from sw_model.training.phase import Phase, Settings, phase_facts, train_phase
from tests.sw_model.training.few_digits import few_digits


@pytest.fixture(scope="module")
def data():
    return few_digits("few digits")


def phase(name="contrastive", **options):
    defaults = dict(epochs=1, size=8, batch_size=16, lr=0.05, schedule="cosine", target=0.5)
    return Phase(name=name, **defaults | options)


def trained(data, folder, model, *phases, **options):
    folder.mkdir()
    for step in phases:
        train_phase(step, model, data, Settings(run=folder, seed=1, **options))
    return torch.load(folder / f"{phases[-1].name}.ckpt", weights_only=True)


def rows(folder):
    return read_log(folder / "log.csv")


def small(**options):
    torch.manual_seed(0)
    return ResNet(width=0.125, depth=10, slice_size=1, **options)


def test_monitor_reports_every_epoch_and_changes_nothing(data, tmp_path):
    states = [
        trained(data, tmp_path / str(monitor), small(), phase(epochs=2), monitor=monitor)["state_dict"]
        for monitor in (True, False)
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert _spread(64, 4).tolist() == [0, 21, 42, 63] and _spread(3, 9).tolist() == [0, 1, 2]
    knn = [row for row in rows(tmp_path / "True") if "knn" in row]
    assert [row["step"] for row in knn] == [4, 8] and all(0 <= row["knn"] <= 1 for row in knn)


def test_target_follows_the_wanted_sparsity(data, tmp_path):
    steps = phase(epochs=5, sparsity=0.9)
    target = trained(data, tmp_path / "up", small(), steps, monitor=False)["facts"]["target"]
    assert target > 0.5
    assert trained(data, tmp_path / "as-it-is", small(), phase(epochs=5), monitor=False)["facts"]["target"] == 0.5


def test_dgc_prunes_more_and_more_before_and_all_after(data, tmp_path, monkeypatch):
    model, seen = small(granularity="dgc"), []
    conv = model.blocks[0].conv1
    conv.register_forward_pre_hook(lambda module, args: seen.append(module.progress))
    trained(data, tmp_path / "r", model, phase(), phase("supervised"), monitor=False)
    assert seen == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1, 1, 1]


def test_an_epoch_is_saved_whatever_the_clock_says(data, tmp_path):
    folder, saved = tmp_path / "r", []
    folder.mkdir()

    def stop():
        saved.append(phase_facts(folder / "contrastive.ckpt").get("steps"))
        return False

    train_phase(phase(epochs=3), small(), data, Settings(run=folder, seed=1, monitor=False), stop)
    assert saved == [None] * 4 + [4] * 4 + [8] * 4


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("mode", ["slice", "dgc"])
def test_a_contrastive_phase_resumed_equals_unbroken(data, tmp_path, mode):
    """Projector, optimiser, the T that is adjusted and DGC's ramp go on as they were."""
    steps = phase(epochs=6, sparsity=0.9)  # 24 steps, T adjusted at 0, 10 and 20
    whole = trained(data, tmp_path / "unbroken", small(granularity=mode), steps, monitor=False)
    folder, count = tmp_path / "broken", iter(range(100))
    folder.mkdir()
    settings = Settings(run=folder, seed=1, monitor=False)

    def kill():
        if next(count) == 13:
            raise Killed
        return False

    with pytest.raises(Killed):
        train_phase(steps, small(granularity=mode), data, settings, kill)
    assert phase_facts(folder / "contrastive.ckpt")["steps"] == 12
    train_phase(steps, small(granularity=mode), data, settings)
    resumed = torch.load(folder / "contrastive.ckpt", weights_only=True)
    assert any("projector" in name for name in whole["state_dict"])
    assert all(torch.equal(value, resumed["state_dict"][name]) for name, value in whole["state_dict"].items())
    assert whole["facts"]["target"] == resumed["facts"]["target"]
    assert (whole["facts"]["target"] > 0.5) == (mode == "slice")


def test_interrupted_by_the_keyboard(data, tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    folder, count = tmp_path / "r", iter(range(100))
    folder.mkdir()

    def press():
        if next(count) == 5:
            raise KeyboardInterrupt
        return False

    try:
        with pytest.raises(KeyboardInterrupt):
            train_phase(phase(epochs=3), small(), data, Settings(run=folder, seed=1, monitor=False), press)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert phase_facts(folder / "contrastive.ckpt")["steps"] == 4


def test_log_keeps_its_columns(tmp_path):
    for row in ({"phase": "decay", "step": 3, "loss": 0.5, "tau": None}, {"phase": "decay", "step": 4, "knn": 0.25}):
        CsvLog(tmp_path / "log.csv")(row)  # a new one each time, as after a resume
    expected = [{"phase": "decay", "step": 3, "loss": 0.5}, {"phase": "decay", "step": 4, "knn": 0.25}]
    assert read_log(tmp_path / "log.csv") == expected and read_log(tmp_path / "none.csv") == []
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3


def test_killed_for_good_and_resumed_equals_unbroken(tmp_path, monkeypatch, root):
    """SIGKILL in the middle of a phase on digits; the same command then goes on and ends with the same weights."""
    monkeypatch.chdir(tmp_path)
    arguments = ["--width", "0.125", "--slice-size", "1", "--steps", "40", "--save-every", "0", "--no-quantize"]
    arguments += ["--contrastive-epochs", "0"]
    for name in train.PHASES:
        arguments += [f"--{name}-size", "8", f"--{name}-batch", "8"]
    assert train.main(["--run", "unbroken", *arguments]) == 0

    command = [sys.executable, "-m", "sw_model.train", "--run", "broken", *arguments]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "broken" / "supervised.ckpt"
    give_up = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < give_up and phase_facts(checkpoint).get("steps", 0) < 10:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 10 <= phase_facts(checkpoint)["steps"] < 40 and not (tmp_path / "broken" / "decay.ckpt").exists()

    assert train.main(["--run", "broken", *arguments]) == 0
    for name in train.PHASES[1:]:
        ends = [torch.load(tmp_path / run / f"{name}.ckpt", weights_only=True) for run in ("unbroken", "broken")]
        assert ends[0]["global_step"] == ends[1]["global_step"] == 40
        assert all(torch.equal(value, ends[1]["state_dict"][key]) for key, value in ends[0]["state_dict"].items())
