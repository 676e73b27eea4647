"""Waves: what is recorded and when, the lists of signals, and what is said when they cannot be written."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from cdgate.errors import UserError
from gen.layer.compiler import compile_layer
from sim.check.execution import execute_layers
from sim.check.layer import Outcome
from sim.check.verdict import Mismatch, Verdict
from sim.plan.cases import random_case
from sim.plan.layer import Pass
from sim.run.core import build
from sim.run.files import Run
from sim.run.verilog_cache import cached_verilog
from sim.show import wave_lists, waves
from sim.show.waves import choose, read_header, record
from sw_model.integer.steps import count_layer
from tests.sim.check.mutants import MUTANTS

CYCLES = 300


@pytest.fixture(scope="module")
def traced(small, request):
    """A simulator of the small configuration that can record waves."""
    root = request.config.rootpath
    return build(cached_verilog("small", root / "build/verilog"), root / "build/verilator", waves=True)


def pass_of(params, mode="gated", seed=5, mutant=None):
    """Return a pass of a random layer, good or with something wrong."""
    case = random_case(seed, in_ch=4 * params.in_par, out_ch=32, size=(4, 4), residual="unsigned")
    program = compile_layer(case.layer, case.ifmap, case.residual, params, mode)
    tap = case.golden(mode)
    count = count_layer(case.layer, tuple(case.ifmap.shape[2:]), 1, params.in_par, tap.decision)
    run = Run(program=mutant(program) if mutant else program, cycle_limit=20_000)
    return Pass(case.layer, mode, 0, run, tap, count)


def outcomes_of(engine, folder, *passes):
    return execute_layers(passes, engine.simulator, folder / "runs")


def values(path, *names):
    """Return the values of signals at every time of a VCD file: {time: (value, ...)}."""
    ids, scopes, now, current, found = {}, [], None, {}, {}
    for line in path.read_text().splitlines():
        words = line.split()
        if words[:1] == ["$scope"]:
            scopes.append(words[2])
        elif words[:1] == ["$upscope"]:
            scopes.pop()
        elif words[:1] == ["$var"]:
            ids[".".join([*scopes, words[4]])] = words[3]
        elif re.match(r"#\d", line):
            now = int(line[1:])
        elif now is not None and line:
            code, value = (words[1], words[0][1:]) if line[0] == "b" else (line[1:], line[0])
            current[code] = int(value, 2)
            found[now] = tuple(current.get(ids[name]) for name in names)
    return found


def listed(folder):
    """Return the signals of both lists, without bit ranges, and the times at their markers."""
    gtkw, sucl = (folder / "waves/waves.gtkw").read_text(), (folder / "waves/waves.sucl").read_text()
    return (
        re.findall(r"^\+\{.*\} (\S+?)(?:\[.*)?$", gtkw, re.MULTILINE),
        re.findall(r"^variable_add (\S+)$", sucl, re.MULTILINE),
        int(re.search(r"^\*\S+ (\d+)", gtkw, re.MULTILINE)[1]),
        int(re.search(r"^cursor_set (\d+)", sucl, re.M)[1]),
    )


@pytest.fixture(scope="module")
def good(small, traced, tmp_path_factory):
    """Folder and window of waves of passes in which nothing differs."""
    folder = tmp_path_factory.mktemp("good")
    outcomes = outcomes_of(small, folder, pass_of(small.params, "dense"), pass_of(small.params))
    window, paths = record(outcomes, traced, folder, CYCLES)
    assert paths == [folder / "waves" / f"waves.{suffix}" for suffix in ("vcd", "gtkw", "sucl")]
    assert all(outcome.verdict.holds for outcome in outcomes)
    return folder, window


def test_start_of_the_gated_pass(good):
    folder, window = good
    assert (window.number, window.first, window.last, window.marked) == (1, 1, CYCLES, 1)
    assert sorted(path.name for path in folder.iterdir()) == ["runs", "waves"]
    cycles = values(folder / "waves/waves.vcd", "tb_core.cycle", "tb_core.dut.busy")
    times = sorted(cycles)
    # A cycle is two units of time; after the last one the testbench closes its files.
    assert [cycles[time] for time in times[: 2 * CYCLES : 2]] == [(cycle, 1) for cycle in range(1, CYCLES + 1)]
    assert times[-1] - times[0] <= 2 * (CYCLES + 4)


def test_every_listed_signal_is_in_the_waves(good):
    folder, _ = good
    ranges = read_header(folder / "waves/waves.vcd")
    gtkwave, surfer, *markers = listed(folder)
    assert gtkwave == surfer and set(gtkwave) <= set(ranges)
    assert set(markers) == {min(values(folder / "waves/waves.vcd", "tb_core.cycle"))}
    for group in wave_lists.GROUPS:
        for signal in group.signals:
            assert wave_lists.select(signal, ranges), signal.name
    for unwanted in ("lane_", "_$", "weights["):
        assert not any(unwanted in path for path in ranges)
    assert max(int(text[1:].split(":")[0]) for text in ranges.values() if text) < 64


def test_lists_in_words(good):
    folder, _ = good
    gtkw, sucl = ((folder / f"waves/waves.{suffix}").read_text() for suffix in ("gtkw", "sucl"))
    for title in ("Scheduler", "Decision", "Requantiser"):
        assert all(f"\n@{flags}\n-{title}\n" in gtkw for flags in ("800200", "1000200"))
        assert f"divider_add {title}\n" in sucl
    assert (
        "@2022\n^2 .surfer/mappings/IdleCause.txt\n+{why no job was taken, when last none was} "
        "tb_core.dut.scheduler.stall[2:0]\n"
    ) in gtkw
    number = [line for line in sucl.splitlines() if re.match("(divider|variable)_add", line)].index(
        "variable_add tb_core.dut.scheduler.stall"
    )
    letters = "".join("abcdefghijklmnop"[digit] for digit in divmod(number, 16))
    assert f"\nitem_focus {letters}_tb_core.dut.scheduler.stall\nitem_set_format IdleCause\n" in sucl
    words = (folder / "waves/.surfer/mappings/IdleCause.txt").read_text()
    assert words.startswith("Bits = 3\n0 start\n1 weights\n") and str(folder) not in gtkw + sucl


@pytest.mark.parametrize(
    "name, signals",
    [
        ("decision_forced", ["tb_core.dut.comparator.mask__valid", "tb_core.dut.comparator.mask__payload$fire"]),
        ("rounding_dropped", ["tb_core.dut.output.write_en", "tb_core.dut.output.write$codes"]),
    ],
)
def test_first_mismatch(small, traced, tmp_path, name, signals):
    outcomes = outcomes_of(small, tmp_path, pass_of(small.params), pass_of(small.params, mutant=MUTANTS[name]))
    window, _ = record(outcomes, traced, tmp_path, CYCLES)
    mismatch = min(outcomes[1].verdict.first, key=lambda one: one.cycle)
    assert window.number == 1 and window.marked == mismatch.cycle and window.reason == str(mismatch)
    assert window.first <= mismatch.cycle <= window.last == window.first + CYCLES - 1
    got = 0xFF * mismatch.got if mismatch.what == "decision" else mismatch.got
    shown = values(tmp_path / "waves/waves.vcd", "tb_core.cycle", *signals)
    *_, marker, cursor = listed(tmp_path)
    assert marker == cursor and shown[marker] == (mismatch.cycle, 1, got)


def test_pass_that_depends_on_the_one_before(small, traced, tmp_path):
    def without_loads(program):
        return replace(
            program, load_bank=program.load_bank[:0], load_addr=program.load_addr[:0], load_words=program.load_words[:0]
        )

    other = pass_of(small.params, seed=6)
    outcomes = outcomes_of(small, tmp_path, other, pass_of(small.params, mutant=without_loads))
    window, _ = record(outcomes, traced, tmp_path, CYCLES)
    mismatch = min(outcomes[1].verdict.first, key=lambda one: one.cycle)
    assert window.number == 1 and window.marked == mismatch.cycle
    shown = values(tmp_path / "waves/waves.vcd", "tb_core.cycle", "tb_core.number")
    assert shown[listed(tmp_path)[2]] == (mismatch.cycle, 1)


@pytest.fixture
def outcome(small, tmp_path):
    return outcomes_of(small, tmp_path, pass_of(small.params))[0]


def test_window(outcome):
    end = outcome.output.done_cycle - 1

    def mismatch(cycle):
        return Mismatch("ofmap", "any", 0, 0, 0, 0, 1, None if cycle is None else 2, cycle)

    def window(*first, broken=(), **output):
        verdict = Verdict(mismatches=len(first), first=list(first), broken=list(broken))
        chosen = choose([Outcome(outcome.planned, replace(outcome.output, **output), verdict)], 100)
        return chosen.first, chosen.last, chosen.marked

    assert window() == (1, 100, 1)
    assert window(mismatch(500), mismatch(400)) == (325, 424, 400)
    assert window(mismatch(20)) == (1, 100, 20)
    assert window(mismatch(end)) == (end - 99, end, end)
    assert window(mismatch(None)) == window(broken=["a law"]) == (end - 99, end, end)
    limit = outcome.planned.run.cycle_limit
    assert window(broken=["no end"], done_cycle=0) == (limit - 99, limit, limit)


def test_short_pass(outcome):
    assert choose([outcome], 10**6).last == outcome.output.done_cycle - 1


@pytest.mark.parametrize(
    "break_it, text",
    [
        (
            lambda patch, folder: patch.setattr(waves.shutil, "disk_usage", lambda _: SimpleNamespace(free=0)),
            r"waves of 300 cycles need 23 MB in {folder}, where 0 MB are free",
        ),
        (
            lambda patch, folder: patch.setattr(waves, "_VCD", "/dev/full"),
            r"waves {folder}/waves cannot be written: No space left on device",
        ),
        (lambda patch, folder: (folder / "waves").touch(), r"waves {folder}/waves cannot be written: Not a directory"),
    ],
)
def test_waves_that_cannot_be_written(outcome, traced, tmp_path, monkeypatch, break_it, text):
    break_it(monkeypatch, tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError) as raised:
        record([outcome], traced, tmp_path, CYCLES)
    assert str(raised.value) == text.format(folder=tmp_path) and sorted(tmp_path.iterdir()) == before


def test_folder_that_cannot_be_made(outcome, traced, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"waves .*/file/waves cannot be written: Not a directory"):
        record([outcome], traced, tmp_path / "file", CYCLES)
