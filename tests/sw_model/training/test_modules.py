"""The training command: resuming, stopping early, and bad input."""

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from sim.__main__ import main as simulate
from sw_model import train
from sw_model.data.dataset import DataSet
from sw_model.network.resnet import ResNet
from sw_model.network.weights import load_model, save_weights, training_facts
from sw_model.training import phase as phase_module
from sw_model.training.callbacks import Progress, read_log

TINY = ["--data", "sixteen", "--width", "0.5", "--depth", "10", "--steps", "3", "--save-every", "0"]
for phase in train.PHASES:
    TINY += [f"--{phase}-size", "8", f"--{phase}-batch", "4"]


class Killed(BaseException):
    """Stands for the end of the process."""


class KilledAt(Progress):
    """Ends the process in the middle of a phase."""

    def on_train_batch_end(self, trainer, *args):
        if (self.phase, trainer.global_step) == ("supervised", 3):
            raise Killed


@pytest.fixture
def data(monkeypatch, tmp_path):
    """Sixteen random images in place of every data set that exists; the working folder is empty."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (16, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (16,), generator=generator)
    sixteen = DataSet(
        name="sixteen", classes=tuple("abcdefghij"), train=images, train_labels=labels, test=images, test_labels=labels
    )
    load = train.load_data
    monkeypatch.setattr(train, "load_data", lambda source: sixteen if source == "sixteen" else load(source))
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return train.main([*TINY, *arguments])


def state(path):
    return torch.load(path, weights_only=True)


def test_killed_and_resumed_equals_unbroken(data, monkeypatch, tmp_path):
    assert run("--run", "unbroken") == 0
    with monkeypatch.context() as patch:
        patch.setattr(phase_module, "Progress", KilledAt)
        with pytest.raises(Killed):
            run("--run", "broken")
    assert state(tmp_path / "broken" / "supervised.ckpt")["global_step"] == 2
    assert not (tmp_path / "broken" / "decay.ckpt").exists()
    assert run("--run", "broken") == 0
    for phase in train.PHASES:
        ends = [state(tmp_path / name / f"{phase}.ckpt") for name in ("unbroken", "broken")]
        assert ends[0]["global_step"] == ends[1]["global_step"] == 3
        assert all(torch.equal(v, ends[1]["state_dict"][k]) for k, v in ends[0]["state_dict"].items())
    summary = json.loads((tmp_path / "broken" / "summary.json").read_text())
    assert [p["steps"] for p in summary["phases"].values()] == [3, 3, 3]
    assert summary["phases"]["decay"]["complete"] and summary["network"]["width"] == 0.5
    rows = read_log(tmp_path / "unbroken" / "log.csv")
    assert [row["phase"] for row in rows if "loss" in row] == list(train.PHASES)
    assert run("--run", "broken") == 0  # complete: nothing is trained again

    model = load_model(tmp_path / "unbroken" / "decay.ckpt")
    assert not model.training and model.hparams["width"] == 0.5
    assert torch.equal(model.fc.weight, state(tmp_path / "unbroken" / "decay.ckpt")["state_dict"]["model.fc.weight"])


def test_supervised_phase_ends_on_request_and_training_goes_on_from_any_checkpoint(data, tmp_path, capsys):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "decay-now").touch()
    assert run("--run", "r", "--contrastive-epochs", "0", "--supervised-target", "0.25") == 0
    assert state(tmp_path / "r" / "supervised.ckpt")["facts"]["steps"] == 1
    start = tmp_path / "r" / "supervised.ckpt"
    assert run("--run", "s", "--from", str(start), "--supervised-epochs", "0", "--width", "1") == 0
    ends = [state(tmp_path / name / "decay.ckpt")["state_dict"] for name in "rs"]
    assert all(torch.equal(v, ends[1][k]) for k, v in ends[0].items())
    assert sorted(path.stem for path in (tmp_path / "s").glob("*.ckpt")) == ["decay"]
    assert json.loads((tmp_path / "s" / "summary.json").read_text())["network"]["width"] == 0.5

    targets = [json.loads((tmp_path / name / "summary.json").read_text())["phases"]["decay"]["target"] for name in "rs"]
    assert targets == [0.25, 0.25]
    save_weights(tmp_path / "half.safetensors", load_model(start), {})
    assert run("--run", "t", "--from", str(tmp_path / "half.safetensors"), "--precision", "32-true") == 0
    precisions = [json.loads((tmp_path / name / "summary.json").read_text())["precision"] for name in "st"]
    assert precisions == ["bf16-mixed", "32-true"]
    assert sorted(path.stem for path in (tmp_path / "t").glob("*.ckpt")) == ["decay", "supervised"]
    for name, network in (("classes are", ResNet(0.5, 10, num_classes=3)), ("stem is", ResNet(0.5, 10, stem="large"))):
        save_weights(tmp_path / "other.safetensors", network, {})
        capsys.readouterr()
        assert run("--run", "u", "--from", str(tmp_path / "other.safetensors")) == 2
        assert f"--from needs a network for sixteen, whose {name} " in capsys.readouterr().err
    assert not (tmp_path / "u").exists()


def test_a_folder_goes_on_with_its_own_network_only(data, tmp_path, capsys):
    assert run("--run", "r", "--method", "cdg0") == 0
    summary = (tmp_path / "r" / "summary.json").read_bytes()
    for other, names in ((["--seed", "2"], "seed"), (["--decay-size", "16"], "decay_size"), ([], "network")):
        capsys.readouterr()
        method = "cdg50" if names == "network" else "cdg0"
        assert run("--run", "r", "--method", method, *other) == 2
        assert f"r must go on with its own {names}, not others; name another --run" in capsys.readouterr().err
    assert (tmp_path / "r" / "summary.json").read_bytes() == summary
    assert run("--run", "r", "--method", "cdg0", "--supervised-lr", "0.1") == 0


def test_what_the_engine_lacks_is_trained_and_not_quantised(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert train.main([*TINY, "--data", "digits", "--method", "fbs", "--steps", "1", "--run", "r"]) == 0
    assert "not quantised: network to quantise must be dense" in capsys.readouterr().out
    assert (tmp_path / "r" / "summary.json").is_file() and not (tmp_path / "r" / "network.safetensors").exists()


def test_thresholds_and_norms_have_no_weight_decay(data):
    args = train.build_parser().parse_args(TINY)
    train.fill(args)
    model = train.ResNet(width=0.5)
    optimiser = phase_module.make_module(train.make_phase(args, "supervised"), model, 3).configure_optimizers()
    plain = {id(p) for group in optimiser.param_groups if not group["weight_decay"] for p in group["params"]}
    decayed = {id(p) for group in optimiser.param_groups if group["weight_decay"] for p in group["params"]}
    assert {id(c.tau) for c in model.gated_convs().values()} < plain
    assert {id(c.weight) for c in model.gated_convs().values()} < decayed
    assert len(plain | decayed) == len(list(model.parameters()))


def test_deadline_is_the_next_time_the_clock_shows():
    assert train.deadline("01:30", 3600.0) == 5400.0
    assert train.deadline("00:30", 3600.0) == 1800.0 + 86400


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--width", "0.3"], "width must make 64 * width a whole number from 1 to 512, not 0.3"),
        (["--method", "x"], f"--method must be one of {', '.join(train.METHODS)}, not 'x'"),
        (["--groups", "3"], "gating groups must be at least 2 and divide 64 and 64 channels, not 3"),
        (["--slice-size", "3"], "slice size must divide the 16 channels of an output group, not 3"),
        (["--decay-epochs", "-1"], "--decay-epochs must be a number from 0 to 1000000, not -1.0"),
        (["--decay-epochs", "inf"], "--decay-epochs must be a number from 0 to 1000000, not inf"),
        (
            [word for phase in train.PHASES for word in (f"--{phase}-epochs", "0")],
            "--contrastive-epochs, --supervised-epochs or --decay-epochs must be more than 0",
        ),
        (
            ["--method", "dgc", "--quantize"],
            "--quantize must be left out here: network to quantise must be dense or gated by slice or channel, not dgc",
        ),
        (
            ["--slice-size", "4", "--quantize"],
            "--quantize must be left out here: network to quantise must have slices of 1 or 8 channels, not 4",
        ),
        (["--decay-size", "64"], "--decay-size must be between 8 and 32, not 64"),
        (["--decay-batch", "1"], "--decay-batch must be a whole number from 2 to 1048576, not 1"),
        (["--decay-batch", "32"], "--decay-batch must be at most 16, not 32"),
        (["--steps", "0"], "--steps must be a whole number from 1 to 1000000000, not 0"),
        (["--seed", "-1"], "--seed must be a whole number from 0 to 4294967295, not -1"),
        (["--devices", "0"], "--devices must be a whole number from 1 to 1024, not 0"),
        (["--accelerator", "abacus"], "--accelerator must be cpu, gpu or auto, not 'abacus'"),
        (["--precision", "8"], "--precision must be 32-true or bf16-mixed, not '8'"),
        (["--decay-at", "noon"], "--decay-at must be a time HH:MM, not 'noon'"),
        (["--from", "none.ckpt"], "training checkpoint must exist, not none.ckpt"),
        (["--width", "1e9"], "width must make 64 * width a whole number from 1 to 512, not 1000000000.0"),
        (["--seed", "9" * 20], f"--seed must be a whole number from 0 to 4294967295, not {'9' * 20}"),
        (["--supervised-lr", "-1"], "--supervised-lr must be a number above 0 and at most 100, not -1.0"),
        (["--contrastive-lr", "inf"], "--contrastive-lr must be a number above 0 and at most 100, not inf"),
        (["--supervised-target", "nan"], "--supervised-target must be a number from -10 to 10, not nan"),
        (["--save-every", "nan"], "--save-every must be a number from 0 to 86400, not nan"),
        (["--seconds", "0"], "--seconds must be a number above 0 and at most 100000000, not 0.0"),
    ],
)
def test_bad_input_is_one_line_and_status_2(data, capsys, tmp_path, arguments, message):
    sizes = [word for phase in train.PHASES for word in (f"--{phase}-batch", "8")]
    assert train.main(["--data", "sixteen", *sizes, *arguments]) == 2
    assert capsys.readouterr().err == f"sw_model.train: {message}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--decay-epochs", "two"], "argument --decay-epochs: invalid float value: 'two'; see --help"),
        (["--wdith", "1"], "unrecognized arguments: --wdith 1; see --help"),
        (["--wid", "1"], "unrecognized arguments: --wid 1; see --help"),
    ],
)
def test_wrong_options_are_one_line_and_status_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as error:
        train.main(arguments)
    assert error.value.code == 2 and capsys.readouterr().err == f"sw_model.train: {message}\n"


def test_missing_data_is_one_line_and_status_2(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert train.main(["--width", "0.5", "--data", "nowhere"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sw_model.train: data must be 'digits' or a folder") and error.count("\n") == 1


def test_defaults_suit_the_data_set(data):
    digits, other = (train.build_parser().parse_args(["--data", name]) for name in ("digits", "sixteen"))
    train.fill(digits)
    train.fill(other)
    assert (digits.width, digits.contrastive_epochs) == (0.5, 8)
    assert (other.width, other.contrastive_epochs) == (1.0, 1)
    for args, sizes in ((digits, [16, 16, 16]), (other, [24, 24, 32])):
        args.contrastive_batch = args.supervised_batch = args.decay_batch = 4
        train.fit_to_data(args, train.load_data(args.data))
        assert [getattr(args, f"{phase}_size") for phase in train.PHASES] == sizes


def test_folder_of_images_gets_the_large_stem(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for part in ("train", "val"):
        for color, name in ((20, "ant"), (200, "bee")):
            folder = tmp_path / "pictures" / part / name
            folder.mkdir(parents=True)
            for k in range(2):
                Image.new("RGB", (240, 230), (color, 40 * k, 99)).save(folder / f"{k}.jpg")
    batches = [word for phase in train.PHASES for word in (f"--{phase}-batch", "2")]
    network = ["--width", "0.125", "--depth", "10", "--slice-size", "1"]
    assert train.main(["--data", "pictures", "--run", "r", "--steps", "1", *network, *batches]) == 0
    model = load_model(tmp_path / "r" / "decay.ckpt")
    assert model.conv1.weight.shape == (8, 3, 7, 7) and model.fc.out_features == 2
    assert model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert [phase["image_size"] for phase in summary["phases"].values()] == [168, 168, 224]


@pytest.mark.parametrize("method", ["dense", "cdg50", "fbs", "dgc"])
def test_every_method_trains(data, tmp_path, method):
    assert run("--run", "r", "--method", method, "--steps", "1") == 0
    model = load_model(tmp_path / "r" / "decay.ckpt")
    assert model.hparams | train.METHODS[method].network == model.hparams
    assert model.fc.weight.isfinite().all()


def test_weights_alone_give_the_network_back(tmp_path):
    model = ResNet(width=0.125, slice_size=2)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value))
    save_weights(tmp_path / "w.safetensors", model, {"steps": 3})
    back = load_model(tmp_path / "w.safetensors")
    assert back.hparams == model.hparams and not back.training
    for name, value in model.state_dict().items():
        expected = value.half().float() if value.ndim > 1 else value
        assert torch.equal(back.state_dict()[name], expected), name
    assert training_facts(tmp_path / "w.safetensors") == {"steps": 3}
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="training checkpoint must be a whole file of sw_model.train, not"):
        load_model(tmp_path / "bad.safetensors")


def test_load_model_wrong(tmp_path):
    path = tmp_path / "x.ckpt"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="must be a whole file of sw_model.train"):
        load_model(path)


@pytest.mark.slow
def test_digits_from_end_to_end(monkeypatch, tmp_path):
    """What `make train` does: pre-training, fine-tuning, evaluation and quantisation; and the network on the engine."""
    monkeypatch.chdir(tmp_path)
    assert train.main([]) == 0
    results = json.loads((tmp_path / "runs" / "digits" / "results.json").read_text())
    assert results["accuracy"]["int8"] > 0.95 and 0.6 < results["sparsity"]["mac"] < 0.8
    assert abs(results["accuracy"]["int8"] - results["accuracy"]["float32"]) < 0.02
    network = str(tmp_path / "runs" / "digits" / "network.safetensors")
    assert simulate(["--checkpoint", network, "--config", "half", "--layer", "conv3_2"]) == 0


@pytest.mark.slow
def test_two_processes_train_together_from_the_command_line(tmp_path, root):
    """All phases, the averaged sparsity that T follows, and an end by itself."""
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sw_model.train", "--run", "r", "--devices", "2", "--steps", "3", "--no-quantize"]
    subprocess.run([*command, "--width", "0.25", "--slice-size", "4"], cwd=tmp_path, env=env, check=True, timeout=600)
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert [phase["steps"] for phase in summary["phases"].values()] == [3, 3, 3]
    command = [sys.executable, "-m", "sw_model.compare", "--row", "scdg", "--data", "digits", "--devices", "2"]
    command += ["--steps", "12", "--run", "s", "--bn-batches", "1"]
    subprocess.run(command, cwd=tmp_path, env=env, check=True, timeout=600)
    assert json.loads((tmp_path / "s" / "result.json").read_text())["target"] != 0.57
