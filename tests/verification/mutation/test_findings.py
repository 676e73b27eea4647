"""What a run shows, by kind."""

import pytest

from gen.host.driver import DriverError, EngineError, WaitError
from hw.interface.instructions import ErrorCode
from sim.check.verdict import Mismatch, Verdict
from sim.run.build import SimulationError
from verification.mutation.findings import of_error, of_verdict
from verification.scenarios.bench import ScenarioError


def good():
    return Verdict(outputs_checked=5)


def test_nothing_is_found_in_a_run_that_passes():
    assert of_verdict(good(), "run") is None


def test_all_kinds_are_named_and_the_first_tells():
    verdict = good()
    verdict.broken.append("a law")
    verdict.break_clock(["the clock"])
    verdict.model.append("the model")
    found = of_verdict(verdict, "run")
    assert (found.kinds, found.text, found.trial) == (("law", "clock", "model"), "a law", "run")
    verdict.mismatches = 1
    verdict.first.append(Mismatch("ofmap", "conv", 0, 0, 0, 0, 1, 2, 3))
    found = of_verdict(verdict, "run")
    assert found.kinds == ("mismatch", "law", "clock", "model") and "expected 1, got 2" in found.text


def test_a_clock_that_is_wrong_is_no_other_law():
    verdict = good()
    verdict.break_clock(["the clock"])
    assert of_verdict(verdict, "run").kinds == ("clock",)


def test_a_run_that_compared_nothing_does_not_pass():
    assert of_verdict(Verdict(), "run").text == "fail: nothing was compared"


@pytest.mark.parametrize(
    "error, kind",
    [
        (EngineError(ErrorCode.WATCHDOG, 3), "watchdog"),
        (EngineError(ErrorCode.READ_DECODE, 3), "error"),
        (WaitError("run is still under way after 5 cycles"), "time-out"),
        (DriverError("read of register 0x4 is not answered"), "error"),
        (SimulationError("simulator ended: %Error"), "simulator"),
        (ScenarioError("no error"), "scenario"),
        (KeyError(7), "error"),
    ],
)
def test_errors(error, kind):
    assert of_error(error, "run").kinds == (kind,)
