"""`sim.network` on the small configuration: its report, bad input, and runs that fail."""

import dataclasses
import fcntl
import json
import math
import re

import numpy as np
import pytest

from cdgate.errors import UserError
from hw.interface.registers import COUNTERS
from sim import engine, network
from sim.check import model
from sim.check.layer import ModeResult
from sim.check.network import NetworkResult
from sim.check.verdict import Verdict
from sim.plan import network as plan_module
from sim.run import build, simulators, system
from sw_model.data.sources import load_data
from sw_model.integer.checkpoint import save
from sw_model.quantisation.random_network import random_network
from tests.sim.inputs import Inputs

LAYERS = [
    "conv1",
    "conv2_1",
    "conv2_2",
    "conv3_1",
    "down3",
    "conv3_2",
    "conv4_1",
    "down4",
    "conv4_2",
    "conv5_1",
    "down5",
    "conv5_2",
    "fc",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "narrow.safetensors"
    save(path, random_network(width=0.25, groups=2, blocks=1, seed=21))
    return path


@pytest.fixture
def run(small_system, checkpoint, tmp_path, monkeypatch, root, capsys):
    """Call the program on the small configuration; return exit status, report or None, and what was printed."""
    monkeypatch.chdir(root)

    def call(*options):
        status = network.main(["--config", "small", "--checkpoint", str(checkpoint), "-o", str(tmp_path), *options])
        path = tmp_path / "network/report.json"
        return status, json.loads(path.read_text()) if path.exists() else None, capsys.readouterr()

    return call


def test_report(run, tmp_path):
    status, report, printed = run("--images", "2")
    assert status == 0 and printed.out.endswith("\nbit_exact: true\nverdict: pass\n")
    assert report["verdict"] == "pass" and report["model_bounds"] == model.BOUNDS
    assert all(layer["verdict"] == "pass" for layer in report["layers"])
    assert report["schema"] == 1 and report["layer"] == "network" and report["images"] == 2
    assert report["command"].startswith("python -m sim.network --config small")
    assert report["bit_exact"] is True and report["laws_hold"] is True and report["mismatches"] == 0
    assert [layer["layer"] for layer in report["layers"]] == LAYERS and report["logits_checked"] == 2 * 2 * 10
    assert set(report["runs"]) == {"dense", "gated"}
    for mode, total in report["runs"].items():
        assert sum(total["steps"].values()) + sum(total["idle"].values()) == total["cycles"]
        parts = [layer["runs"][mode] for layer in report["layers"]]
        assert sum(part["cycles"] for part in parts) == total["cycles"]
        assert sum(part["outputs_checked"] for part in parts) == total["outputs_checked"]
    outputs = 2 * (2 * (3 * 16 * 1024 + 3 * 32 * 256 + 3 * 64 * 64 + 3 * 128 * 16) + 20)
    assert report["outputs_checked"] == outputs
    assert report["decisions_checked"] == 2 * 2 * (2 * 1024 + 4 * 256 + 8 * 64 + 16 * 16)
    speedup, gated = report["speedup"], report["gated_layers"]["speedup"]
    assert math.isclose(speedup["ratio"], speedup["realised"] / speedup["theoretical"])
    assert gated["theoretical"] > speedup["theoretical"] > 1 and gated["ratio"] > 0.9
    memory = report["memory"]
    assert memory["bytes_per_cycle_limit"] == 8 and memory["latency_cycles"] == 40
    for mode in ("dense", "gated"):
        bus = memory[mode]
        assert bus["bytes_read"] == sum(bus[name] for name in bus if name.endswith("_read") and name != "bytes_read")
        assert bus["bytes_written"] == bus["maps_written"] + bus["logits_written"]
        layers = [layer["memory"][mode] for layer in report["layers"]]
        assert sum(layer["weights_read"] for layer in layers) == bus["weights_read"]
        assert report["bus"][mode]["violations"] == {} and report["bus"][mode]["unknown_reads"] == 0
        assert report["bus"][mode]["most_reads"] <= 8
    for mode in ("dense", "gated"):  # the cycle model
        bound = model.BOUNDS["network"]
        assert abs(report["predicted_cycles"][mode] / report["runs"][mode]["cycles"] - 1) < bound
        for layer in report["layers"]:
            off = abs(layer["predicted_cycles"][mode] / layer["runs"][mode]["cycles"] - 1)
            assert off < model.BOUNDS["layer"], layer["layer"]
    assert [one["image"] for one in report["predictions"]] == ["cat", "astronaut"]
    assert all(one["class"] == one["reference"] and one["label"] is None for one in report["predictions"])
    assert report["nominal_macs_per_mac_and_cycle"]["gated"] > report["nominal_macs_per_mac_and_cycle"]["dense"] > 0.5
    assert (tmp_path / "network/cycles.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "network/runs").exists()
    assert "cat: " in printed.out and "of it" in printed.out


def test_gated_run_alone_with_slow_memory(run):
    status, report, printed = run("--images", "1", "--runs", "gated", "--bandwidth", "1", "--latency", "100")
    assert status == 0 and set(report["runs"]) == {"gated"} and set(report["cycles"]) == {"gated"}
    assert "realised" not in report["speedup"]
    bound = {layer["layer"] for layer in report["layers"] if layer["memory"]["gated"]["bandwidth_bound"]}
    assert "conv5_2" in bound and "conv2_1" not in bound
    slow = next(layer for layer in report["layers"] if layer["layer"] == "conv5_2")
    assert slow["runs"]["gated"]["idle"]["weights"] > 0 and " memory " in printed.out
    assert report["model_bounds"] is None and "off, which is not judged with this memory\n" in printed.out


@pytest.mark.parametrize(
    "options, text",
    [
        (["--images", "0"], "number of images must be 1 to 16 from 0 on, as there are 16 photographs, not 0"),
        (
            ["--offset", "3", "--images", "0"],
            "number of images must be 1 to 13 from 3 on, as there are 16 ",
        ),
        (["--offset", "9"], "number of images must be 1 to 7 from 9 on, as there are 16 photographs, not 8"),
        (["--offset", "-1"], "first image must be 0 to 15, as there are 16 photographs, not -1"),
        (["--offset", "16", "--images", "1"], "first image must be 0 to 15, as there are 16 photographs, not 16"),
        (["--offset", "1e3"], "argument --offset: invalid int value: '1e3'"),
        (["--data", "digits", "--offset", "-1"], "first image must be 0 to 358, as there are 359 test "),
        (
            ["--data", "digits", "--offset", "359"],
            "first image must be 0 to 358, as there are 359 test ",
        ),
        (
            ["--data", "digits", "--offset", "355"],
            "number of images must be 1 to 4 from 355 on, as there ",
        ),
        (["--runs", "dense"], "runs must be one of both, gated, not 'dense'"),
        (["--bandwidth", "0"], "bandwidth must be a whole number from 1 to 1024, not 0"),
        (["--latency", "0"], "latency must be a whole number from 1 to 100000, not 0"),
        (
            ["--config", "huge"],
            "configuration must be one of full, half, small, tiny or a file that ends with .toml, not 'huge'",
        ),
        (["--checkpoint", "nowhere"], "checkpoint nowhere must be an existing file"),
        (["--data", "nowhere"], "data must be 'digits' or a folder with CIFAR-10"),
        (["--config", "full"], "layer conv2_1: input channels per group must be a multiple of 16, not 16 / 2"),
    ],
)
def test_bad_input(checkpoint, monkeypatch, root, capsys, tmp_path, options, text):
    monkeypatch.chdir(root)
    try:
        status = network.main(["--checkpoint", str(checkpoint), "--config", "small", "-o", str(tmp_path), *options])
    except SystemExit as end:  # of the parser
        status = end.code
    printed = capsys.readouterr()
    assert status == 2 and not printed.out and printed.err.count("\n") == 1
    assert printed.err.startswith("sim.network: ") and text in printed.err


@pytest.mark.parametrize(
    "data, text",
    [
        ("nowhere", "data must be 'digits' or a folder with CIFAR-10"),
        ("digits", "data must be photographs with a network of grey images, not digits, which are in colour"),
    ],
)
def test_data_of_a_grey_network(monkeypatch, root, capsys, tmp_path, data, text):
    monkeypatch.chdir(root)
    assert network.main(["--net", "lenet5", "--data", data, "-o", str(tmp_path)]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("data", [None, "digits"])
def test_first_image(checkpoint, monkeypatch, root, tmp_path, data):
    """Names, pixels and labels start at the number that is given."""
    taken = []

    def run(self, network, images, *, names, labels, **options):
        taken.append((names, images, labels))
        raise UserError("enough")

    monkeypatch.setattr(engine.Engine, "run", run)
    monkeypatch.chdir(root)
    options = ["--checkpoint", str(checkpoint), "-o", str(tmp_path), *(["--data", data] if data else [])]
    for first, count in ((0, 8), (5, 3), (7, 1)):
        assert network.main([*options, "--offset", str(first), "--images", str(count)]) == 2
    (names, images, labels), *others = taken
    assert len(set(names)) == 8 and len({image.tobytes() for image in images}) == 8
    assert names[:2] == (["digits of scikit-learn, 16x16, test 0", names[1]] if data else ["cat", "astronaut"])
    if data:
        digits = load_data(data)
        assert labels == [digits.classes[int(label)] for label in digits.test_labels[:8]] and len(set(labels)) > 2
    for (some, pixels, told), part in zip(others, (slice(5, 8), slice(7, 8)), strict=True):
        assert (some, told) == (names[part], labels[part]) and np.array_equal(pixels, images[part])


def test_help_names_the_data_sets(capsys):
    with pytest.raises(SystemExit):
        network.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(name in text for name in ("digits", "CIFAR-10,", "CIFAR-100", "train/ and val/"))


def spoiled(monkeypatch, region_name, at):
    """Make the host write a byte of a region wrong."""
    load = plan_module.loaded

    def wrong(program):
        found = load(program)
        if region_name not in {region.name for region in program.image}:  # the stress network
            return found
        region = program.image[region_name]
        data = bytearray(region.content)
        data[at] ^= 64
        return dataclasses.replace(
            found,
            regions=tuple(
                (address, bytes(data) if address == region.address else content) for address, content in found.regions
            ),
        )

    monkeypatch.setattr(plan_module, "loaded", wrong)


def test_mismatch_is_reported(run, monkeypatch, tmp_path):
    spoiled(monkeypatch, "weights conv4_2", 5)
    status, report, printed = run("--images", "1", "--runs", "gated")
    assert status == 1 and printed.out.splitlines()[-2] == "bit_exact: false"
    assert printed.out.splitlines()[-1] == f"verdict: {report['verdict']}"
    assert report["verdict"].startswith(f"fail: mismatches: {report['mismatches']}")
    assert report["bit_exact"] is False and report["mismatches"] > 0
    wrong = {layer["layer"]: layer["mismatches"] for layer in report["layers"]}
    assert wrong["conv4_1"] == 0 < wrong["conv4_2"]
    assert " mismatch: layer conv4_2, image 0, row " in printed.out and "mismatches, 20 of them shown" in printed.out
    assert (tmp_path / "network/runs/gated/simulator.log").exists()  # and the traces


def test_engine_that_does_not_count_a_cause_is_found(run, small_system, monkeypatch, tmp_path):
    """Cycles that wait for weights are left out, of the total, too: all sums still come out."""
    source = simulators.cached_verilog("small", top="system")
    text = source.read_text()
    [waits] = re.findall(r"\n    idle_weights_event <= (\S+) ;", text)
    text = text.replace(f"idle_weights_event <= {waits} ;", "idle_weights_event <= 1'h0;")
    text, count = re.subn(r"(\n    cycles_event <= \S+) ;", lambda found: f"{found[1]} & ~{waits} ;", text)
    assert count == 1
    mutant = tmp_path / "mutant.v"
    mutant.write_text(text)
    mutant.with_suffix(".json").write_bytes(source.with_suffix(".json").read_bytes())
    monkeypatch.setattr(simulators, "cached_verilog", lambda *args, **options: mutant)
    status, report, printed = run("--images", "1", "--runs", "gated", "--bandwidth", "1")
    last = printed.out.splitlines()[-2:]
    assert status == 1 and last == ["bit_exact: true", f"verdict: {report['verdict']}"]
    assert report["verdict"].startswith("fail: ") and "; clock: layer " in report["verdict"]
    assert report["bit_exact"] is True
    assert report["laws_hold"] is False and all("the testbench's" in law for law in report["broken_laws"])
    wrong = {layer["layer"] for layer in report["layers"] if layer["verdict"] != "pass"}
    assert "conv5_2" in wrong and "broken law: gated: cycles of the run must be the testbench's" in printed.out


def test_cycle_model_that_is_too_far_off_is_found(run, monkeypatch):
    monkeypatch.setattr(model, "BOUNDS", {"layer": 0.0002, "network": 0.01})
    monkeypatch.setattr(model, "MARGIN", 0)
    options = ("--images", "1", "--runs", "gated")
    status, report, printed = run(*options)
    assert status == 1 and report["laws_hold"] is True and report["bit_exact"] is True
    assert report["verdict"].startswith("fail: model: layer ") and "\ncycle model: layer " in printed.out
    assert printed.out.endswith(f"\nbit_exact: true\nverdict: {report['verdict']}\n")
    status, report, _ = run(*options, "--bandwidth", "4")
    assert status == 0 and report["verdict"] == "pass"


def test_engine_that_stops_is_reported(run, monkeypatch):
    spoiled(monkeypatch, "program", 64 * 3 + 5)
    status, report, printed = run("--images", "1")
    assert status == 1 and report is None
    assert printed.err.splitlines()[-1] == "sim.network: engine stopped at instruction 3: OPCODE"


@pytest.fixture
def without_engine(checkpoint, tmp_path, monkeypatch, root, capsys):
    """Call the program with a function in place of the simulation; return as `run`."""
    monkeypatch.chdir(root)
    files = Inputs(tmp_path, checkpoint)
    monkeypatch.setattr(simulators, "cached_verilog", lambda *args, **options: files.verilog)
    monkeypatch.setattr(system, "build", lambda *args, **options: None)

    def call(execute):
        monkeypatch.setattr(engine, "execute_network", execute)
        status = network.main(
            [
                "--config",
                "small",
                "--images",
                "1",
                "--runs",
                "gated",
                "--checkpoint",
                str(files.checkpoint),
                "-o",
                str(tmp_path),
            ]
        )
        path = tmp_path / "network/report.json"
        return status, json.loads(path.read_text()) if path.exists() else None, capsys.readouterr()

    call.files = files
    return call


def right_results(simulator, plans, stress, settings, work, say):
    """Return what a simulation finds if nothing differs."""
    work.mkdir(parents=True)
    found = {}
    for mode, one in plans.items():
        layers = {
            name: ModeResult(
                cycles=count.base + count.conditional,
                base_steps=count.base,
                cond_steps=count.conditional,
                count=count,
                verdict=Verdict(outputs_checked=1),
            )
            for name, count in one.counts.items()
        }
        counters = dict.fromkeys((name for name, _ in COUNTERS), 1)
        report = dict.fromkeys(("read_bursts", "write_bursts", "most_reads", "most_writes", "unknown_reads"), 0)
        found[mode] = NetworkResult(layers, Verdict(), np.zeros((1, 10), dtype=np.int64), counters, report)
    return found


def test_digests_are_of_what_was_simulated(without_engine):
    files = without_engine.files
    before = files.digests()
    status, report, _ = without_engine(files.replaced_during(right_results))
    assert status == 0 and {name: report[name] for name in before} == before


def test_failed_run_leaves_no_old_report_and_runs_exclude_each_other(without_engine, tmp_path):
    def fail(*args):
        with (tmp_path / "network/.lock").open("w") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise build.SimulationError("simulator failed")

    assert without_engine(right_results)[1] is not None
    status, report, printed = without_engine(fail)
    assert status == 1 and report is None and printed.err == "sim.network: simulator failed\n"


@pytest.mark.parametrize(
    "status, options",
    [
        (2, ["--checkpoint", "nowhere"]),
        (2, ["--data", "nowhere"]),
        (2, ["--config", "huge"]),
        (2, ["--images", "0"]),
        (2, ["--bandwidth", "0"]),
        (2, ["--config", "full"]),  # which the network does not fit
        (1, []),
    ],
)
def test_run_that_fails_early_leaves_no_old_report(monkeypatch, root, tmp_path, checkpoint, status, options):
    def fail(*args, **kept):
        raise build.SimulationError("build failed")

    monkeypatch.chdir(root)
    monkeypatch.setattr(system, "build", fail)
    monkeypatch.setattr(simulators, "cached_verilog", lambda *args, **kept: root / "pyproject.toml")
    reports = {name: tmp_path / name / "report.json" for name in ("network", "conv5_2")}
    for path in reports.values():
        path.parent.mkdir()
        path.touch()
    asked = ["--config", "small", "--checkpoint", str(checkpoint), "-o", str(tmp_path)]
    with pytest.raises(SystemExit):
        network.main([*asked, "--images", "many"])  # what cannot be read asks for nothing
    assert reports["network"].exists()
    assert network.main([*asked, "--images", "1", *options]) == status
    assert not reports["network"].exists() and reports["conv5_2"].exists()
