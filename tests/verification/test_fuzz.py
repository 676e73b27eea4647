"""``python -m verification.fuzz``: what is reported, what a replay refuses."""

import json
import random
import time
from unittest import mock

import pytest

from hw.configurations import CONFIGS
from verification import fuzz
from verification.fuzzing import campaign
from verification.fuzzing.campaign import KINDS, drawn
from verification.fuzzing.case import Kind, check_case, load_case
from verification.fuzzing.host import FindingError


def toy(name):
    """Return a kind whose cases are findings, each with a text that tells the case."""

    def run(case, place):
        raise FindingError(f"{name} {'abcdefghij'[case['number']]}")

    return Kind(name, 1, lambda rng, params: {"number": rng.randint(0, 9)}, run)


def test_each_finding_is_told_with_its_file(tmp_path, monkeypatch, seed):
    """Whatever the names of the files are, and however many are found of a kind."""
    monkeypatch.chdir(tmp_path)
    kinds = [toy("second"), toy("first")]
    with (
        mock.patch.object(campaign, "KINDS", named := {kind.name: kind for kind in kinds}),
        mock.patch.object(fuzz, "KINDS", named),
        mock.patch.object(campaign, "SOFTWARE", kinds),
        mock.patch.object(campaign, "SYSTEM", ()),
    ):
        number = random.Random(seed).randint(0, 1000)
        assert fuzz.main(["--seconds", "5", "--seed", str(number)]) == 1
    report = json.loads((tmp_path / "build/verification/fuzz/report.json").read_text())
    assert len(report["findings"]) == 10 and report["verdict"] == "fail: 10 findings", f"seed {number}"
    for told in report["findings"]:
        kept = load_case(tmp_path / told["file"])
        assert (told["kind"], told["text"]) == (kept.kind, kept.text), f"seed {number}"


def test_kind_that_is_not_tried_is_no_pass(tmp_path, monkeypatch, capsys):
    """The first kind takes all the time."""

    def slow(case, place):
        time.sleep(1.2)
        return "exact"

    kinds = [Kind(name, 1, lambda rng, params: {}, slow) for name in ("one", "two", "three")]
    monkeypatch.chdir(tmp_path)
    with (
        mock.patch.object(campaign, "KINDS", named := {kind.name: kind for kind in kinds}),
        mock.patch.object(fuzz, "KINDS", named),
        mock.patch.object(campaign, "SOFTWARE", kinds),
        mock.patch.object(campaign, "SYSTEM", ()),
    ):
        assert fuzz.main(["--seconds", "1"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "verdict: fail: nothing tried of two, three"
    report = json.loads((tmp_path / "build/verification/fuzz/report.json").read_text())
    assert report["verdict"] == "fail: nothing tried of two, three"


FILES = drawn(KINDS["files"], 1, "", 0, None)
LAYERS = drawn(KINDS["layers"], 1, "", 0, None)
PROGRAMS = {"pool": 1, "flips": [], "order": [], "length": None, "window": None}


def text(kind, config, case):
    return json.dumps({"kind": kind, "config": config, "case": case})


@pytest.mark.parametrize(
    "content, message",
    [
        (text(["layers"], "", {}), "must have a name as kind"),
        ('{"kind": "layers", "config": "", "case": ' + "[" * 100_000, "must be a JSON file with kind, config and case"),
        (text("layers", "", {}), "case of layers must have seed, "),
        (text("layers", "", [1]), "must have a name as kind, a name or parameters as config, choices as case"),
        (text("layers", 1, LAYERS), "must have a name as kind, a name or parameters as config, choices as case"),
        (text("layers", "", {**LAYERS, "more": 1}), ", more"),
        (text("layers", "", {**LAYERS, "rows": "x"}), "rows of a case of layers must be an integer, not 'x'"),
        (text("files", "small", FILES), "config of a case of files must be empty, not 'small'"),
        (text("layers", {"in_par": 4}, LAYERS), "config of a case of layers must be empty, not {'in_par': 4}"),
        (text("layers_rtl", "", LAYERS), "config of a case of layers_rtl must be a configuration's name or parameters"),
        (text("registers", "", {}), "config of a case of registers must be a configuration's name or parameters"),
        (text("programs", {}, PROGRAMS), "config of a case of programs must be a configuration's name or parameters"),
        (text("programs", "own", PROGRAMS), "engine of a case: "),
        (text("programs", {"in_par": []}, PROGRAMS), "engine of a case: "),
        (text("programs", "small", {**PROGRAMS, "length": "x"}), "must be an integer or null, not 'x'"),
        (text("programs", "small", {**PROGRAMS, "before": 1}), "before must be a list of kinds and cases"),
        (text("programs", "small", {**PROGRAMS, "before": [[[], {}]]}), "before must be a list of kinds, for "),
        (text("programs", "small", {**PROGRAMS, "before": [["programs", {}]]}), "case of programs must have pool, "),
        (text("layers", "", {**LAYERS, "before": []}), "case of layers must have none before it"),
    ],
)
def test_damaged_case_is_refused_in_one_line(tmp_path, capsys, content, message):
    path = tmp_path / "case.json"
    path.write_text(content)
    assert fuzz.main(["--replay", str(path)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and len(printed.err.splitlines()) == 1 and printed.out == ""


def test_kept_cases_are_none_of_the_damaged(root):
    """Nor are cases that were drawn, whatever the seed; but for the run itself, which is another test's."""
    for path in sorted((root / "tests/verification/cases").glob("*.json")):
        kept = load_case(path)
        params = CONFIGS[kept.config] if kept.config else None
        check_case(KINDS[kept.kind], kept.case, params)


@pytest.mark.parametrize("name", KINDS)
def test_drawn_cases_are_none_of_the_damaged(seed, name):
    for number in range(20):
        case = json.loads(json.dumps(drawn(KINDS[name], seed, "small", number, CONFIGS["small"])))
        check_case(KINDS[name], case, CONFIGS["small"])
