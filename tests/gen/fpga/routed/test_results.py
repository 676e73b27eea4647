"""Results of place and route that are kept: what is in them, how they are shown, which are of another engine."""

import copy
import dataclasses
import json

import pytest
from rich.console import Console

from cdgate.cli import WIDTH
from cdgate.errors import DataError, UserError
from gen import results as command
from gen.fpga.routed import results
from hw.configurations import CONFIGS

#: What `gen.synth.synthesise` reports, as far as it is kept.
REPORT = {
    "target": "ecp5-85f",
    "config": "full",
    "device": "ECP5-85F, CABGA756, speed grade 6",
    "speed": 6,
    "luts": 17590,
    "ffs": 25271,
    "dsps": 140,
    "brams": 172,
    "freq_mhz": 115.0,
    "gating_overhead": None,
    "runs": [{"seed": 1, "fmax_mhz": None, "why": "on and on"}, {"seed": 2, "fmax_mhz": 100.0, "seconds": 9.0}],
    "best_seed": 2,
    "fmax_mhz": {"min": 100.0, "median": 100.0, "max": 100.0},
    "tools": {"amaranth": "1"},
    "verilog_sha256": "routed",
    "critical_path": [],
}

#: What `make network` reports, as far as it is kept.
NETWORK = {
    "config": "full",
    "verdict": "pass",
    "network": None,
    "checkpoint_sha256": "4a14",
    "images": 8,
    "batch": 8,
    "cycles": {"dense": 32_000_000, "gated": 16_000_000},
    "memory": {"bytes_per_cycle_limit": 8, "latency_cycles": 40, "gated": {}},
    "verilog_sha256": "simulated",
    "layers": [],
}


def written(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def kept(tmp_path):
    """A result as it is read from its file."""
    cycles = results.network_figures(written(tmp_path / "report.json", NETWORK), "full")
    made = results.result(REPORT, CONFIGS["full"], cycles)
    written(results.result_path(tmp_path, "ecp5-85f", "full"), made)
    [read] = results.read_results(tmp_path)
    assert read == made
    return read


def shown(made):
    console = Console(width=WIDTH)
    with console.capture() as capture:
        for one in made:
            console.print(one)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= WIDTH and "…" not in capture.get()
    return lines


def test_what_is_kept(kept, tmp_path):
    assert (tmp_path / "synth_ecp5-85f_full.json").is_file()
    assert kept["runs"] == [{"seed": 1, "fmax_mhz": None}, {"seed": 2, "fmax_mhz": 100.0}]
    assert kept["params"] == dataclasses.asdict(CONFIGS["full"])
    assert kept["network"] == {
        "network": None,
        "checkpoint_sha256": "4a14",
        "images": 8,
        "batch": 8,
        "cycles": {"dense": 32_000_000, "gated": 16_000_000},
        "bytes_per_cycle_limit": 8,
        "latency_cycles": 40,
        "verilog_sha256": "simulated",
    }
    assert {"luts", "ffs", "dsps", "brams", "speed", "best_seed", "fmax_mhz", "tools", "verilog_sha256"} <= set(kept)
    assert "critical_path" not in kept, "it says nothing without the seed's files"


def test_images_a_second_follow_from_clock_and_cycles(kept):
    size, clock, pace = ("\n".join(shown([made])) for made in results.tables([kept], [("today's", "today's")]))
    for text in ("ecp5-85f", "full", "17,590", "25,271", "140", "172", "today's"):
        assert text in size
    assert clock.splitlines()[-2].split() == ["ecp5-85f", "full", "6", "2", "100.0", "100.0", "100.0", "today's"]
    assert "25.0" in pace and "50.0" in pace and "checkpoint" in pace


def test_unknown_cycles_are_no_row_and_no_number(kept):
    gated = copy.deepcopy(kept)
    gated["network"]["cycles"]["dense"] = None
    lines = shown(results.tables([gated], [("today's", "today's")]))
    assert lines[-2].split()[-3:] == ["-", "50.0", "today's"]
    assert len(results.tables([kept | {"network": None}], [("today's", "")])) == 2


def test_all_targets_and_configurations_fit_the_terminal(kept):
    rows = [
        kept | {"target": target, "config": config, "fmax_mhz": {"min": 100.1, "median": 110.25, "max": 120.45}}
        for target in ("ecp5-85f", "ecp5-45f")
        for config in ("full", "small", "own_configuration_of_a_user_0001")
    ]
    shown(results.tables(rows, [("changed", "today's")] * len(rows)))


@pytest.mark.parametrize(
    "today, expected",
    [
        (("routed", "simulated"), ("today's", "today's")),
        (("routed", "other"), ("today's", "changed")),
        (("other", "simulated"), ("changed", "today's")),
        ((None, None), ("changed", "changed")),
    ],
)
def test_figures_of_another_verilog_are_marked(kept, today, expected):
    asked = []

    def digest(config, params, harness):
        asked.append(harness)
        return today[not harness]

    assert results.states([kept, kept], digest) == [expected] * 2
    assert asked == [True, False], "each Verilog is generated once"
    assert results.states([kept | {"network": None}], digest) == [(expected[0], "")]


def test_digest_is_of_what_is_routed_and_of_what_is_simulated(kept, monkeypatch):
    made = []
    monkeypatch.setattr(results, "harness_verilog", lambda params, top: made.append((params, top)) or "a")
    monkeypatch.setattr(results, "generate", lambda params, name, top: made.append((params, name, top)) or "a")
    sha256 = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert results.digest_today("full", {}, True) == results.digest_today("full", {}, False) == sha256
    full = CONFIGS["full"]
    assert made == [(full, "system"), (full, "cdgate_full_system", "system")]
    assert results.digest_today("own", dataclasses.asdict(CONFIGS["tiny"]), True) == sha256
    assert made[-1] == (CONFIGS["tiny"], "system")
    assert results.digest_today("own", {"in_par": 3}, True) is None
    assert results.digest_today("own", {"no_such_choice": 3}, True) is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"config": "half"}, "must be of configuration full, not half"),
        ({"verdict": "fail: 3 mismatches"}, "must be of a run that passed, not one with 'fail: 3 mismatches'"),
    ],
)
def test_network_report_of_something_else(tmp_path, change, message):
    path = written(tmp_path / "report.json", NETWORK | change)
    with pytest.raises(UserError, match=f"^network report {path} {message}$"):
        results.network_figures(path, "full")
    assert results.network_figures(path, "full", required=False) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"config": "full", "verdict": "pass"}'])
def test_network_report_that_is_none(tmp_path, text):
    path = tmp_path / "report.json"
    assert results.network_figures(path, "full", required=False) is None
    with pytest.raises(UserError, match="cannot be read: No such file"):
        results.network_figures(path, "full")
    path.write_text(text)
    for required in (True, False):
        with pytest.raises(UserError, match=f"^network report {path} must be what make network writes$"):
            results.network_figures(path, "full", required)


def test_result_that_is_none(tmp_path):
    path = tmp_path / "synth_a_b.json"
    path.write_text("{")
    with pytest.raises(DataError, match=f"^results file {path} must be JSON$"):
        results.read_results(tmp_path)
    written(path, {key: 1 for key in REPORT} | {"params": {}})
    with pytest.raises(DataError, match=f"^results file {path} must have network, as make synth RESULT= writes$"):
        results.read_results(tmp_path)


def test_command(kept, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "states", lambda found: [("changed", "today's")] * len(found))
    assert command.main(["--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "17,590" in printed and "changed: the Verilog is another today" in printed
    assert max(map(len, printed.splitlines())) <= WIDTH
    (tmp_path / "empty").mkdir()
    assert command.main(["--results", str(tmp_path / "empty")]) == 0
    assert "no results of place and route in " in capsys.readouterr().out
    assert command.main(["--results", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("gen.results: --results must be a folder that exists, not ")
