"""``python -m sim``: reports, exit status, and one line for bad input."""

import fcntl
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import sim.__main__
import sim.plan.layer
from gen.layer.compiler import compile_layer
from sim import engine
from sim.__main__ import main
from sim.check.layer import Outcome
from sim.check.verdict import Verdict
from sim.run import build, core, simulators
from sw_model.integer.checkpoint import save
from sw_model.quantisation.random_network import random_network
from tests.sim.check.mutants import MUTANTS
from tests.sim.inputs import Inputs


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A narrow random network, whose last stages fit the small configuration."""
    path = tmp_path_factory.mktemp("checkpoint") / "narrow.safetensors"
    save(path, random_network(width=0.25, groups=2, seed=3))
    return path


@pytest.fixture
def run(small, checkpoint, tmp_path, monkeypatch, root, capsys):
    """Call the program on the small configuration; return exit status, report or None, and what was printed."""
    monkeypatch.chdir(root)

    def call(layer, *options):
        status = main(
            ["--layer", layer, "--config", "small", "--checkpoint", str(checkpoint), "-o", str(tmp_path), *options]
        )
        path = tmp_path / layer / "report.json"
        return status, json.loads(path.read_text()) if path.exists() else None, capsys.readouterr()

    return call


def test_report(run):
    status, report, printed = run("conv5_2", "--images", "2")
    assert status == 0 and printed.out.endswith("\nbit_exact: true\nverdict: pass\n")
    assert report["schema"] == 1 and report["layer"] == "conv5_2" and report["config"] == "small"
    assert report["command"].startswith("python -m sim --layer conv5_2 --config small")
    assert (report["gate_mode"], report["images"], report["image_names"]) == ("gated", 2, ["cat", "astronaut"])
    assert report["bit_exact"] is True and report["laws_hold"] is True and report["broken_laws"] == []
    for digest in ("checkpoint_sha256", "verilog_sha256"):
        assert len(report[digest]) == 64
    assert {"verilator", "amaranth", "cocotb", "torch"} <= set(report["tools"])
    assert set(report["runs"]) == {"dense", "gated"}
    assert report["stress"]["decisions_checked"] > 0 and report["stress"]["mismatches"] == 0
    for run_report in report["runs"].values():
        assert set(run_report) == {"cycles", "steps", "idle", "outputs_checked", "decisions_checked", "mismatches"}
        assert set(run_report["idle"]) == {"weights", "decision", "output", "input", "start", "end", "pool"}
        assert sum(run_report["steps"].values()) + sum(run_report["idle"].values()) == run_report["cycles"]
        assert run_report["outputs_checked"] == 2 * 128 * 16 and run_report["mismatches"] == 0
    assert report["runs"]["gated"]["decisions_checked"] == report["decisions_checked"] == 2 * 16 * 16
    assert report["runs"]["dense"]["decisions_checked"] == 0
    steps, cycles = report["steps"], report["cycles"]
    assert steps["base"] + steps["conditional"] + steps["skipped"] == steps["dense"]
    assert cycles == {name: result["cycles"] for name, result in report["runs"].items()}
    assert report["outputs_checked"] == 2 * 2 * 128 * 16 and 0 < report["outputs_nonzero"] <= 2 * 128 * 16
    assert math.isclose(report["sparsity"]["output"], 1 - report["fired"] / report["decisions_checked"])
    speedup = report["speedup"]
    assert math.isclose(speedup["theoretical"], steps["dense"] / (steps["base"] + steps["conditional"]))
    assert math.isclose(speedup["realised"], cycles["dense"] / cycles["gated"])
    assert math.isclose(speedup["ratio"], speedup["realised"] / speedup["theoretical"])
    assert math.isclose(report["efficiency"]["dense"], steps["dense"] / cycles["dense"])
    assert set(report["wall_seconds"]) == {"generate", "build", "simulate"}


def test_base_mode_and_batch(run):
    status, report, _ = run("conv5_2", "--mode", "base", "--batch", "3")
    assert status == 0 and report["images"] == 3
    assert set(report["runs"]) == {"dense", "base"} and report["cycles"]["gated"] == report["runs"]["base"]["cycles"]
    assert report["steps"]["conditional"] == report["fired"] == 0 and report["sparsity"] == {"output": 1.0, "mac": 1.0}


def test_dense_mode(run):
    status, report, _ = run("conv5_4", "--mode", "dense")
    assert status == 0 and set(report["runs"]) == {"dense"}
    assert report["speedup"] == {"theoretical": 1.0, "realised": 1.0, "ratio": 1.0}


def test_channel_mode(run):
    status, report, printed = run("conv5_2", "--mode", "channel")
    assert status == 0 and report["gate_mode"] == "channel" and report["decisions_checked"] == 128 * 16
    # The clock sees slices, theory counts channels.
    assert report["slices_fired"] > 1 - report["sparsity"]["output"] > 0
    assert report["speedup"]["ratio"] < 1 and "of the channels fire, but" in printed.out
    # A layer without a gate decides nothing.
    status, report, printed = run("down5", "--mode", "channel")
    assert status == 0 and report["decisions_checked"] == 0 and "channels fire" not in printed.out


def test_forced_mode(run, tmp_path):
    status, report, _ = run("conv5_2", "--mode", "forced")
    assert status == 0 and report["gate_mode"] == "forced" and report["decisions_checked"] == 16 * 16
    mask = np.zeros((1, 16, 4, 4), dtype=bool)
    mask[0, 3, 1, 2] = True
    np.save(tmp_path / "mask.npy", mask)
    status, report, _ = run("conv5_2", "--mode", "forced", "--mask", str(tmp_path / "mask.npy"))
    assert status == 0 and report["fired"] == 1


@pytest.mark.parametrize(
    "values, text",
    [
        (
            np.zeros((1, 16, 4, 5), dtype=bool),
            "mask must be of shape (1, 16, 4, 4) or (1, 128, 4, 4), not (1, 16, 4, 5)",
        ),
        (np.zeros((1, 16, 4, 4)), "mask must be a bool array, not float64"),
    ],
)
def test_mask_wrong(run, tmp_path, values, text):
    np.save(tmp_path / "mask.npy", values)
    status, report, printed = run("conv5_2", "--mode", "forced", "--mask", str(tmp_path / "mask.npy"))
    assert status == 2 and report is None and text in printed.err and printed.err.count("\n") == 1


@pytest.mark.parametrize("layer, outputs", [("down5", 128 * 16), ("fc", 10)])
def test_ungated_layers(run, layer, outputs):
    status, report, _ = run(layer)
    assert status == 0 and report["outputs_checked"] == 2 * outputs
    assert report["decisions_checked"] == report["fired"] == 0 and report["sparsity"] == {"output": 0.0, "mac": 0.0}
    assert report["speedup"]["theoretical"] == 1.0


def test_own_image(run, tmp_path):
    path = tmp_path / "own.png"
    Image.fromarray(np.arange(40 * 50 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 50, 3)).save(path)
    status, report, _ = run("conv5_2", "--image", str(path))
    assert status == 0 and report["image_names"] == [str(path)]


def wrong_program(layer, ifmap, residual, params, mode, **options):
    """Compile a layer so that one slice of it always fires in gated mode."""
    program = compile_layer(layer, ifmap, residual, params, mode, **options)
    return MUTANTS["decision_forced"](program) if mode == "gated" else program


def test_mismatch_is_reported(run, monkeypatch):
    monkeypatch.setattr(sim.plan.layer, "compile_layer", wrong_program)
    status, report, printed = run("conv5_2")
    assert status == 1 and printed.out.splitlines()[-2] == "bit_exact: false"
    assert printed.out.splitlines()[-1] == f"verdict: {report['verdict']}"
    assert re.fullmatch(rf"fail: mismatches: {report['mismatches']}; laws: \d+ broken; stress: .*", report["verdict"])
    assert report["bit_exact"] is False and report["laws_hold"] is False
    assert report["mismatches"] == report["runs"]["gated"]["mismatches"] > 0 == report["runs"]["dense"]["mismatches"]
    assert "decision mismatch: layer conv5_2, image 0, row " in printed.out
    assert f"{report['mismatches']} mismatches, " in printed.out and "broken law: layer conv5_2, gated" in printed.out


def test_picture(run, tmp_path):
    status, _, printed = run("conv5_2")
    assert status == 0 and f"picture: {tmp_path}/conv5_2/mask.png" in printed.out.replace("\n", "")
    with Image.open(tmp_path / "conv5_2/mask.png") as picture:
        assert picture.format == "PNG"


def test_picture_that_cannot_be_written_leaves_the_result(run, tmp_path):
    (tmp_path / "conv5_2/mask.png").mkdir(parents=True)
    status, report, printed = run("conv5_2")
    assert status == 2 and report["bit_exact"] is True and printed.out.endswith("\nbit_exact: true\nverdict: pass\n")
    assert printed.err == f"sim: {tmp_path}/conv5_2/mask.png cannot be written: Is a directory\n"
    assert not list((tmp_path / "conv5_2").glob(".mask*"))


def test_waves(run, tmp_path):
    status, _, printed = run("conv5_2", "--waves", "--waves-cycles", "50")
    assert status == 0 and (tmp_path / "conv5_2/waves/waves.vcd").stat().st_size > 10_000
    said = printed.out.splitlines()[-7:]
    assert said[0] == (
        "recorded: cycles 1 to 50 of layer conv5_2, gated, image 0: the start of a pass in which nothing differs"
    )
    assert said[1:] == [
        *(f"waves: {tmp_path}/conv5_2/waves/waves.{suffix}" for suffix in ("vcd", "gtkw", "sucl")),
        said[-3],
        "bit_exact: true",
        "verdict: pass",
    ]
    assert said[-3].startswith("conv5_2: ") and said[-3].endswith(" under stress, all equal")


def test_waves_of_a_mismatch(run, monkeypatch):
    monkeypatch.setattr(sim.plan.layer, "compile_layer", wrong_program)
    status, _, printed = run("conv5_2", "--waves", "--waves-cycles", "50")
    assert status == 1 and "waves.vcd\n" in printed.out
    assert re.search(r"recorded: cycles \d+ to \d+ of layer conv5_2, gated, image 0: decision mismatch: ", printed.out)


def test_waves_that_cannot_be_written_leave_the_result(run, tmp_path):
    (tmp_path / "conv5_2").mkdir()
    (tmp_path / "conv5_2/waves").touch()
    status, report, printed = run("conv5_2", "--waves", "--waves-cycles", "50")
    assert status == 2 and report["bit_exact"] is True and printed.out.endswith("\nbit_exact: true\nverdict: pass\n")
    assert printed.err.splitlines()[-1] == f"sim: waves {tmp_path}/conv5_2/waves cannot be written: Not a directory"
    assert "waves: " not in printed.out and not (tmp_path / "conv5_2/.waves").exists()


@pytest.mark.parametrize(
    "options, text",
    [
        (["--layer", "conv9_1"], "layer must be one of conv1, conv2_1, "),
        (["--mode", "fast"], "mode must be one of gated, dense, base, channel, forced, not 'fast'"),
        (["--mask", "mask.npy"], "a mask needs mode forced and one layer"),
        (
            ["--mode", "forced", "--mask", "nowhere.npy"],
            "file, not nowhere.npy: No such file",
        ),
        (["--mode", "forced", "--mask", "pyproject.toml"], "not pyproject.toml: it is of another kind, or broken"),
        (["--config", "huge"], "configuration must be one of full, half, small, tiny or a file that ends with .toml, "),
        (["--image", "nowhere.png"], "image nowhere.png must be an existing file"),
        (["--image", "pyproject.toml"], "image pyproject.toml must be readable as PNG or JPEG"),
        (["--image", "a.png", "--images", "2"], "number of images must be 1 with an image file, not 2"),
        (["--images", "0"], "number of default images must be 1 to 16, not 0"),
        (["--batch", "0"], "batch must be at least 1, not 0"),
        (["--waves-cycles", "0"], "number of cycles to record must be 1 to 200000, not 0"),
        (["--images", "many"], "argument --images: invalid int value: 'many'"),
        (["--checkpoint", ""], "argument --checkpoint: it must be a path, not an empty name"),
        (["--checkpoint", "nowhere"], "checkpoint nowhere must be an existing file"),
        (["--checkpoint", "pyproject.toml"], "checkpoint pyproject.toml must be a whole safetensors file"),
        (["--layer", "conv2_1"], "layer conv2_1: input channels per group must be a multiple of 16, not 16 / 2"),
        (["--layer", "conv5_2", "--batch", "9"], "layer conv5_2: images in a pass must be 1 to 8, not 9"),
        (
            ["--layer", "conv5_2", "--images", "1", "--batch", "9"],
            "batch, of so many images, must be a whole number from 1 to 1, not 9",
        ),
        (["--layer", "fc", "--mode", "forced", "--mask", "{mask}"], "layer fc: a mask needs a gated layer"),
    ],
)
def test_bad_input(checkpoint, monkeypatch, root, capsys, tmp_path, options, text):
    monkeypatch.chdir(root)
    np.save(tmp_path / "mask.npy", np.ones((1, 2, 1, 1), dtype=bool))
    options = [option.format(mask=tmp_path / "mask.npy") for option in options]
    if "--checkpoint" not in options:
        options = ["--checkpoint", str(checkpoint), *options]
    try:
        status = main(["-o", str(tmp_path), *options])
    except SystemExit as error:  # of argparse
        status = error.code
    printed = capsys.readouterr()
    assert status == 2 and not printed.out
    assert printed.err.startswith("sim: ") and text in printed.err and printed.err.count("\n") == 1


def header(text):
    """Return the start of an .npy file whose header is a text."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 no archive",
        b"\x93NUMPY",
        header("{'descr': '|b1', 'shape': (1"),
        header("{'descr': '|b1'}"),
        header("{'descr': '|b1', 'fortran_order': False, 'shape': (1000000000000000000,)}"),
        header(f"{{'descr': '|b1', 'fortran_order': False, 'shape': ({10**30},)}}"),
        header("{'descr': '|b1', 'fortran_order': False, 'shape': (5,)}") + b"\0",
    ],
)
def test_mask_file_broken(checkpoint, monkeypatch, root, capsys, tmp_path, content):
    monkeypatch.chdir(root)
    mask = tmp_path / "mask.npy"
    mask.write_bytes(content)
    options = ["--layer", "conv5_2", "--config", "small", "--mode", "forced", "--mask", str(mask)]
    assert main([*options, "--checkpoint", str(checkpoint), "-o", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"sim: mask must be a readable .npy file, not {mask}: it is ")
    assert printed.err.count("\n") == 1 and not printed.out


@pytest.fixture
def without_engine(checkpoint, monkeypatch, root, tmp_path, capsys):
    """Call the program with a function in place of the simulation; return as `run`."""
    monkeypatch.chdir(root)
    files = Inputs(tmp_path, checkpoint)
    monkeypatch.setattr(simulators, "cached_verilog", lambda *args, **options: files.verilog)
    monkeypatch.setattr(core, "build", lambda *args, **options: None)

    def call(layer, execute):
        monkeypatch.setattr(engine, "execute_layers", execute)
        status = main(
            ["--layer", layer, "--config", "small", "--checkpoint", str(files.checkpoint), "-o", str(tmp_path)]
        )
        path = tmp_path / layer / "report.json"
        return status, json.loads(path.read_text()) if path.is_file() else None, capsys.readouterr()

    call.files = files
    return call


def right_outcomes(passes, simulator, work):
    """Return what a simulation finds if nothing differs."""
    work.mkdir(parents=True)
    counters = {"cycles": 10, "base_steps": 5, "cond_steps": 5, "decisions": 0, "fired": 0, "idle": [0] * 7}
    return [Outcome(one, SimpleNamespace(counters=counters), Verdict(outputs_checked=1)) for one in passes]


def test_digests_are_of_what_was_simulated(without_engine):
    files = without_engine.files
    before = files.digests()
    status, report, _ = without_engine("conv5_2", files.replaced_during(right_outcomes))
    assert status == 0 and {name: report[name] for name in before} == before


def test_failed_run_leaves_no_old_report(without_engine):
    def fail(*args):
        raise build.SimulationError("simulator failed")

    assert without_engine("conv5_2", right_outcomes)[1] is not None
    status, report, printed = without_engine("conv5_2", fail)
    assert status == 1 and report is None and printed.err == "sim: simulator failed\n"


def fail_to_build(*args, **options):
    raise build.SimulationError("build failed")


@pytest.mark.parametrize("layer", ["conv5_2", "all"])
@pytest.mark.parametrize(
    "status, options",
    [
        (2, ["--checkpoint", "nowhere"]),
        (2, ["--image", "nowhere.png"]),
        (2, ["--config", "huge"]),
        (2, ["--waves-cycles", "0"]),
        (2, ["--mode", "fast"]),
        (2, ["--batch", "9"]),
        (2, ["--config", "full"]),  # conv2_1 does not fit; conv5_2 does, and the build fails
        (1, ["--layer", "conv5_2"]),
    ],
)
def test_run_that_fails_early_leaves_no_old_report(
    monkeypatch, root, capsys, tmp_path, checkpoint, layer, status, options
):
    monkeypatch.chdir(root)
    monkeypatch.setattr(core, "build", fail_to_build)
    monkeypatch.setattr(simulators, "cached_verilog", lambda *args, **kept: root / "pyproject.toml")
    asked = ["--layer", layer, "--config", "small", "--checkpoint", str(checkpoint), "-o", str(tmp_path)]
    if options[0] == "--layer" and layer == "all":
        options = []
    if options == ["--config", "full"] and layer != "all":
        status = 1
    gone = {"conv5_2"} if layer == "conv5_2" else {"all", "conv5_2", "conv1"}
    reports = {name: tmp_path / name / "report.json" for name in ("all", "conv5_2", "conv1", "network", "others")}
    for name, path in reports.items():
        path.parent.mkdir()
        path.write_text(json.dumps({"layer": "mine" if name == "others" else name, "verilog_sha256": ""}))
    with pytest.raises(SystemExit):
        main([*asked, "--images", "many"])  # what cannot be read asks for nothing
    assert all(path.exists() for path in reports.values())
    assert main([*asked, *options]) == status, capsys.readouterr().err
    assert {name for name, path in reports.items() if not path.exists()} == gone


@pytest.mark.parametrize("layer", ["network", "..", "../conv5_2", ""])
def test_report_that_is_no_layer_s_stays(checkpoint, monkeypatch, root, tmp_path, layer):
    monkeypatch.chdir(root)
    kept = [tmp_path / name / "report.json" for name in ("conv5_2", "sim/network", "sim/conv5_2", "sim", ".")]
    for path in kept:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
    options = ["--layer", layer, "--config", "small", "--checkpoint", str(checkpoint), "-o", str(tmp_path / "sim")]
    assert main(options) == 2 and all(path.exists() for path in kept)


def test_one_run_at_a_time_in_a_folder(without_engine):
    """Another process could not take the lock while passes are simulated."""

    def execute(*args):
        with (without_engine.files.folder / "conv5_2/.lock").open("w") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return right_outcomes(*args)

    assert without_engine("conv5_2", execute)[0] == 0


def test_folder_that_is_a_file(without_engine):
    (without_engine.files.folder / "conv5_2").touch()
    status, _, printed = without_engine("conv5_2", right_outcomes)
    assert (
        status == 2
        and printed.err
        == f"sim: {without_engine.files.folder}/conv5_2 must be a folder that can be written: File exists\n"
    )
