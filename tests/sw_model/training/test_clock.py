"""The progress of a phase by steps and by time."""

import math

from sw_model.training import clock as module
from sw_model.training.clock import Clock


def test_progress_is_whichever_is_farther(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    steps, time, both = Clock(8), Clock(seconds=20), Clock(8, 20)
    assert [clock.timed for clock in (steps, time, both)] == [False, True, True]
    assert [clock.progress(2) for clock in (steps, time, both)] == [0.25, 0, 0.25]
    now[0] += 10
    assert [clock.progress(2) for clock in (steps, time, both)] == [0.25, 0.5, 0.5]
    assert [clock.left(2, 0.5) for clock in (steps, time, both)] == [12, 10, 10]
    time.before = 5  # of an earlier launch
    assert time.progress(0) == 0.75 and time.left(0, 1) == 5
    now[0] += 100
    assert time.progress(0) == 1 and time.left(0, 1) == 0 and steps.progress(9) == 1
    assert math.isinf(Clock().left(0, 1)) and Clock().progress(10**9) == 0
