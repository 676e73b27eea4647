"""The kinds of fuzz that run on the generated Verilog, and the faults of the bus; with faults planted, too."""

import dataclasses
import json
import re

import pytest
import torch

from hw.configurations import CONFIGS, configuration
from sim.run import system
from sim.run.simulators import Simulators
from sim.run.verilog_cache import cached_verilog
from tests.verification.fuzzing.planted import PLANTS, planted
from verification import bus_faults
from verification.fuzzing import layers
from verification.fuzzing.bus import CHANNELS, FAULTS, inject, small_programs
from verification.fuzzing.campaign import KINDS, drawn, turn

SYSTEM = ("programs", "memories", "registers", "networks_rtl")
SMALL = CONFIGS["small"]


@pytest.fixture(scope="module")
def simulators(request):
    return Simulators(configuration("small"), request.config.rootpath / "build", print)


def tallies(simulator, names, seed, seconds, work):
    arguments = (names, SMALL, "small", seed, dict.fromkeys(names, 0), seconds)
    return simulator.run(turn, arguments, work)


def test_engine_withstands(simulators, seed, tmp_path):
    found = tallies(simulators.system({}), SYSTEM, seed, 8, tmp_path / "run")
    texts = [(finding.text, finding.case) for tally in found.values() for finding in tally.findings]
    assert not texts, f"seed {seed}: {texts}"
    assert all(tally.tried for tally in found.values()), f"seed {seed}"


def test_planted_faults_are_found(simulators, seed, tmp_path, monkeypatch):
    found = simulators.system({}).run(planted, (SMALL, seed, 5), tmp_path / "run")
    texts = {name: {finding.text for finding in tally.findings} for name, tally in found.items()}
    assert set(texts) == set(PLANTS) and all(texts.values()), f"seed {seed}: {texts}"
    assert any("outside of the window" in text for text in texts["programs"]), f"seed {seed}: {texts}"
    assert any("ends with " in text for text in texts["memories"]), f"seed {seed}: {texts}"
    assert any("where no register is, is answered" in text for text in texts["registers"]), f"seed {seed}: {texts}"


def test_layers_on_the_core(simulators, seed, tmp_path, monkeypatch):
    cases = [drawn(KINDS["layers_rtl"], seed, "small", number, SMALL) for number in range(12)]
    ends = layers.run_batch(cases, SMALL, simulators.core({}), tmp_path / "runs")
    assert all(text is None for _, text in ends), f"seed {seed}: {ends}"
    right = layers.compile_layer

    def wrong(*args, **options):
        program = right(*args, **options)
        weights = program.weights.copy()
        weights[:, 0] ^= 0x40
        return dataclasses.replace(program, weights=weights)

    monkeypatch.setattr(layers, "compile_layer", wrong)
    ends = layers.run_batch(cases, SMALL, simulators.core({}), tmp_path / "runs")
    assert any(text is not None for _, text in ends), f"seed {seed}"


def test_faults_of_the_bus(simulators, root, tmp_path):
    """A few beats of each; they end as the table of the documentation says, which was made of all."""
    rows = simulators.system({}).run(inject, (small_programs(SMALL), SMALL, 60, print), tmp_path / "run")
    assert not [text for row in rows for text in row.findings]
    assert all(row.injected == row.recovered > 0 for row in rows)
    text = (root / "docs" / "verification.md").read_text(encoding="utf-8")
    told = {
        tuple(re.split(r"\s*\|\s*", line.strip("| "))[:2]): line for line in text.splitlines() if line.startswith("| ")
    }
    assert {row.fault for row in rows} == {*FAULTS, "unaligned"} and {row.channel for row in rows} == set(CHANNELS)
    for row in rows:
        line = told[row.fault, row.channel]
        assert all(f"`{end}`" in line or end == "exact" and " exact " in line for end in row.outcomes), line


def test_command_of_the_bus_faults(capsys):
    assert bus_faults.main(["--every", "0"]) == 2
    assert capsys.readouterr().err == "verification.bus_faults: every must be at least 1, not 0\n"


def test_bus_faults_tell_how_far_they_are(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bus_faults, "BUILD", root / "build")
    monkeypatch.setattr(bus_faults, "_INTERVAL", 0.3)
    assert bus_faults.main(["--every", "1000", "-o", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["schema"] == 1 and report["verdict"] == "pass" and report["injected"] == report["recovered"] > 0
    told = [line for line in capsys.readouterr().err.splitlines() if " s: row " in line]
    assert told and all(re.fullmatch(r" +\d+ s: row \d+ of 44 \(.*\), [\d,]+ faults before it", line) for line in told)


def test_bus_faults_that_are_interrupted_leave_no_report(root, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    report = tmp_path / "report.json"
    report.write_text('{"verdict": "pass"}')
    monkeypatch.setattr(bus_faults, "BUILD", root / "build")
    monkeypatch.setattr(bus_faults, "small_programs", interrupt)
    assert bus_faults.main(["--every", "0", "-o", str(tmp_path)]) == 2 and report.exists()
    assert bus_faults.main(["-o", str(tmp_path)]) == 130 and not report.exists()


@pytest.mark.slow
@pytest.mark.parametrize("part", ["tokens", "load", "weights"])
def test_soft_reset_that_leaves_a_part_alone_is_found(root, seed, tmp_path, part):
    """In the Verilog, the reset of one part is cut off."""
    torch.set_num_threads(1)
    path = cached_verilog("small", root / "build/verilog", top="system")
    text, count = re.subn(rf"\bclear_{part} <= clear;", f"clear_{part} <= reset;", path.read_text())
    assert count == 1
    mutant = tmp_path / path.name
    mutant.write_text(text)
    mutant.with_suffix(".json").write_bytes(path.with_suffix(".json").read_bytes())
    simulator = system.build(mutant, tmp_path / "verilator")
    found = tallies(simulator, ("programs", "registers"), seed, 60, tmp_path / "run")
    assert any(tally.findings for tally in found.values()), f"seed {seed}"
