"""Builds and simulations do not depend on what surrounds them: variables of the caller, names of folders."""

import os
import shutil

import pytest

from cdgate import tools
from sim.plan.cases import random_case
from sim.run import build
from tests.sim.bench import Trial, check
from tests.sim.system import system_scenarios as scenarios
from verification.networks.one_layer import one_layer

#: Variables that end or change a simulation, a build or a Python that gets them.
HOSTILE = {
    "COCOTB_TEST_FILTER": "nothing",
    "COCOTB_TESTCASE": "nothing",
    "COCOTB_TEST_MODULES": "nothing",
    "COCOTB_USER_COVERAGE": "1",
    "COVERAGE": "1",
    "GPI_USERS": "nothing",
    "GUI": "1",
    "LIBPYTHON_LOC": "nothing",
    "MAKEFLAGS": "n",
    "PYTHONHOME": "nothing",
    "PYTHONOPTIMIZE": "2",
    "PYTHONPATH": "nothing",
    "PYTHONSAFEPATH": "1",
    "SIM_CMD_PREFIX": "nothing",
    "VERILATOR_ROOT": "nothing",
    "WAVES": "1",
}

TINY = """
module tiny;
    logic [7:0] number /* verilator public_flat_rw */ = 0;
    string dir;
    integer file;
    initial begin
        if (!$value$plusargs("dir=%s", dir)) $fatal(1, "+dir is missing");
        file = $fopen({dir, "/begun"}, "w");
        $fclose(file);
        number = `NUMBER;
    end
endmodule
"""


@pytest.fixture
def hostile(monkeypatch):
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)


def test_core_bench(small, hostile, tmp_path):
    check(small.simulator, small.params, tmp_path / "runs", [Trial("any", random_case(1, size=(2, 2)))])


def test_system_bench(small_system, hostile, tmp_path):
    """In this process and beside it."""
    program = one_layer(random_case(32, in_ch=16, size=(2, 2), classes=10), small_system.params)
    arguments = ([program], [{}])
    small_system.simulator.run(scenarios.bit_exact, arguments, tmp_path / "run")
    small_system.simulator.start(scenarios.bit_exact, arguments, tmp_path / "beside").result()


def test_own_variables_and_those_of_coverage_are_handed_on(monkeypatch):
    monkeypatch.setenv("CDGATE_ANY", "1")
    monkeypatch.setenv("COVERAGE_PROCESS_START", "2")
    found = tools.verilator_env()
    assert found["CDGATE_ANY"] == "1" and found["COVERAGE_PROCESS_START"] == "2"


@pytest.fixture
def spaced(tmp_path, monkeypatch):
    """A folder whose name is trouble for GNU make and for shells, in which Verilator and cocotb seem to lie, too."""
    folder = tmp_path / "a b'c #$(d)"
    folder.mkdir()
    for name in ("libs_dir", "share_dir"):
        (folder / name).symlink_to(getattr(build, name))
        monkeypatch.setattr(build, name, folder / name)
    root = folder / "verilator root"
    shutil.copytree(tools._packaged_verilator(), root, copy_function=os.link)  # its command finds the end of a link
    monkeypatch.setattr(tools, "_packaged_verilator", lambda: root)
    monkeypatch.setattr(tools, "_system_verilator", lambda: None)
    monkeypatch.chdir(folder)
    return folder


def test_folder_with_a_space(small, spaced, hostile, monkeypatch, root):
    (spaced / "tiny.sv").write_text('`include "tb_config.svh"\n' + TINY)
    for shared in (root / "build/verilator").glob("verilator-*"):  # half of the work has been done for `small`
        shutil.copytree(shared, spaced / "builds" / shared.name)
    folder, _ = build.build_bench("tiny", "tiny", [spaced / "tiny.sv"], "`define NUMBER 77\n", spaced / "builds")
    work, seen = spaced / "work", spaced / "seen"
    log = spaced / "simulator.log"
    build.run_bench(folder, "tiny", "tests.sim.run.tiny_bench", work, {"CDGATE_SEEN": str(seen)}, log)
    assert seen.read_text() == "77", log.read_text()
    assert (work / "begun").exists()
    again, seconds = build.build_bench("tiny", "tiny", [spaced / "tiny.sv"], "`define NUMBER 77\n", spaced / "builds")
    assert again == folder and seconds == 0


def test_python_without_a_library_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(build.find_libpython, "find_libpython", lambda: None)
    with pytest.raises(build.UserError, match=r"has no shared library, .*install libpython3\.\d+\) or use a Python"):
        build.run_bench(tmp_path, "tiny", "none", tmp_path / "work", {}, tmp_path / "log")
