"""Training to a time, and steps that wait for nothing."""

import signal
import subprocess
import sys
import time

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sw_model import train
from sw_model.network.resnet import ResNet
from sw_model.training import clock as clock_module
from sw_model.training.callbacks import read_log
from sw_model.training.phase import Phase, Settings, phase_facts, train_phase
from tests.sw_model.training.few_digits import few_digits


@pytest.fixture(scope="module")
def data():
    return few_digits("few digits")


def small(**options):
    torch.manual_seed(0)
    return ResNet(width=0.125, depth=10, slice_size=1, **options)


class Watch:
    """Clock that advances by a second whenever a step begins or ends."""

    def __init__(self, monkeypatch, start=0.0):
        self.now = start
        monkeypatch.setattr(clock_module.time, "monotonic", self)

    def __call__(self):
        self.now += 0.25
        return self.now


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_phase_of_some_seconds_ends_decayed_whatever_a_step_takes(data, tmp_path, monkeypatch, schedule):
    for pace in (1, 3):
        folder = tmp_path / str(pace)
        folder.mkdir()
        watch = Watch(monkeypatch)

        def stop(watch=watch, pace=pace):
            watch.now += pace
            return False

        phase = Phase(name="supervised", seconds=60, size=8, batch_size=16, lr=0.05, schedule=schedule, target=0.5)
        train_phase(phase, small(), data, Settings(run=folder, seed=1, monitor=False, log_every=1), stop)
        facts = phase_facts(folder / "supervised.ckpt")
        assert facts["complete"] and facts["total_steps"] is None and 60 <= facts["seconds"] < 64 + pace
        rates = [row["lr"] for row in read_log(folder / "log.csv")]
        assert rates[-1] < 0.1 * 0.05 and all(a >= b for a, b in zip(rates[50:], rates[51:], strict=False))


def test_a_phase_of_some_seconds_goes_on_after_a_kill(data, tmp_path, monkeypatch):
    """The time of the launch that was killed counts up to its last save; what was lost is trained again."""
    phase = Phase(name="contrastive", seconds=40, size=8, batch_size=16, lr=0.05, schedule="cosine", target=0.5,
                  sparsity=0.9)  # fmt: skip
    settings = Settings(run=tmp_path, seed=1, monitor=False, save_every=6)
    watch, count = Watch(monkeypatch), iter(range(100))

    def kill():
        watch.now += 1
        if next(count) == 9:
            raise Killed
        return False

    with pytest.raises(Killed):
        train_phase(phase, small(), data, settings, kill)
    before = phase_facts(tmp_path / "contrastive.ckpt")
    assert not before["complete"] and 0 < before["steps"] < 9 and 0 < before["seconds"] < 20
    watch.now += 1e6  # however long nobody trained

    def stop():
        watch.now += 1
        return False

    train_phase(phase, small(), data, settings, stop)
    after = phase_facts(tmp_path / "contrastive.ckpt")
    assert after["complete"] and 40 <= after["seconds"] < 46 and after["steps"] > before["steps"] + 5
    assert after["started"] == before["started"]


def test_seconds_are_shared_as_epochs_are(data, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "load_data", lambda source: data)
    monkeypatch.chdir(tmp_path)
    command = ["--data", "few", "--run", "r", "--width", "0.125", "--depth", "10", "--slice-size", "1"]
    command += ["--contrastive-epochs", "0", "--supervised-epochs", "3", "--decay-epochs", "1", "--seconds", "4"]
    command += [word for phase in train.PHASES for word in (f"--{phase}-size", "8", f"--{phase}-batch", "8")]
    assert train.main(command) == 0
    seconds = {name: phase_facts(tmp_path / "r" / f"{name}.ckpt")["seconds"] for name in train.PHASES[1:]}
    assert 3 <= seconds["supervised"] and 1 <= seconds["decay"] and not (tmp_path / "r" / "contrastive.ckpt").exists()
    steps = [phase_facts(tmp_path / "r" / f"{name}.ckpt")["steps"] for name in train.PHASES[1:]]
    assert train.main(command) == 0  # complete
    assert steps == [phase_facts(tmp_path / "r" / f"{name}.ckpt")["steps"] for name in train.PHASES[1:]]


def test_killed_for_good_a_run_of_some_seconds_goes_on(tmp_path, root):
    """SIGKILL in the middle, then the same command: it ends when the time is used up, and not before."""
    command = [sys.executable, "-m", "sw_model.train", "--run", "r", "--width", "0.125", "--slice-size", "1"]
    command += ["--contrastive-epochs", "0", "--decay-epochs", "0", "--seconds", "6", "--save-every", "0.5"]
    command += ["--supervised-size", "8", "--supervised-batch", "8", "--no-quantize"]
    env = {"PATH": "", "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    checkpoint, give_up = tmp_path / "r" / "supervised.ckpt", time.monotonic() + 120
    while process.poll() is None and time.monotonic() < give_up and not phase_facts(checkpoint):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = phase_facts(checkpoint)
    assert not before["complete"] and before["seconds"] < 6
    subprocess.run(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, check=True, timeout=300)
    after = phase_facts(checkpoint)
    assert after["complete"] and after["steps"] > before["steps"] and after["seconds"] >= 6


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device: reading a scalar, and shapes that depend on values."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique", "linalg_inv")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += any(func.name().split("::")[1].split(".")[0].startswith(name) for name in self.WAITING)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["contrastive", "supervised"])
@pytest.mark.parametrize("granularity", ["slice", "channel", "dense", "fbs", "dgc"])
def test_a_step_waits_for_nothing(data, tmp_path, name, granularity):
    """Twice the steps, T adjusted in them, read no more off the device than a phase's beginning and end do."""
    counts = []
    for steps in (11, 22):
        folder = tmp_path / str(steps)
        folder.mkdir()
        phase = Phase(name=name, epochs=99, size=8, batch_size=16, lr=0.05, schedule="cosine", target=0.5, sparsity=0.7)
        settings = Settings(run=folder, seed=1, monitor=False, log_every=10**6, steps=steps)
        model = small(granularity=granularity)
        with Waits() as waits:
            train_phase(phase, model, few_digits_without_epochs(data), settings)
        counts.append(waits.count)
    assert counts[0] == counts[1] > 0


def few_digits_without_epochs(data):
    """The few digits, many times over, so that no epoch's save comes in between."""
    return type(data)(
        name=data.name, classes=data.classes, train=data.train.repeat(32, 1, 1, 1),
        train_labels=data.train_labels.repeat(32), test=data.test, test_labels=data.test_labels, flip=False,
    )  # fmt: skip
