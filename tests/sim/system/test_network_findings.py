"""What the comparison of a whole network's run notices: every file of a right run with something wrong in it."""

import dataclasses

import pytest

from gen.cost.traffic import traffic
from hw.interface.registers import COUNTERS, register
from sim.check import clock as clock_module
from sim.check.clock import Clock, _Timed, run_timed
from sim.testbench.session import COMMANDS
from tests.sim.system.narrow_networks import compared, findings, planned


@pytest.fixture(scope="module")
def finished(small_system, tmp_path_factory):
    """A plan, a run of it that was right, and the testbench's clock beside it."""
    one = planned(small_system.params, 26, "gated", count=2, size=32)
    work = tmp_path_factory.mktemp("finished") / "run"
    [(run, clock)] = small_system.simulator.run(run_timed, ([one.job], {"bandwidth": 8, "latency": 40}), work)
    assert not findings(compared(one, run, clock=clock)) and not findings(compared(one, run))
    return one, run, clock


@pytest.fixture
def copied(finished, tmp_path):
    """The same with files that may be changed, and a function that compares them."""
    one, run, clock = finished
    for suffix in (".trace", ".masks", ".passes"):
        (tmp_path / f"trace{suffix}").write_bytes(run.trace.with_suffix(suffix).read_bytes())
    (tmp_path / "memory").write_bytes(run.memory.read_bytes())
    run = dataclasses.replace(run, trace=tmp_path / "trace", memory=tmp_path / "memory")

    def judge(clock=clock, **changes):
        return compared(one, dataclasses.replace(run, **changes), clock=clock)

    return one, run, judge


def edit(run, suffix, change):
    """Change the lines of a trace file."""
    path = run.trace.with_suffix(suffix)
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def flip(line, digit, bit=1):
    """Change a hexadecimal digit, counted from the end."""
    at = len(line) - 1 - digit
    return line[: at - 1] + f"{int(line[at - 1], 16) ^ bit:x}" + line[at:]


def test_wrong_code(copied):
    one, run, judge = copied
    edit(run, ".trace", lambda lines: [*lines[:700], flip(lines[700], 0), *lines[701:]])
    result = judge()
    assert result.total().mismatches == 1 and not result.total().broken
    [mismatch] = result.total().first
    assert mismatch.what == "ofmap" and mismatch.layer == "conv1" and mismatch.got == mismatch.expected ^ 1
    assert f"{mismatch.cycle:010x}" == run.trace.with_suffix(".trace").read_text().splitlines()[700].split()[0]


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda lines: lines[:-1], "written once and nothing else"),
        (lambda lines: [lines[0], *lines], "written once and nothing else"),
        (lambda lines: ["0000000001" + lines[0][10:], *lines], "before the first pass, but 1 records did"),
    ],
)
def test_wrong_writes(copied, change, text):
    _, run, judge = copied
    edit(run, ".trace", change)
    assert any(text in law for law in judge().total().broken)


def test_wrong_decision(copied):
    _, run, judge = copied
    # The decision's bits are the lowest.
    edit(run, ".masks", lambda lines: [flip(flip(lines[0], 0, 15), 1, 15), *lines[1:]])
    total = judge().total()
    assert total.mismatches == 1 and total.first[0].what == "decision" and total.first[0].layer == "conv2_1"


def test_missing_decision(copied):
    _, run, judge = copied
    edit(run, ".masks", lambda lines: lines[:-1])
    total = judge().total()
    assert total.mismatches == 1 and any("decisions must be counted as the" in law for law in total.broken)


def test_missing_pass(copied):
    one, run, judge = copied
    edit(run, ".passes", lambda lines: [*lines[:3], *lines[4:]])
    broken = judge().total().broken
    count = len(one.program.passes)
    assert any(f"{count - 1} of {count} passes came" in law for law in broken)


def test_wrong_logit_in_memory(copied):
    one, run, judge = copied
    address, size = one.job.network.logits
    logits = bytearray(run.logits)
    logits[4] ^= 1
    total = judge(logits=bytes(logits)).total()
    assert total.mismatches == 1 and total.first[0].what == "logit" and total.first[0].channel == 1
    assert any("must read the logits that are in memory" in law for law in total.broken)


def changed_memory(run, address):
    memory = bytearray(run.memory.read_bytes())
    memory[address] ^= 1
    run.memory.write_bytes(memory)


def test_wrong_stored_map(copied):
    one, run, judge = copied
    name, region = next(iter(one.program.stored_maps.items()))
    changed_memory(run, region.address + 5)
    total = judge().total()
    assert total.mismatches == 1 and (total.first[0].what, total.first[0].layer) == ("stored map", name)


def test_changed_memory(copied):
    one, run, judge = copied
    for address in (one.program.image["weights fc"].address, one.program.image.size + 4096):
        changed_memory(run, address)
        assert any(
            "memory outside of stored maps and logits must stay, but 1 bytes" in law
            and f"the first at {address:#x}" in law
            for law in judge().total().broken
        )
        changed_memory(run, address)


@pytest.mark.parametrize("name", [name for name, _ in COUNTERS])
def test_wrong_counter(copied, name):
    _, run, judge = copied
    assert judge(counters={**run.counters, name: run.counters[name] + 4}).total().broken


@pytest.mark.parametrize(
    "name, text",
    [
        ("AR_PAGE", "the bus must keep its rules, but ar page was broken 1 times"),
        ("W_UNSTABLE", "w unstable was broken"),
        ("LITE_EXTRA", "lite extra was broken"),
        ("read_beats", "bytes read must be counted as the memory's"),
        ("write_beats", "bytes written must be counted as the memory's"),
        ("unknown_reads", "nothing must be read that was never written"),
    ],
)
def test_wrong_report(copied, name, text):
    _, run, judge = copied
    assert any(text in law for law in judge(report={**run.report, name: run.report[name] + 1}).total().broken)


def later(line):
    """Let a record come a cycle later."""
    return f"{int(line[:10], 16) + 1:010x}{line[10:]}"


def test_cycles_are_the_clock_s(copied):
    one, run, judge = copied
    edit(run, ".passes", lambda lines: [*lines[:5], later(lines[5]), *lines[6:]])
    verdict = judge().total()
    layers = [info.layer for info in one.program.passes]
    assert verdict.broken == verdict.clock and len(verdict.clock) == 2 and not verdict.mismatches
    for number, found in zip(
        (4, 5), sorted(verdict.clock, key=lambda text: layers.index(text.split()[1][:-1])), strict=True
    ):
        assert found.startswith(f"layer {layers[number]}, gated: cycles of pass {number} must be the testbench's ")
    assert judge(clock=None).total().clock == verdict.clock


def test_cycles_before_the_first_step_and_after_the_last_are_the_clock_s(finished):
    one, run, clock = finished
    end, cycles = clock.ended[0], run.counters["cycles"]

    def found(**changes):
        return compared(one, run, clock=dataclasses.replace(clock, **changes)).total().clock

    assert clock.ended == (end, end) and found() == []
    assert found(ended=(end + 1, end + 1)) == [
        f"gated: cycles of the run must be the testbench's {cycles + 1}, not {cycles}"
    ]
    assert found(ended=(end - 5, end - 1)) == [
        f"gated: cycles of the run must be the testbench's {cycles - 5} to {cycles - 1}, not {cycles}"
    ]
    assert found(ended=(end - 5, end + 5)) == []
    run_law, pass_law = found(started=clock.started - 1)
    assert f"must be the testbench's {cycles + 1}, not {cycles}" in f"{run_law} {pass_law}"
    assert "cycles before the first step must be the testbench's " in f"{run_law} {pass_law}"


@pytest.mark.parametrize("waited, expected", [(3, (1009, 1009)), (0, (708, 1009))])
def test_clock_of_an_interrupt_that_rises_between_two_waits(tmp_path, waited, expected):
    """Then the testbench knows no more than when it looked last."""
    cycles = iter([100, 708, 1010])

    def call(command, a, b, c):
        if COMMANDS[command] == "report":
            (tmp_path / str(c)).write_text(f"LITE_EXTRA 0\ncycle {next(cycles)}\n")
        return next(waits) if COMMANDS[command] == "wait" else 0

    waits = iter([5, 1 << 63 | waited])
    timed = _Timed(call, tmp_path)
    for name, address in (("write", register("CONTROL").address), ("wait", 5), ("wait", 5)):
        timed(COMMANDS.index(name), address, 1, 0)
    assert timed.clocks == [Clock(started=100, ended=expected)] and not list(tmp_path.iterdir())


def test_traffic_of_a_program(finished):
    one, run, _ = finished
    total = traffic(one.program)[""]
    assert total["weights_read"] == sum(one.program.image[f"weights {info.layer}"].size for info in one.program.passes)
    assert total["logits_written"] == 128 and total == {name: run.counters[name] for name in total}


def test_causes_between_passes_are_the_clock_s(copied):
    """A cycle that counts as a pass's end instead of a wait for the next one adds up all the same."""
    one, run, judge = copied
    assert judge().total().broken == []
    right = clock_module.BETWEEN
    try:
        clock_module.BETWEEN = right + clock_module.SLACK + 1
        broken = judge().total().clock
    finally:
        clock_module.BETWEEN = right
    passes = [info for number, info in enumerate(one.program.passes[:-1]) if number and info.ofmap is not None]
    judged = [info for info in passes if clock_module._is_long(info.geometry)]
    assert len(broken) == len(judged) > 3, [info.layer for info in passes if info not in judged]
    assert all("cycles that wait for the next pass must be the testbench's" in text for text in broken)
