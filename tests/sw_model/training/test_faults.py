"""What goes wrong in training: losses that are not finite, damaged run folders, two processes in one, small folders."""

import json
import os

import pytest
import torch

from cdgate.errors import CheckpointError, RunError, UserError
from sw_model import train
from sw_model.integer import checkpoint
from sw_model.network.resnet import ResNet
from sw_model.network.weights import load_model, save_weights, training_facts
from sw_model.quantisation.random_network import random_network
from sw_model.training.callbacks import CsvLog, read_log
from sw_model.training.options import only_run
from sw_model.training.phase import Phase, Settings, phase_facts, train_phase
from tests.sw_model.training.few_digits import few_digits


@pytest.fixture(scope="module")
def few():
    return few_digits("few digits")


@pytest.fixture
def data(few, monkeypatch, tmp_path):
    monkeypatch.setattr(train, "load_data", lambda source: few)
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    network = ["--width", "0.125", "--depth", "10", "--slice-size", "1", "--steps", "2"]
    sizes = [word for phase in train.PHASES for word in (f"--{phase}-size", "8")]
    return train.main(["--data", "few", "--run", "r", *network, *sizes, *arguments])


def small(**options):
    torch.manual_seed(0)
    return ResNet(width=0.125, depth=10, slice_size=1, **options)


def phase(**options):
    defaults = dict(name="supervised", epochs=8, size=8, batch_size=16, lr=0.05, schedule="constant", target=0.5)
    return Phase(**defaults | options)


class Sick(ResNet):
    """A network one of whose parameters becomes a value that is not finite after some forward passes."""

    def sicken(self, passes, value):
        count = iter(range(10**6))

        def hook(module, args):
            if next(count) == passes:
                self.fc.bias.data[0] = value

        self.blocks[0].register_forward_pre_hook(hook)
        return self


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["supervised", "contrastive"])
def test_a_loss_that_is_not_finite_ends_training_and_keeps_the_last_save(few, tmp_path, name, value):
    torch.manual_seed(0)
    model = Sick(width=0.125, depth=10, slice_size=1).sicken(6 if name == "supervised" else 12, value)
    settings = Settings(run=tmp_path, seed=1, monitor=False)
    with pytest.raises(RunError, match="loss and weights must stay finite, but those of step 8 are not"):
        train_phase(phase(name=name), model, few, settings)
    assert phase_facts(tmp_path / f"{name}.ckpt")["steps"] == 4
    assert all(value.isfinite().all() for value in load_model(tmp_path / f"{name}.ckpt").state_dict().values())
    assert "nan" not in (tmp_path / "log.csv").read_text() if (tmp_path / "log.csv").exists() else True


def test_divergence_is_one_line_and_status_1(data, tmp_path, capsys):
    options = ["--supervised-lr", "100", "--steps", "40", "--contrastive-epochs", "0", "--supervised-epochs", "99"]
    assert run(*options, "--save-every", "0", "--precision", "32-true", "--supervised-target", "10") == 1
    error = capsys.readouterr().err
    assert error.startswith("sw_model.train: loss and weights must stay finite") and error.count("\n") == 1
    assert not (tmp_path / "r" / "decay.ckpt").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("supervised.ckpt", b""),
        ("supervised.ckpt", b"PK\x03\x04 cut"),
        ("contrastive.ckpt", b"half"),
        ("options.json", b"{"),
        ("launches.jsonl", b'{"time": 1}\n{"ti'),
        ("decay-at-0000", b"soon"),
    ],
)
def test_a_damaged_run_folder_is_one_line_with_the_files_name(data, tmp_path, capsys, file, content):
    assert run("--decay-at", "00:00") == 0
    (tmp_path / "r" / file).write_bytes(content)
    capsys.readouterr()
    assert run("--decay-at", "00:00") == 2
    error = capsys.readouterr().err
    assert error.startswith("sw_model.train: ") and f"r/{file}" in error and error.count("\n") == 1
    assert (tmp_path / "r" / file).read_bytes() == content


def test_a_truncated_checkpoint(data, tmp_path):
    assert run() == 0
    path = tmp_path / "r" / "decay.ckpt"
    whole = path.read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        for read in (load_model, training_facts, phase_facts):
            with pytest.raises(CheckpointError, match="must be a whole file of sw_model.train, not .*decay.ckpt"):
                read(path)


def test_a_torn_row_of_the_log_is_left_out(tmp_path):
    log = CsvLog(tmp_path / "log.csv")
    log({"phase": "decay", "step": 30, "loss": 0.5, "knn": 1})
    with log.path.open("a") as file:
        file.write("decay,4")
    log({"phase": "decay", "step": 50, "loss": 0.25, "knn": 1})
    assert [row["step"] for row in read_log(log.path)] == [30, 50]
    log.path.write_text("phase,step\ndecay,x\n")
    with pytest.raises(UserError, match="log.csv must be a log of training: it is damaged"):
        read_log(log.path)


def test_two_trainings_in_one_folder(data, tmp_path, capsys):
    with only_run(tmp_path / "r"):
        assert run() == 2
        assert "--run r must not be one that another process trains in now" in capsys.readouterr().err
        assert sorted(path.name for path in (tmp_path / "r").iterdir()) == [".lock"]
    assert run() == 0


def test_batches_of_phases_without_epochs_do_not_matter_and_defaults_suit_small_folders(data, tmp_path, capsys):
    assert run("--contrastive-epochs", "0", "--contrastive-batch", "1000", "--contrastive-size", "999") == 0
    assert phase_facts(tmp_path / "r" / "supervised.ckpt")["batch_size"] == 64
    assert run("--run", "s") == 0  # the usual batch of 128 is more than there are images
    assert phase_facts(tmp_path / "s" / "contrastive.ckpt")["batch_size"] == 64
    assert run("--run", "t", "--contrastive-batch", "128") == 2
    assert "--contrastive-batch must be at most 64, not 128" in capsys.readouterr().err


def test_weights_with_values_that_are_not_finite(tmp_path):
    model = small()
    path = tmp_path / "w.safetensors"
    save_weights(path, model, {})
    good = path.read_bytes()
    model.blocks[1].conv2.weight.data[0, 0, 0, 0] = 1e5  # more than float16 holds
    with pytest.raises(CheckpointError, match="network in float16 must have finite values only, but blocks.1.conv2.we"):
        save_weights(path, model, {})
    assert path.read_bytes() == good
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    model.fc.bias.data[1] = float("nan")
    torch.save(
        {"network": model.hparams, "state_dict": {f"model.{k}": v for k, v in model.state_dict().items()}, "facts": {}},
        tmp_path / "w.ckpt",
    )
    with pytest.raises(CheckpointError, match="w.ckpt must have finite values only, but fc.bias has others"):
        load_model(tmp_path / "w.ckpt")


def test_files_from_before_the_granularity_had_its_name(tmp_path, root):
    model = small(granularity="channel")
    old = {"gate_mode" if name == "granularity" else name: value for name, value in model.hparams.items()}
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"network": old, "state_dict": state, "facts": {}}, tmp_path / "old.ckpt")
    assert load_model(tmp_path / "old.ckpt").hparams == model.hparams
    shipped = load_model(root / "checkpoints" / "resnet18_scdg_cifar10.safetensors")
    assert shipped.hparams["granularity"] == "slice"


def test_training_goes_on_from_a_quantised_network(root):
    """Its weights are codes times scales."""
    path = root / "checkpoints" / "resnet18_scdg_cifar10.safetensors"
    net, model = checkpoint.load(path), load_model(path)
    layer = net.layer("conv3_2")
    weight = layer.weight.float() * net.training["scale.conv3_2"].reshape(-1, 1, 1, 1)
    assert torch.equal(dict(model.named_parameters())[net.meta["weight_names"]["conv3_2"]], weight)
    assert training_facts(path) == net.meta["training"] and training_facts(path)["target"] == 0.34


def test_quantised_network_without_training_state(tmp_path):
    checkpoint.save(tmp_path / "x.safetensors", random_network(width=0.25, groups=2, blocks=1))
    with pytest.raises(CheckpointError, match="must hold a training state to continue from, but has none"):
        load_model(tmp_path / "x.safetensors")


def test_summary_is_json_as_the_standard_has_it(data, tmp_path):
    assert run() == 0

    def refuse(word):
        raise AssertionError(word)

    json.loads((tmp_path / "r" / "summary.json").read_text(), parse_constant=refuse)
