"""``python -m verification.images``: what is compared, what a difference looks like, bad input."""

import json

import numpy as np
import pytest

from sw_model.integer.checkpoint import save
from sw_model.integer.network import IntNetwork
from sw_model.quantisation.random_network import random_network
from verification import images
from verification.independent import pass_interpreter

#: An engine that is too small for the network here.
OWN = {"in_par": 4, "rq_lanes": 4, "axi_bits": 64, "max_map": 16}
SMALL_ENGINE = ["--config", "own.toml"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "narrow.safetensors"
    save(path, random_network(width=0.25, groups=2, seed=3, blocks=1))
    return path


@pytest.fixture
def call(checkpoint, tmp_path, capsys):
    def run(*options):
        arguments = ["--checkpoint", str(checkpoint), "-o", str(tmp_path), "--config", "small", *options]
        status = images.main(arguments)
        path = tmp_path / "report.json"
        return status, json.loads(path.read_text()) if path.exists() else None, capsys.readouterr()

    return run


def test_engine_without_gating(call, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("in_par = 4\nrq_lanes = 1\nring_entries = 1024\ngating = false\n")
    status, report, printed = call("--images", "2", "--config", str(own))
    assert status == 0 and printed.out.endswith("\nverdict: pass\n") and report["decisions"] == 0
    status, _, printed = call("--images", "2", "--config", str(own), "--mode", "base")
    assert status == 2 and "mode must be gated or dense, which are the same without gating" in printed.err


def test_images_are_equal(call):
    status, report, printed = call("--images", "3", "--batch", "2", "--offset", "2")
    assert status == 0 and printed.out.endswith("\nverdict: pass\n") and report["verdict"] == "pass"
    assert report["images"] == 3 and report["findings"] == [] and len(report["checkpoint_sha256"]) == 64
    outputs = 3 * (16 * 1024 * 3 + 32 * 256 * 3 + 64 * 64 * 3 + 128 * 16 * 3 + 16)
    assert report["outputs"] == outputs and report["decisions"] > 0
    lines = [line for line in printed.out.splitlines() if not line.startswith("report: ")]
    assert max(map(len, lines)) <= 80
    assert printed.out.splitlines()[0].strip() == "images" and "\nsmall, gated: coffee to rocket\n" in printed.out


def test_difference_is_told(call, monkeypatch):
    right = pass_interpreter.Pass._slice

    def wrong(self, n, *arguments):
        right(self, n, *arguments)
        if n == 0 and arguments[-1]:  # codes of an ofmap
            arguments[-1][-1][0] ^= 1

    monkeypatch.setattr(pass_interpreter.Pass, "_slice", wrong)
    status, report, printed = call("--images", "1")
    assert status == 1 and report["verdict"] == "fail: 1 programs differ" and report["images"] == 0
    assert "images 0 to 0: " in printed.out and printed.out.endswith("\nverdict: fail: 1 programs differ\n")


def test_golden_model_that_is_wrong_is_found(call, monkeypatch):
    right = IntNetwork.run

    def wrong(self, *arguments, **options):
        result = right(self, *arguments, **options)
        result.logits[0, 0] += 1
        return result

    monkeypatch.setattr(IntNetwork, "run", wrong)
    assert call("--images", "1")[0] == 1


@pytest.mark.parametrize(
    "options, message",
    [
        (["--images", "0"], "number of images must be 1 to 16 from 0 on, as there are 16 photographs, not 0"),
        (["--offset", "16"], "first image must be 0 to 15, as there are 16 photographs, not 16"),
        (["--mode", "fast"], "mode must be one of gated, dense, base, not 'fast'"),
        (["--batch", "0"], "batch must be at least 1, not 0"),
    ],
)
def test_bad_input_is_one_line(call, options, message):
    status, report, printed = call(*options)
    assert status == 2 and report is None and printed.err == f"verification.images: {message}\n"


@pytest.mark.parametrize(
    "options",
    [["--mode", "fast"], ["--batch", "0"], ["--images", "0"], ["--config", "own"], ["--checkpoint", "x"], SMALL_ENGINE],
    ids=" ".join,
)
def test_bad_input_leaves_the_last_report(call, tmp_path, options):
    (tmp_path / "report.json").write_text('"of an earlier run"')
    (tmp_path / "own.toml").write_text("".join(f"{name} = {value}\n" for name, value in OWN.items()))
    status, report, _ = call(*(str(tmp_path / one) if one == "own.toml" else one for one in options))
    assert status == 2 and report == "of an earlier run"


def test_interrupted_run_leaves_no_report(call, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    (tmp_path / "report.json").write_text('"of an earlier run"')
    monkeypatch.setattr(images, "check", interrupt)
    status, report, _ = call("--images", "1")
    assert status == 130 and report is None


def test_interpreter_s_sums_are_exact():
    """Psums in float64: the greatest possible one is far below 2^53, where every integer is one."""
    assert 255 * 127 * 8 * 8 * 4096 < 2**53 and np.float64(255 * 127 * 8 * 8 * 4096) == 255 * 127 * 8 * 8 * 4096
