"""Synthesis: bad input, seeds that do not come to an end, and one small core all the way."""

import json
from types import MappingProxyType

import pytest
from rich.console import Console

from cdgate.errors import RunError
from gen import synth
from gen.fpga.toolchain import EndlessError
from hw.params import HwParams
from tests.gen.fpga.tool_reports import hop


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--target", "ice40"], "target must be one of ecp5-85f, not 'ice40'"),
        (
            ["--config", "huge"],
            "configuration must be one of full, half, small, tiny or a file that ends with .toml, not 'huge'",
        ),
        (["--top", "lane"], "top must be one of core, system, not 'lane'"),
        (["--seeds", "0"], "seeds must be 1 or more, not 0"),
        (["--seed", "-1"], "seed must be 0 or more, not -1"),
        (["--freq", "-5"], "freq must be a clock in MHz, not -5.0"),
        (["--freq", "nan"], "freq must be a clock in MHz, not nan"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert synth.main(arguments) == 2
    assert capsys.readouterr().err == f"gen.synth: {message}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("routed", [None, 3])
def test_seed_without_an_end_has_no_clock_and_the_others_count(routed, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "hw.configurations.CONFIGS", MappingProxyType({"tiny": HwParams(in_par=2, rq_lanes=1, max_slices=2)})
    )

    def tool(entry, arguments, log, title, console):
        if title.startswith("yosys"):
            [name] = [word[1:-1] for word in arguments[1].split() if word.endswith('.json"')]
            module = {"ports": {}, "cells": {}}
            (log.parent / name).write_text(json.dumps({"modules": {"harness": module}}))
        elif title != f"nextpnr, seed {routed}":
            raise EndlessError("on and on")
        else:
            path = {"from": "posedge clk", "to": "posedge clk", "path": [hop("routing", 2.0, "net", "X1Y1", "X9Y9")]}
            (log.parent / arguments[arguments.index("--report") + 1]).write_text(
                json.dumps({"fmax": {"clk": {"achieved": 90.0}}, "critical_paths": [path], "utilization": {}})
            )
        return 1.0

    monkeypatch.setattr(synth, "call", tool)
    monkeypatch.setattr(synth, "package_version", lambda name: "1")  # it need not be installed

    def run():
        return synth.synthesise("ecp5-85f", "tiny", 2, folder=tmp_path, console=Console(quiet=True), first_seed=2)

    if routed is None:
        with pytest.raises(RunError, match="no seed from 2 to 3 was routed within 2700 s, aiming at 80 MHz"):
            run()
        assert not (tmp_path / "ecp5-85f" / "report.json").exists()
    else:
        report = run()
        assert report["runs"] == [{"seed": 2, "fmax_mhz": None}, {"seed": 3, "fmax_mhz": 90.0}]
        assert report["fmax_mhz"] == {"min": 90.0, "median": 90.0, "max": 90.0}


@pytest.mark.slow
def test_tiny_core_all_the_way(monkeypatch, tmp_path):
    tiny = HwParams(in_par=2, rq_lanes=1, bank_words=2048, ring_entries=256, psum_slots=4, max_slices=2)
    monkeypatch.setattr("hw.configurations.CONFIGS", MappingProxyType({"tiny": tiny}))
    report = synth.synthesise("ecp5-85f", "tiny", folder=tmp_path, console=Console(quiet=True), top="core")
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
