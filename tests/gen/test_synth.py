"""Synthesis: bad input, seeds that do not come to an end, and one small core all the way."""

import functools
import json
import re
from types import MappingProxyType

import pytest
from rich.console import Console

from cdgate.cli import WIDTH
from cdgate.errors import RunError
from gen import synth
from gen.fpga.harness import harness_verilog
from gen.fpga.routed.results import digest_today, read_results
from gen.fpga.toolchain import EndlessError
from hw.params import HwParams
from tests.gen.fpga.tool_reports import hop


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--target", "ice40"], "target must be one of ecp5-85f, ecp5-45f, ecp5-25f, not 'ice40'"),
        (
            ["--config", "huge"],
            "configuration must be one of full, half, small, tiny or a file that ends with .toml, not 'huge'",
        ),
        (["--top", "lane"], "top must be one of core, system, not 'lane'"),
        (["--seeds", "0"], "seeds must be 1 or more, not 0"),
        (["--seed", "-1"], "seed must be 0 or more, not -1"),
        (["--freq", "-5"], "freq must be a clock in MHz, not -5.0"),
        (["--freq", "nan"], "freq must be a clock in MHz, not nan"),
        (["--speed", "9"], "speed must be one of 6, 7, 8, not 9"),
        (["--step", "route"], "step must be one of all, prepare, seed, collect, not 'route'"),
        (
            ["--result", "results", "--top", "core"],
            "result must be of the whole engine and all its seeds, not of top core and step all",
        ),
        (
            ["--result", "results", "--step", "seed"],
            "result must be of the whole engine and all its seeds, not of top system and step seed",
        ),
        (["--network", "report.json"], "network must be given with a result, which tells its cycles"),
        (
            ["--result", "results", "--network", "report.json"],
            "network report report.json cannot be read: No such file or directory",
        ),
        (
            ["--target", "ecp5-25f", "--config", "small"],
            "configuration small must take at most the 28 multipliers of an ECP5-25F, CABGA381, not 35",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert synth.main(arguments) == 2
    assert capsys.readouterr().err == f"gen.synth: {message}\n"
    assert not list(tmp_path.iterdir())


#: The engine of most tests is the same, and takes seconds to generate.
VERILOG = functools.cache(harness_verilog)


class Tools:
    """Stands in for the programs: notes which ran, and routes the seeds that it is told to."""

    def __init__(self, monkeypatch, routed):
        self.routed, self.ran = routed, []
        tiny = HwParams(in_par=2, rq_lanes=1, max_slices=2)
        monkeypatch.setattr("hw.configurations.CONFIGS", MappingProxyType({"tiny": tiny}))
        monkeypatch.setattr("gen.synth.harness_verilog", VERILOG)
        monkeypatch.setattr("gen.fpga.preparation.call", self.call)
        monkeypatch.setattr("gen.fpga.seeds.call", self.call)
        monkeypatch.setattr("gen.fpga.preparation.package_version", lambda name: "1")  # it need not be installed

    def call(self, entry, arguments, log, title, console):
        self.ran.append(title)
        if title.startswith("yosys"):
            [name] = [word[1:-1] for word in arguments[1].split() if word.endswith('.json"')]
            module = {"ports": {"clk": {"bits": [2]}}, "cells": {}}
            module["cells"]["a"] = {"type": "LUT4", "connections": {"A": [2], "Z": [3]}, "port_directions": {}}
            module["cells"]["a"]["port_directions"] = {"A": "input", "Z": "output"}
            (log.parent / name).write_text(json.dumps({"modules": {"harness": module}}))
        elif title.startswith("bitstream"):
            self.ran.pop()
            assert (log.parent / arguments[1]).read_text() == "configuration"
            (log.parent / arguments[2]).write_text(title)
        elif title not in [f"nextpnr, seed {seed}" for seed in self.routed]:
            raise EndlessError(f"{title}: on and on")
        else:
            path = {"from": "posedge clk", "to": "posedge clk", "path": [hop("routing", 2.0, "net", [1, 1], [9, 9])]}
            fmax = {"clk": {"achieved": 90.0 + int(title.split()[-1])}}
            (log.parent / arguments[arguments.index("--report") + 1]).write_text(
                json.dumps({"fmax": fmax, "critical_paths": [path], "utilization": {}})
            )
            for option, text in (("--sdf", ""), ("--textcfg", "configuration"), ("--write", "")):
                (log.parent / arguments[arguments.index(option) + 1]).write_text(text)
        return 1.0


def synthesise(folder, **options):
    return synth.synthesise("ecp5-85f", "tiny", folder=folder, console=Console(quiet=True), **options)


def test_seed_that_fails_is_a_row_and_the_best_counts(monkeypatch, tmp_path):
    Tools(monkeypatch, routed=(2, 4))
    report = synthesise(tmp_path, seeds=3, first_seed=2)
    assert [(row["seed"], row["fmax_mhz"]) for row in report["runs"]] == [(2, 92.0), (3, None), (4, 94.0)]
    assert report["runs"][1]["why"] == "nextpnr, seed 3: on and on"
    assert report["fmax_mhz"] == {"min": 92.0, "median": 93.0, "max": 94.0}
    assert report["best_seed"] == 4
    assert (tmp_path / "ecp5-85f" / report["bitstream"]).read_text() == "bitstream, seed 4"
    assert (tmp_path / "ecp5-85f" / report["picture"]).read_bytes().startswith(b"\x89PNG")
    left = {path.suffix for path in (tmp_path / "ecp5-85f").glob("*_seed*")}
    assert left == {".json", ".report", ".layout", ".bit"}, "what is large goes, also of seeds that fail"
    others = {"target", "config", "luts", "ffs", "dsps", "brams", "seeds", "fmax_mhz", "gating_overhead"}
    assert others <= set(report), "what other tools read"
    assert json.loads((tmp_path / "ecp5-85f" / "report.json").read_text()) == report
    synth.show(report, Console(quiet=True))


def test_what_gating_costs(monkeypatch, tmp_path):
    tools = Tools(monkeypatch, routed=(1, 2))
    report = synthesise(tmp_path, seeds=2, overhead=True, results=tmp_path / "results")
    assert tools.ran.count("nextpnr, seed 2") == 2, "of an engine with gating and of one without"
    found = report["gating_overhead"]
    assert (found["fmax_mhz"], found["luts"]) == (0.0, None)  # the engine of the stand-in is empty
    assert found["ungated"]["runs"] == [{"seed": 1, "fmax_mhz": 91.0}, {"seed": 2, "fmax_mhz": 92.0}]
    [kept] = read_results(tmp_path / "results")
    assert kept["gating_overhead"] == found and kept["params"]["gating"]
    console = Console(width=WIDTH)
    with console.capture() as capture:
        synth.show(report, console)
    assert "what gating costs" in capture.get() and "+0.0%" in capture.get()


def test_report_fits_the_terminal_and_loses_nothing(monkeypatch, tmp_path):
    Tools(monkeypatch, routed=(1,))
    report = synthesise(tmp_path, seeds=1)
    long = "core.core.output.requantise_3.s3_residual_TRELLIS_FF_Q_DI_PFUMX_Z_ALUT_LUT4_Z_1_D_LUT4_Z[0]"
    report["endpoints"] = [
        {"from": long, "to": long, "count": 12, "ns": 9.5, "wires": 0.85, "levels": 3, "fanout": 130}
    ]
    report["critical_path"][0]["name"] = long
    console = Console(width=WIDTH)
    with console.capture() as capture:
        synth.show(report, console)
    printed = capture.get()
    assert max(map(len, printed.splitlines())) <= WIDTH and "…" not in printed
    for text in ("12", "9.50", "85%", "X1Y1", "X9Y9", "2.00"):
        assert text in printed


def test_result_is_kept(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Tools(monkeypatch, routed=(1, 2))
    report = synthesise(tmp_path / "build", seeds=2, results=tmp_path / "results")
    [kept] = read_results(tmp_path / "results")
    assert kept["verilog_sha256"] == report["verilog_sha256"] == digest_today("other", kept["params"], True)
    assert (kept["target"], kept["config"], kept["speed"], kept["network"]) == ("ecp5-85f", "tiny", 6, None)
    assert [row["fmax_mhz"] for row in kept["runs"]] == [91.0, 92.0]


def test_no_seed_at_all(monkeypatch, tmp_path):
    Tools(monkeypatch, routed=())
    with pytest.raises(
        RunError, match="no seed from 2 to 3 was routed, aiming at 113 MHz; the last: nextpnr, seed 3: "
    ):
        synthesise(tmp_path, seeds=2, first_seed=2)
    assert not (tmp_path / "ecp5-85f" / "report.json").exists()


def test_steps_one_by_one_and_nothing_twice(monkeypatch, tmp_path):
    tools = Tools(monkeypatch, routed=(1, 2))
    assert synthesise(tmp_path, step="prepare") is None
    assert tools.ran == ["yosys, tiny_system in its harness", "yosys, harness alone"]
    tools.ran.clear()
    assert synthesise(tmp_path, step="seed", seeds=1, first_seed=2) is None
    assert tools.ran == ["nextpnr, seed 2"]
    report = synthesise(tmp_path, step="collect", seeds=2)
    assert tools.ran == ["nextpnr, seed 2"]
    assert [(row["seed"], row["fmax_mhz"]) for row in report["runs"]] == [(1, None), (2, 92.0)]
    assert report["runs"][0]["why"] == "has not come to its end"
    assert [row["fmax_mhz"] for row in synthesise(tmp_path, seeds=2)["runs"]] == [91.0, 92.0]
    assert tools.ran == ["nextpnr, seed 2", "nextpnr, seed 1"]
    # Another clock, or another grade, is another result.
    synthesise(tmp_path, seeds=1, freq=100.0)
    synthesise(tmp_path, seeds=1, speed=8)
    assert tools.ran[2:] == ["nextpnr, seed 1"] * 2


def test_seed_whose_files_are_gone_is_run_again(monkeypatch, tmp_path):
    tools = Tools(monkeypatch, routed=(1,))
    synthesise(tmp_path, seeds=1)
    for suffix in (".bit", ".layout"):
        [path] = (tmp_path / "ecp5-85f").glob(f"*_seed1_*{suffix}")
        path.unlink()
        tools.ran.clear()
        synthesise(tmp_path, seeds=1)
        assert tools.ran == ["nextpnr, seed 1"] and path.is_file()


def test_device_without_place_and_route_says_what_is_too_little(capsys):
    assert synth.main(["--target", "ice40up5k", "--config", "tiny"]) == 2
    line = capsys.readouterr().err
    assert re.fullmatch(
        r"gen.synth: configuration tiny must take at most the 5,280 logic cells of an iCE40UP5K, not about [\d,]+; "
        r"at most the 8 multipliers of an iCE40UP5K, not 11\n",
        line,
    )


@pytest.mark.slow
def test_tiny_core_all_the_way(monkeypatch, tmp_path):
    tiny = HwParams(in_par=2, rq_lanes=1, bank_words=2048, ring_entries=256, psum_slots=4, max_slices=2)
    monkeypatch.setattr("hw.configurations.CONFIGS", MappingProxyType({"tiny": tiny}))
    report = synth.synthesise("ecp5-85f", "tiny", folder=tmp_path, console=Console(quiet=True), top="core", seeds=1)
    assert json.loads((tmp_path / "ecp5-85f" / "report.json").read_text()) == report
    # A multiplier for each MAC, and for the requantiser's products; nothing of a bank or the ring in flip-flops.
    assert report["dsps"] == tiny.macs + 3
    assert report["brams"] >= 4 * 2
    assert report["ffs"] < 8000 and report["registers_in_blocks"] > 16 * tiny.macs
    assert report["harness"]["dsps"] == report["harness"]["brams"] == 0
    assert 0 < report["harness"]["ffs"] < 3000
    assert report["fmax_mhz"]["min"] == report["fmax_mhz"]["max"] >= 80
    assert sum(hop["delay_ns"] for hop in report["critical_path"]) == pytest.approx(
        1000 / report["fmax_mhz"]["min"], abs=0.05
    )
    # The bitstream begins with comments, then comes the preamble of the device.
    bits = (tmp_path / "ecp5-85f" / report["bitstream"]).read_bytes()
    assert bits.startswith(b"\xff\x00") and b"\xff\xff\xbd\xb3" in bits[:256]
    assert (tmp_path / "ecp5-85f" / report["picture"]).read_bytes().startswith(b"\x89PNG")
    [path] = (tmp_path / "ecp5-85f").glob("*.layout")
    drawn = json.loads(path.read_text())
    kinds = [kind for _, kind, *_ in drawn["blocks"]]
    assert (kinds.count("multiplier"), kinds.count("RAM")) == (report["dsps"], report["brams"])
    used = sum(report["utilization"][f"TRELLIS_{kind}"]["used"] for kind in ("COMB", "FF", "RAMW"))
    assert sum(count for tiles in drawn["logic"].values() for *_, count in tiles) == used
    assert len(drawn["paths"]) == 10 and all(len(path["tiles"]) > 1 for path in drawn["paths"])
    assert drawn["paths"][0]["ns"] == pytest.approx(1000 / report["fmax_mhz"]["max"], abs=0.3)
