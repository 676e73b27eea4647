"""The runner of the simulator, apart from what the regressions show."""

import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import pytest

from gen.layer.compiler import compile_layer
from hw.configurations import configuration
from sim.check.outputs import compare
from sim.plan.cases import random_case
from sim.run import build, core, system, verilog_cache
from sim.run.files import Run
from tests.sim.bench import Trial, run_trials


def test_run_after_one_that_was_given_up(small, tmp_path):
    """The core is reset, so that nothing is left of the pass that did not end."""
    case = random_case(1, in_ch=8, out_ch=16, groups=2, size=(2, 2))
    program = compile_layer(case.layer, case.ifmap, None, small.params, "gated")
    starved = dataclasses.replace(program, weights=program.weights[:-1])
    (output, _), (_, verdict) = run_trials(
        small.simulator,
        small.params,
        tmp_path / "runs",
        [Trial("starved", case, program=starved, run={"cycle_limit": 5000}), Trial("good", case)],
    )
    assert output.timeout and verdict.holds, verdict


def core_that_talks_on(ports):
    """Return Verilog of a module with the core's ports: it is done at once and offers decisions for ever."""
    lines = [
        f"{port['direction']} {'reg ' if port['name'] == 'done' else ''}[{port['width'] - 1}:0] {port['name']}"
        for port in ports
    ]
    ones = ("mask_o__valid", "load_i__ready", "param_i__ready", "weight_i__ready")
    values = [
        f"assign {port['name']} = {int(port['name'] in ones)};"
        for port in ports
        if port["direction"] == "output" and port["name"] != "done"
    ]
    text = "module talker(" + ",\n".join(lines) + ");\n" + "\n".join(values)
    return f"{text}\nalways @(posedge clk) done <= start;\nendmodule\n"


def test_core_that_talks_on_is_given_up(small, tmp_path, root):
    verilog = verilog_cache.cached_verilog("small", root / "build/verilog")
    ports = json.loads(verilog.with_suffix(".json").read_text())["ports"]
    (tmp_path / "talker.v").write_text(core_that_talks_on(ports))
    (tmp_path / "talker.json").write_text(json.dumps({"top": "talker", "ports": ports}))
    simulator = core.build(tmp_path / "talker.v", tmp_path / "verilator")
    case = random_case(1, in_ch=8, out_ch=16, groups=2, size=(2, 2))
    program = compile_layer(case.layer, case.ifmap, None, small.params, "gated")
    [output] = simulator.run([Run(program=program, cycle_limit=5000)], tmp_path / "runs")
    assert output.timeout and output.done_cycle and output.stray > 1000
    broken = compare(program, output, case.golden("gated"), None, "gated").broken
    assert any("pass must end" in text for text in broken)


def test_verilog_is_generated_anew_if_its_generator_changes(monkeypatch, tmp_path):
    for folder in ("gen", "hw"):
        (tmp_path / folder).mkdir()
    (tmp_path / "gen/verilog.py").write_text("one")
    monkeypatch.setattr(verilog_cache, "_ROOT", tmp_path)
    before = verilog_cache._digest(configuration("small"), "core")
    assert verilog_cache._digest(configuration("small"), "core") == before
    (tmp_path / "gen/verilog.py").write_text("another")
    assert verilog_cache._digest(configuration("small"), "core") != before


@pytest.mark.parametrize("stamp", [b"\xff\xfe", b"", None])
def test_verilog_is_generated_anew_if_its_stamp_is_of_no_use(stamp, monkeypatch, tmp_path):
    written = []

    def write(config, folder, top):
        name = config.name
        written.append(name)
        for suffix in (".v", ".json"):
            (folder / f"{name}{suffix}").write_text("text")
        return folder / f"{name}.v"

    monkeypatch.setattr(verilog_cache.verilog, "write", write)
    for _ in range(2):
        verilog_cache.cached_verilog("small", tmp_path)
    assert written == ["small"]
    if stamp is None:
        (tmp_path / "small.sources").unlink()
    else:
        (tmp_path / "small.sources").write_bytes(stamp)
    for _ in range(2):
        verilog_cache.cached_verilog("small", tmp_path)
    assert written == ["small"] * 2


@pytest.fixture
def builds(monkeypatch):
    """Names of the folders that were built, by a stand-in."""
    done = []

    def compile_nothing(target, toplevel, *others):
        done.append(target.name)
        (target / toplevel).write_text("binary")
        (target / toplevel).chmod(0o755)

    monkeypatch.setattr(build, "_compile", compile_nothing)
    monkeypatch.setattr(build, "verilator_version", lambda: "1")
    return done


def test_simulator_is_built_anew_for_another_cocotb(builds, monkeypatch, tmp_path):
    for version in ("1", "1", "2"):
        monkeypatch.setattr(build, "package_version", lambda name, version=version: version)
        build.build_bench("x", "x", [], "", tmp_path)
    assert len(builds) == len(set(builds)) == 2


def test_quick_build_is_another_one(builds, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "package_version", lambda name: "1")
    for quick in (False, True, True):
        build.build_bench("x", "x", [], "", tmp_path, quick=quick)
    assert len(builds) == len(set(builds)) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.chmod(0o644),
        lambda path: path.write_text("another binary"),
        lambda path: (path.parent / "complete").write_text(""),
    ],
    ids=["gone", "no right", "foreign", "old mark"],
)
def test_simulator_is_built_anew_if_its_binary_is_of_no_use(damage, builds, tmp_path):
    for _ in range(2):
        folder, _ = build.build_bench("x", "x", [], "", tmp_path)
    assert len(builds) == 1
    damage(folder / "x")
    for _ in range(2):
        build.build_bench("x", "x", [], "", tmp_path)
    assert len(builds) == 2 and os.access(folder / "x", os.X_OK)


def test_foreign_binary_is_not_run(builds, tmp_path):
    folder, _ = build.build_bench("x", "x", [], "", tmp_path)
    (folder / "x").write_text("#!/bin/sh\necho wrong\n")
    with pytest.raises(build.SimulationError, match="/x must be what was built there; remove "):
        build.run_bench(folder, "x", "bench", tmp_path / "work", {}, tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_foreign_objects_of_the_library_are_not_used(tmp_path):
    objects, copies = tmp_path / "objects", tmp_path / "copies"
    for folder in (objects, copies):
        folder.mkdir()
    (objects / "verilated.o").write_text("one")
    build._keep_objects(objects, tmp_path / "support")
    build._kept_objects(tmp_path / "support", copies)
    assert (copies / "verilated.o").read_text() == "one"
    (copies / "verilated.o").unlink()
    (tmp_path / "support/verilated.o").write_text("two")
    build._kept_objects(tmp_path / "support", copies)
    assert not list(copies.iterdir())


def alive(process):
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_stopped_scenario_leaves_no_simulator_behind(monkeypatch, tmp_path):
    """A shell stands for the runner, what it starts for the simulator."""
    script, note = tmp_path / "python", tmp_path / "note"
    script.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! > {note}.part\nmv {note}.part {note}\nwait\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    running = system.NetworkSimulator(tmp_path, 0.0, 4).start(os.getcwd, (), tmp_path / "work")
    limit = time.monotonic() + 60
    while not note.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    simulator = int(note.read_text())
    assert alive(simulator)
    running.stop()
    while alive(simulator) and time.monotonic() < limit:
        time.sleep(0.02)
    assert running.ended and not alive(simulator)
    running.stop()  # nothing is left to stop
