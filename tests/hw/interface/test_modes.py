"""The hardware's gate modes are those that the rest of the project knows by name."""

from cdgate import modes
from hw.interface.layouts import GateMode


def test_hardware_has_the_modes_of_the_project_in_their_order():
    assert [mode.name for mode in GateMode] == [mode.name for mode in modes.GateMode]
    assert [mode.name.lower() for mode in GateMode] == [mode.value for mode in modes.GateMode]
    assert [mode.value for mode in GateMode] == list(range(len(modes.GateMode)))
