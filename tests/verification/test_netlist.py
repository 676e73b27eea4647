"""The command: what it refuses, what it says of what was found, and the whole of it, with a fault, too."""

import json
import shutil
from types import SimpleNamespace

import pytest

from cdgate.errors import RunError
from gen.fpga import toolchain
from sim.check.verdict import Verdict
from verification import netlist
from verification.mapped.campaign import Comparison

FACTS = {
    "cells": {"MULT18X18D": 19, "DP16KD": 43},
    "registers_in_blocks": 850,
    "verilog_sha256": "",
    "tools": {},
}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--target", "ice40"], "target must be one of ecp5-85f, ecp5-45f, ecp5-25f, not 'ice40'"),
        (
            ["--config", "huge"],
            "configuration must be one of full, half, small, tiny or a file that ends with .toml, not 'huge'",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert netlist.main(arguments) == 2
    assert capsys.readouterr().err == f"verification.netlist: {message}\n"
    assert not list(tmp_path.iterdir())


def test_configuration_without_trace_is_refused(capsys, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("trace = false\n")
    assert netlist.main(["--config", str(own)]) == 2
    assert "own has no trace" in capsys.readouterr().err


def simulated(mismatches=0, cycles=100):
    """Return what an engine's run returns, as far as it is looked at."""
    verdict = Verdict(outputs_checked=5)
    verdict.mismatches = mismatches
    if mismatches:
        verdict.first.append("ofmap of conv: expected 1, got 2")
    report = {
        "outputs_checked": 5,
        "decisions_checked": 2,
        "mismatches": mismatches,
        "wall_seconds": {"simulate": 1.0},
        "stress": {"outputs_checked": 7, "decisions_checked": 0, "mismatches": 0},
        "layers": [{"layer": "conv", "cycles": {"gated": cycles, "dense": 200}}],
    }
    return SimpleNamespace(verdict=verdict, passed=verdict.passed, report=report)


def comparison(found, wanted=None):
    return Comparison(name="net", netlist=found, verilog=wanted or simulated())


def test_equal_runs_pass():
    row = comparison(simulated()).row()
    assert row["outputs_checked"] == 12 and row["decisions_checked"] == 2 and row["findings"] == []
    assert row["cycles"] == row["cycles_of_the_verilog"] == {"gated": 100, "dense": 200}
    assert netlist.verdict([row], 850) == "pass"


@pytest.mark.parametrize(
    "found, wanted, message",
    [
        (simulated(mismatches=3), None, "net: 3 mismatches, the first: ofmap of conv: expected 1, got 2"),
        (simulated(cycles=101), None, "net, gated: layer conv takes 101 cycles, 100 on the generated Verilog"),
        (simulated(), simulated(mismatches=1), "net: the generated Verilog itself does not pass"),
    ],
)
def test_findings(found, wanted, message):
    row = comparison(found, wanted).row()
    assert row["findings"] == [message]
    assert netlist.verdict([row], 850) == f"fail: {message}"


def test_nothing_compared_or_moved_is_no_pass():
    assert netlist.verdict([], 850) == "fail: nothing was compared"
    assert netlist.verdict([comparison(simulated()).row()], 0).startswith("fail: no flip-flop went into a block")


def ends(*args):
    raise RunError("run is still under way after 5 cycles")
    yield


@pytest.mark.parametrize(
    "run, status, told",
    [
        (lambda *args: iter([comparison(simulated())]), 0, "pass"),
        (lambda *args: iter([comparison(simulated(mismatches=3))]), 1, "fail: net: 3 mismatches, the first: ofmap of"),
        (ends, 1, "fail: run is still under way after 5 cycles"),
    ],
)
def test_command_ends_with_its_verdict(run, status, told, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(netlist, "mapped_engine", lambda *args: (tmp_path / "engine.v", FACTS))
    monkeypatch.setattr(netlist, "compare", run)
    assert netlist.main(["-o", str(tmp_path)]) == status
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"verdict: {told}")
    assert json.loads((tmp_path / "report.json").read_text())["verdict"].startswith(told)


@pytest.mark.slow
def test_netlist_is_exact(capsys, monkeypatch, root):
    monkeypatch.chdir(root)
    status = netlist.main([])
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == "verdict: pass" and status == 0, told
    assert max(map(len, told.splitlines())) <= 80
    made = json.loads((root / "build/verification/netlist/report.json").read_text())
    assert made["registers_in_blocks"] > 500
    assert [row["network"] for row in made["networks"]] == ["layer", "slices"]
    assert all(row["outputs_checked"] > 10_000 and row["decisions_checked"] > 500 for row in made["networks"])


@pytest.mark.slow
def test_fault_in_the_pass_is_found(capsys, monkeypatch, root, tmp_path):
    """Registers that were taken away, and are not in the memories."""
    absorb = toolchain.absorb_registers

    def faulty(made, top):
        count = absorb(made, top)
        for cell in made["modules"][top]["cells"].values():
            if cell["type"] == "DP16KD":
                cell["parameters"]["REGMODE_B"] = "NOREG"
        return count

    mapped = root / "build/verification/netlist/ecp5-85f"
    if mapped.is_dir():
        shutil.copytree(mapped, tmp_path / mapped.name)
    monkeypatch.chdir(root)
    monkeypatch.setattr(toolchain, "absorb_registers", faulty)
    assert netlist.main(["-o", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("verdict: fail: ")
