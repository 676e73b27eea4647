"""The verdict in a line: whether a run passed, and if not, why."""

import pytest

from sim.check.verdict import Verdict


@pytest.mark.parametrize(
    "found, text",
    [
        ({}, "pass"),
        ({"outputs_checked": 0}, "fail: nothing was compared"),
        ({"mismatches": 3}, "fail: mismatches: 3"),
        ({"broken": ["a", "b"]}, "fail: laws: 2 broken"),
        ({"broken": ["a", "b"], "clock": ["b"]}, "fail: laws: 1 broken; clock: b"),
        ({"broken": ["a", "b"], "clock": ["a", "b"]}, "fail: clock: a, and 1 more"),
        ({"model": ["c"]}, "fail: model: c"),
        ({"mismatches": 1, "model": ["c", "d", "e"]}, "fail: mismatches: 1; model: c, and 2 more"),
    ],
)
def test_text(found, text):
    verdict = Verdict(**{"outputs_checked": 5, **found})
    assert verdict.text == text and verdict.passed is (text == "pass")
    assert verdict.holds is not bool(found.get("mismatches") or found.get("broken"))
    total = Verdict()
    total.add(verdict)
    assert total.text == text


def test_laws_of_the_clock_are_laws():
    verdict = Verdict(outputs_checked=1)
    verdict.break_clock(iter(["late"]))
    assert verdict.broken == verdict.clock == ["late"] and not verdict.holds
