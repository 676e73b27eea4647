"""Mutants one after the other: what comes is handed on, and a simulator that ends is started again."""

import pickle
from types import SimpleNamespace

import pytest

from sim.run.build import SimulationError
from verification.mutation import attempts as module
from verification.mutation.attempts import attempts, run_mutants


class Session:
    """A session whose folder is all that is used."""

    def __init__(self, folder):
        self.folder = folder
        self.closed = 0

    def close_traces(self):
        self.closed += 1


class Simulator:
    """Runs scenarios at once, in this process; ends without a result at some mutants, or never ends."""

    def __init__(self, deadly=(), ends=True):
        self.deadly, self.ends = deadly, ends
        self.started = []

    def start(self, function, arguments, work):
        work.mkdir(parents=True, exist_ok=True)
        numbers, *rest = arguments
        self.started.append(list(numbers))
        reached = [n for n, number in enumerate(numbers) if number in self.deadly]
        folder = work / str(len(self.started))
        folder.mkdir()
        function(Session(folder), numbers[: reached[0]] if reached else numbers, *rest)
        (work / "simulator.log").write_text("%Error: it did not converge\n")
        return SimpleNamespace(ended=self.ends, job=folder / "job", stop=lambda: None)


def selected(session, folder, add):
    number = int((session.folder / "mutant").read_text())
    if number == 3:
        raise ArithmeticError("three")
    return number + add


def test_each_mutant_is_selected_and_its_result_or_error_handed_on(tmp_path):
    found = list(attempts(Simulator(), [0, 3, 5], selected, (100,), tmp_path))
    assert [(one.number, one.value) for one in found] == [(0, 100), (3, None), (5, 105)]
    assert isinstance(found[1].error, ArithmeticError) and found[0].error is None


def test_a_mutant_may_come_twice(tmp_path):
    assert [one.value for one in attempts(Simulator(), [0, 4, 0], selected, (0,), tmp_path)] == [0, 4, 0]


def test_traces_are_closed_after_an_error(tmp_path):
    session = Session(tmp_path)
    assert run_mutants(session, [3, 5], selected, (1,)) == 2
    assert session.closed == 1
    assert pickle.loads((tmp_path / "at_1.attempt").read_bytes()).value == 6


def test_simulator_that_ends_costs_one_mutant(tmp_path):
    simulator = Simulator(deadly=(5, 6))
    found = list(attempts(simulator, [4, 5, 6, 7], selected, (0,), tmp_path))
    assert [one.number for one in found] == [4, 5, 6, 7]
    assert [type(one.error) for one in found] == [type(None), SimulationError, SimulationError, type(None)]
    assert str(found[1].error) == "simulator ended: %Error: it did not converge"
    assert simulator.started == [[4, 5, 6, 7], [6, 7], [7]]


def test_simulator_that_hangs_costs_one_mutant(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    found = list(attempts(Simulator(deadly=(5,), ends=False), [5, 6], selected, (0,), tmp_path))
    assert str(found[0].error) == module.HANGING and found[1].value == 6


@pytest.mark.parametrize("numbers", [[], ()])
def test_nothing_to_do(numbers, tmp_path):
    assert list(attempts(Simulator(), numbers, selected, (0,), tmp_path)) == []
