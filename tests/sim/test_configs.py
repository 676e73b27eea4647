"""Every named configuration: one real gated layer and small random ones, bit for bit; what it cannot run, in words."""

import json

import pytest

from cdgate.errors import CompileError
from gen.layer.compiler import compile_layer
from hw.configurations import CONFIGS
from sim.__main__ import main
from sim.plan.cases import random_case
from sw_model.integer.checkpoint import save
from sw_model.quantisation.random_network import random_network
from tests.sim.bench import Trial, check
from tests.sim.conftest import engine_of


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A narrow random network: conv4_2 has 64 channels in two groups, which all configurations allow."""
    path = tmp_path_factory.mktemp("checkpoint") / "narrow.safetensors"
    save(path, random_network(width=0.25, groups=2, seed=3))
    return path


@pytest.mark.parametrize("name", CONFIGS)
def test_layer_of_a_network(name, checkpoint, tmp_path, monkeypatch, root, capsys):
    monkeypatch.chdir(root)
    assert main(["--layer", "conv4_2", "--config", name, "--checkpoint", str(checkpoint), "-o", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "conv4_2/report.json").read_text())
    assert report["bit_exact"] and report["laws_hold"] and report["config"] == name
    assert report["outputs_checked"] == 2 * 64 * 8 * 8 and report["decisions_checked"] == 8 * 8 * 8
    assert report["speedup"]["realised"] > 1.2


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - {"full", "small"}))  # those two have all of test_core
def test_random_layers(name, tmp_path, seed, request):
    engine = engine_of(name, request.config.rootpath)
    least = {"in_ch": 4 * engine.params.in_par, "out_ch": 32}
    trials = [
        Trial(
            f"stride {stride}, branch {branch}",
            random_case(
                seed % 1000 + branch, stride=stride, branch=branch, size=(5, 4), images=2, residual=residual, **least
            ),
            mode,
        )
        for stride, branch, residual in ((1, 1, "unsigned"), (2, 2, None), (1, 2, "signed"))
        for mode in ("gated", "dense", "base")
    ]
    trials += [
        Trial("stem", random_case(seed % 1000, in_ch=3, out_ch=16, size=(5, 6), groups=1, image=True)),
        Trial("classifier", random_case(seed % 1000, in_ch=48, size=(4, 4), classes=10, images=3)),
    ]
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


@pytest.mark.parametrize(
    "name, channels, size, text",
    [
        ("half", 64, 32, "ifmap must fit a bank of 4096 words"),
        ("small", 512, 4, "weights of a slice must fit the ring of 1024 entries, not take 1152"),
        ("tiny", 128, 4, "weights of a slice must fit the ring of 512 entries, not take 576"),
        ("full", 32, 4, "input channels per group must be a multiple of 16, not 32 / 4"),
    ],
)
def test_refusals(name, channels, size, text):
    case = random_case(1, in_ch=channels, out_ch=channels, size=(size, size))
    with pytest.raises(CompileError, match=f"^layer case1: {text}"):
        compile_layer(case.layer, case.ifmap, None, CONFIGS[name], "gated")
