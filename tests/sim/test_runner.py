"""The runner of the simulator, apart from what the regressions show."""

from sim.cases import random_case
from tests.sim.bench import Trial, check


def test_variables_of_cocotb_are_not_used(small, monkeypatch, tmp_path):
    monkeypatch.setenv("WAVES", "1")
    monkeypatch.setenv("GUI", "1")
    check(small.simulator, small.params, tmp_path / "runs", [Trial("any", random_case(1, size=(2, 2)))])
