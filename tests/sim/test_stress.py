"""Hardware that is wrong where photographs do not look: the commands say so, as they run stress layers, too."""

import json
import re

import pytest

from sim import __main__ as layers
from sim import network
from sim.run import simulators
from sw_model.integer.checkpoint import save
from sw_model.quantisation.random_network import random_network

#: Text of the generated Verilog, and what it becomes.
FAULTS = {
    "tie": (  # a slice fires if K - saliency is below 0, here if it is below 1
        r"(assign s1_under = \$signed\(s1_threshold\) - \$signed\(s1_saliency\));",
        r"\1 - 33'sd1;",
    ),
    "saturation": (r"8'hff", "8'h7f"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "narrow.safetensors"
    save(path, random_network(width=0.25, groups=2, seed=3))
    return path


@pytest.fixture
def spoiled(monkeypatch, tmp_path):
    """Let the commands build a simulator of Verilog with a fault."""

    def spoil(name):
        pattern, replacement = FAULTS[name]
        right = simulators.cached_verilog

        def wrong(*args, **options):
            path = right(*args, **options)
            text, count = re.subn(pattern, replacement, path.read_text())
            assert 0 < count < 20, f"{count} places of {name}"
            spoiled = tmp_path / path.name
            spoiled.write_text(text)
            spoiled.with_suffix(".json").write_text(path.with_suffix(".json").read_text())
            return spoiled

        monkeypatch.setattr(simulators, "cached_verilog", wrong)

    return spoil


def report_of(path):
    return json.loads((path / "report.json").read_text())


@pytest.mark.parametrize("fault", FAULTS)
def test_layer(spoiled, fault, checkpoint, monkeypatch, root, tmp_path, capsys):
    monkeypatch.chdir(root)
    spoiled(fault)
    status = layers.main(
        ["--layer", "conv5_2", "--config", "small", "--checkpoint", str(checkpoint), "-o", str(tmp_path)]
    )
    report, printed = report_of(tmp_path / "conv5_2"), capsys.readouterr().out
    assert status == 1 and "stress: mismatches: " in report["verdict"] and report["stress"]["mismatches"] > 0
    assert printed.endswith(f"\nverdict: {report['verdict']}\n")
    assert "in stress passes:\n" in printed and "layer conv5_2, " in printed.split("in stress passes:")[1]


def test_network(spoiled, checkpoint, monkeypatch, root, tmp_path, capsys):
    monkeypatch.chdir(root)
    spoiled("tie")
    options = ["--config", "small", "--images", "1", "--runs", "gated"]
    status = network.main([*options, "--checkpoint", str(checkpoint), "-o", str(tmp_path)])
    report, printed = report_of(tmp_path / "network"), capsys.readouterr().out
    assert status == 1 and "stress: mismatches: " in report["verdict"] and report["stress"]["mismatches"] > 0
    assert printed.endswith(f"\nverdict: {report['verdict']}\n") and "layer gated" in printed


@pytest.mark.parametrize("mode", ["gated", "channel", "forced", "base", "dense"])
def test_every_mode_has_stress_passes(small, mode, checkpoint, monkeypatch, root, tmp_path, capsys):
    monkeypatch.chdir(root)
    options = ["--config", "small", "--mode", mode, "--checkpoint", str(checkpoint), "-o", str(tmp_path)]
    assert layers.main(["--layer", "conv5_1", *options]) == 0
    report = report_of(tmp_path / "conv5_1")
    stress = report["stress"]
    assert set(stress) == {"cycles", "outputs_checked", "decisions_checked", "mismatches"}
    assert stress["outputs_checked"] > 0 and stress["mismatches"] == 0 and report["stress_broken_laws"] == []
    assert (stress["decisions_checked"] > 0) == (mode in ("gated", "channel", "forced"))
    assert 0 < stress["cycles"] <= sum(run["cycles"] for run in report["runs"].values()) / 3
    assert sum(run["outputs_checked"] for run in report["runs"].values()) == report["outputs_checked"]
