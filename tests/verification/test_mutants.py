"""The command: what it refuses, what it says, and mutants all the way."""

import json
import re

import pytest

from hw.configurations import CONFIGS, configuration
from sim.run import system
from sim.run.verilog_cache import cached_verilog
from verification import mutants
from verification.mutation.attempts import attempts
from verification.mutation.campaign import Campaign
from verification.mutation.findings import Finding, of_error, of_verdict
from verification.mutation.mutations import Mutation
from verification.mutation.netlist import wrapper
from verification.mutation.networks import run_network, trial


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--count", "0"], "count must be 1 to 2000, not 0"),
        (["--count", "2001"], "count must be 1 to 2000, not 2001"),
        (["--seed", "-1"], "seed must be 0 to 2147483647, not -1"),
        (
            ["--config", "huge"],
            "configuration must be one of full, half, small, tiny or a file that ends with .toml, not 'huge'",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert mutants.main(arguments) == 2
    assert capsys.readouterr().err == f"verification.mutants: {message}\n"
    assert not list(tmp_path.iterdir())


def test_configuration_without_trace_is_refused(capsys, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("trace = false\n")
    assert mutants.main(["--config", str(own)]) == 2
    assert "own has no trace" in capsys.readouterr().err


def mutation(number):
    return Mutation(
        number=number, mode="inv", module="top.a", cell="c", port="Y", bit=0, control=None, text="x", lines=(1, 1)
    )


def campaign(**changes):
    found = {1: Finding(kinds=("mismatch", "law"), text="expected 1, got 2", trial="slices gated")}
    return Campaign({n: mutation(n) for n in (1, 2, 3)}, "top", **{"found": found, "proven": {2, 3}, **changes})


def test_verdict_and_report():
    good = campaign()
    assert mutants.verdict(good) == "pass"
    made = mutants.report(good, {"seed": 1})
    assert made["counts"] == {"mismatch": 1, "equivalent": 2} and made["verdict"] == "pass"
    assert made["mutants"][0]["found_by"] == ["mismatch", "law"]
    json.dumps(made, allow_nan=False)


def test_a_mutant_that_survives_fails():
    bad = campaign(proven={2})
    assert bad.survivors == [3]
    assert mutants.verdict(bad) == "fail: 1 of 3 mutants survive unexplained: 3"
    assert mutants.report(bad, {})["mutants"][2]["outcome"] == "SURVIVED"


def test_a_reason_for_a_mutant_that_is_found_is_wrong(monkeypatch):
    monkeypatch.setattr("verification.mutation.campaign.explanation", lambda mutation, top: "never" * mutation.number)
    assert mutants.verdict(campaign()) == (
        "fail: mutants were found that the table of explanations says no run can show: 1"
    )


def test_no_mutants_are_no_pass():
    assert mutants.verdict(Campaign({}, "top")) == "fail: no mutations were made"


def by_hand(verilog):
    """Return Verilog whose mutant 1 writes one bit of memory wrong and whose mutant 2 never interrupts."""
    text = verilog.read_text(encoding="utf-8")
    description = json.loads(verilog.with_suffix(".json").read_text(encoding="utf-8"))
    top = description["top"]
    text = text.replace(f"module {top}(", f"module \\{top}.selectable (mutant, ", 1)
    text = re.sub(
        r"\);\n",
        ");\n  input [15:0] mutant; wire wanted; wire [63:0] written;\n"
        "  assign m_axi_wdata = written ^ (mutant == 1); assign interrupt = wanted & mutant != 2;\n",
        text,
        count=1,
    )
    for old, new in (("  assign m_axi_wdata = \\$", "  assign written = \\$"), ("(interrupt),", "(wanted),")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text + wrapper(description, f"\\{top}.selectable ", 16), description


def test_mutants_end_to_end(root, tmp_path):
    """A wrong bit is a mismatch, a missing interrupt a time-out, and the engine itself passes before and after them."""
    text, description = by_hand(cached_verilog("tiny", root / "build/verilog", top="system"))
    verilog = tmp_path / "mutants.v"
    verilog.write_text(text, encoding="utf-8")
    verilog.with_suffix(".json").write_text(json.dumps(description), encoding="utf-8")
    simulator = system.build(verilog, root / "build/verilator")
    one = trial("slices", CONFIGS["tiny"], "gated")
    found = {}
    for attempt in attempts(simulator, [0, 1, 2, 0], run_network, one.arguments, tmp_path / "runs"):
        if attempt.error is not None:
            finding = of_error(attempt.error, one.name)
        else:
            finding = of_verdict(one.judge(attempt.value), one.name)
        found[attempt.number] = finding
    assert found[0] is None
    assert found[1].kinds[0] == "mismatch" and "expected " in found[1].text
    assert found[2].kinds == ("time-out",)


@pytest.mark.slow
def test_all_mutants(capsys, monkeypatch, root):
    monkeypatch.chdir(root)
    assert configuration("tiny").params.trace
    status = mutants.main([])
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == "verdict: pass" and status == 0, told
    assert max(map(len, told.splitlines())) <= 80
    made = json.loads((root / "build/verification/mutants/report.json").read_text())
    assert sum(made["counts"].values()) == 120 and made["seconds"]["all"] < 1200
