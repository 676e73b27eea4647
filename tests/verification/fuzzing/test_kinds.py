"""Every kind of fuzz: good things pass, and what is broken on purpose is found and made simpler."""

import json
import random

import pytest
import torch

from cdgate.cli import run
from gen.network import compiler
from sw_model.integer import ops
from verification import fuzz
from verification.fuzzing import files
from verification.fuzzing.campaign import KINDS, drawn, engines
from verification.fuzzing.case import Kind, attempt, load_case, save_case, shrink, simpler
from verification.fuzzing.host import FindingError
from verification.networks.plans import pruned, random_plan, without


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tried(name, seed, count, place):
    """Return the ends and findings of the first cases of a kind."""
    return [attempt(KINDS[name], drawn(KINDS[name], seed, "", number, None), place) for number in range(count)]


def first_finding(name, seed, count, place):
    """Return the first case that is a finding, and its text."""
    for number in range(count):
        case = drawn(KINDS[name], seed, "", number, None)
        _, text = attempt(KINDS[name], case, place)
        if text is not None:
            return case, text
    raise AssertionError(f"nothing is found in {count} cases of {name}, seed {seed}")


@pytest.mark.parametrize("name, count", [("layers", 30), ("networks", 6), ("files", 60)])
def test_good_ones_pass(name, count, seed, tmp_path):
    found = [text for _, text in tried(name, seed, count, tmp_path) if text is not None]
    assert not found, f"seed {seed}: {found}"


def test_wrong_operator_is_found_and_made_simpler(seed, tmp_path, monkeypatch):
    right = ops.requantize
    monkeypatch.setattr(ops, "requantize", lambda *args: (right(*args) + 1).clamp(max=args[-1]))
    case, text = first_finding("layers", seed, 20, tmp_path)
    assert text == "the golden operators differ from the loops"
    small, told = shrink(KINDS["layers"], case, text, tmp_path, 5)
    assert told == text and small["images"] == 1 and small["rows"] * small["cols"] <= case["rows"] * case["cols"]


def test_program_without_order_is_found(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(compiler, "tie", lambda instructions: None)
    case, text = first_finding("networks", seed, 5, tmp_path)
    small, told = shrink(KINDS["networks"], case, text, tmp_path, 5)
    assert text.startswith("AssertionError") and len(small["plan"]) <= len(case["plan"])


def test_reader_that_breaks_down_is_found(seed, tmp_path, monkeypatch):
    def careless(path):
        (path.parent.parent / "elsewhere").write_bytes(path.read_bytes())

    monkeypatch.setattr(files, "configuration", careless)
    monkeypatch.setattr(files, "load", lambda path: path.read_bytes().decode("ascii"))
    texts = {text.split(":")[0] for _, text in tried("files", seed, 60, tmp_path) if text is not None}
    assert "elsewhere is written, outside of the output folder" in texts
    assert any(text.startswith("UnicodeDecodeError in ") for text in texts), texts


def test_interrupted_command_interrupts_the_fuzz(seed, tmp_path, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "_READERS", {"png": ("image.png", lambda path, out: run("x", lambda: interrupt(path)))})
    case = {**drawn(KINDS["files"], seed, "", 0, None), "what": "png"}
    with pytest.raises(KeyboardInterrupt):
        attempt(KINDS["files"], case, tmp_path)


def test_cases_are_the_same_again_and_can_be_kept(seed, tmp_path):
    kind = KINDS["layers"]
    assert drawn(kind, seed, "", 3, None) == drawn(kind, seed, "", 3, None) != drawn(kind, seed, "", 4, None)
    case = drawn(kind, seed, "", 3, None)
    path = save_case(tmp_path, fuzz.Finding(kind.name, "", case, "a text"))
    again = load_case(path)
    assert (again.kind, again.case, again.text) == (kind.name, case, "a text")
    assert fuzz.main(["--replay", str(path)]) == 0


def test_simpler_cases():
    def run(case, place):
        if case["size"] >= 5 and 3 in case["parts"]:
            raise FindingError(f"size {case['size']}")
        return "exact"

    kind = Kind("toy", 1, lambda rng, params: {}, run, {"size": 0, "parts": [], "flag": False})
    case = {"size": 90, "parts": [1, 2, 3, 4], "flag": True}
    assert shrink(kind, case, "size 90", None, 5) == ({"size": 5, "parts": [3], "flag": False}, "size 5")
    assert list(simpler({"size": 0, "parts": [], "flag": False}, kind.simplest)) == []


def test_plans_read_all_that_they_make(seed):
    rng = random.Random(seed)
    skips = set()
    for _ in range(300):
        plan = random_plan(rng, 16, (rng.randint(1, 20), rng.randint(1, 20)), 6)
        assert pruned(plan) == plan, f"seed {seed}"
        names = [one["name"] for one in plan]
        for number, one in enumerate(plan):
            known = {"image", None, *names[:number]}
            assert {one["input"], one.get("residual")} <= known, f"seed {seed}"
            less = without(plan, number)
            assert less is None or len(less) < len(plan), f"seed {seed}"
            if one.get("residual"):
                skips.add("input" if one["residual"] == one["input"] else "other")
                skips |= {"over several"} if number - names.index(one["residual"]) > 2 else set()
        readers = [sum(name in (one["input"], one.get("residual")) for one in plan) for name in names]
        skips |= {"read by three"} if max(readers) > 2 else set()
        skips |= {"signed"} if any(not one.get("relu", True) for one in plan) else set()
        skips |= {"pooled"} if any("window" in one for one in plan) else set()
        skips |= {"unpadded"} if any(one.get("kernel", 0) > 1 and one["pad"] == 0 for one in plan) else set()
    expected = {"input", "other", "over several", "read by three", "signed", "pooled", "unpadded"}
    assert skips == expected, f"seed {seed}"


def test_engines(seed):
    assert [engine.name for engine in engines(seed, 60)] == ["small"]
    for number in range(50):
        named, own = engines(seed + number, 1800)
        params = own.params
        assert named.name in ("small", "tiny") and own.name.startswith("own_")
        assert params.ring_entries * params.entry_bits >= 64 * params.axi_bits


@pytest.mark.parametrize(
    "options, message",
    [
        (["--seconds", "0"], "seconds must be 1 to 604800, not 0"),
        (["--seed", "-1"], "seed must be 0 to 2147483647, not -1"),
        (["--only", "weather"], "kind must be one of layers, layers_rtl, networks, "),
        (["--replay", "nowhere.json"], "case nowhere.json cannot be read: "),
    ],
)
def test_bad_options_are_one_line(options, message, capsys):
    assert fuzz.main(options) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"verification.fuzz: {message}")


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "layers"}', '{"kind": "x", "config": "", "case": {}}'])
def test_bad_case_is_one_line(tmp_path, text, capsys):
    (tmp_path / "case.json").write_text(text)
    assert fuzz.main(["--replay", str(tmp_path / "case.json")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_report_and_progress(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fuzz.main(["--seconds", "3", "--seed", "7", "--only", "layers", "--only", "files"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "seed: 7" and out[-1] == "verdict: pass" and max(map(len, out)) <= 80
    report = json.loads((tmp_path / "build/verification/fuzz/report.json").read_text())
    assert report["seed"] == 7 and report["kinds"]["layers"]["tried"] > 0 and report["verdict"] == "pass"
