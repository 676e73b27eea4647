"""``python -m verification.fuzz``: what is reported, what a replay refuses."""

import json
import random
from unittest import mock

from verification import fuzz
from verification.fuzzing import campaign
from verification.fuzzing.case import Kind, load_case
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
        mock.patch.object(campaign, "_SOFTWARE", kinds),
        mock.patch.object(campaign, "_SYSTEM", ()),
    ):
        number = random.Random(seed).randint(0, 1000)
        assert fuzz.main(["--seconds", "5", "--seed", str(number)]) == 1
    report = json.loads((tmp_path / "build/verification/fuzz/report.json").read_text())
    assert len(report["findings"]) == 10 and report["verdict"] == "fail", f"seed {number}"
    for told in report["findings"]:
        kept = load_case(tmp_path / told["file"])
        assert (told["kind"], told["text"]) == (kept.kind, kept.text), f"seed {number}"
