"""Registers of multipliers and block RAMs: which flip-flops may move into them, and what is left then."""

import copy

import pytest

from gen.fpga.hard_registers import absorb_registers

CLOCK, UNUSED, BITS = 2, 99, 4


def flip_flop(source, output):
    return {
        "type": "TRELLIS_FF",
        "parameters": {"CEMUX": "1 ", "REGSET": "RESET"},
        "port_directions": {"CLK": "input", "DI": "input", "LSR": "input", "Q": "output"},
        "connections": {"CLK": [CLOCK], "DI": [source], "LSR": ["0"], "Q": [output]},
    }


def lut(source, output):
    return {
        "type": "LUT4",
        "parameters": {},
        "port_directions": {"A": "input", "Z": "output"},
        "connections": {"A": [source], "Z": [output]},
    }


def multiplier():
    """Return a netlist: flip-flops 50.., a multiplier of which 4 bits are used, a flip-flop behind each, and a LUT.

    A is two bits and a constant, B one bit that is extended; the flip-flop before A0 is used by a LUT, too.
    """
    cells = {
        "mult": {
            "type": "MULT18X18D",
            "parameters": {"REG_OUTPUT_CLK": "NONE"},
            "port_directions": (
                {f"P{n}": "output" for n in range(BITS + 1)}
                | dict.fromkeys(("A0", "A1", "A2", "B0", "B1", "SIGNEDA"), "input")
            ),
            "connections": (
                {f"P{n}": [10 + n] for n in range(BITS)}
                | {f"P{BITS}": [UNUSED], "SIGNEDA": ["1"]}
                | {"A0": [60], "A1": [61], "A2": ["0"], "B0": [62], "B1": [62]}
            ),
        }
    }
    cells |= {f"out{n}": flip_flop(10 + n, 20 + n) for n in range(BITS)}
    cells |= {f"in{n}": flip_flop(50 + n, 60 + n) for n in range(3)}
    cells |= {"lut": lut(20, 30), "other": lut(60, 31)}
    return {"modules": {"top": {"ports": {"o": {"bits": [30, 31, 21]}, "i": {"bits": [50, 51, 52]}}, "cells": cells}}}


def test_registers_move_into_the_multiplier():
    made = multiplier()
    assert absorb_registers(made, "top") == BITS + 2
    cells = made["modules"]["top"]["cells"]
    assert sorted(cells) == ["in0", "lut", "mult", "other"]
    wires, parameters = cells["mult"]["connections"], cells["mult"]["parameters"]
    assert [wires[f"P{n}"] for n in range(BITS + 1)] == [[20], [21], [22], [23], [UNUSED]]
    assert [wires[port] for port in ("A0", "A1", "A2", "B0", "B1")] == [[50], [51], ["0"], [52], [52]]
    assert [wires[port] for port in ("CLK0", "CE0", "RST0", "SIGNEDA")] == [[CLOCK], ["1"], ["0"], ["1"]]
    assert {cells["mult"]["port_directions"][port] for port in ("CLK0", "CE0", "RST0")} == {"input"}
    assert parameters == {
        f"REG_{which}_{what}": value
        for which in ("OUTPUT", "INPUTA", "INPUTB")
        for what, value in (("CLK", "CLK0"), ("CE", "CE0"), ("RST", "RST0"))
    }


def enabled(cells, ports, name):
    cells[name]["parameters"]["CEMUX"] = "CE"


def resettable(cells, ports, name):
    cells[name]["connections"]["LSR"] = [40]


def starts_at_one(cells, ports, name):
    cells[name]["parameters"]["REGSET"] = "SET"


def product_used_twice(cells, ports, name):
    cells["lut"]["connections"]["A"] = [11]


def product_at_a_port(cells, ports, name):
    ports["o"]["bits"].append(12)


def product_without_register(cells, ports, name):
    del cells[name]
    cells["lut"]["connections"]["A"] = [11]


def product_unused(cells, ports, name):
    for n in range(BITS):
        del cells[f"out{n}"]


@pytest.mark.parametrize(
    "change",
    [
        enabled,
        resettable,
        starts_at_one,
        product_used_twice,
        product_at_a_port,
        product_without_register,
        product_unused,
    ],
)
def test_what_the_outputs_cannot_do_stays_outside(change):
    made = multiplier()
    top = made["modules"]["top"]
    change(top["cells"], top["ports"], "out1")
    before = copy.deepcopy(made)
    assert absorb_registers(made, "top") == 0
    assert made == before


def input_constant(cells, ports, name):
    cells["mult"]["connections"]["A2"] = ["1"]


def input_without_register(cells, ports, name):
    cells["mult"]["connections"]["B1"] = [52]


@pytest.mark.parametrize("change", [enabled, resettable, starts_at_one, input_constant, input_without_register])
def test_what_the_inputs_cannot_do_stays_outside(change):
    made = multiplier()
    top = made["modules"]["top"]
    change(top["cells"], top["ports"], "in1")
    wires = {port: bits for port, bits in top["cells"]["mult"]["connections"].items() if port[0] in "AB"}
    assert absorb_registers(made, "top") == BITS
    assert wires == {port: bits for port, bits in top["cells"]["mult"]["connections"].items() if port[0] in "AB"}
    assert "REG_INPUTA_CLK" not in top["cells"]["mult"]["parameters"] and {"in0", "in1", "in2"} <= set(top["cells"])


def memory():
    """Return a netlist: a block RAM with outputs of both ports, and a flip-flop behind each."""
    cells = {
        "ram": {
            "type": "DP16KD",
            "parameters": {"REGMODE_A": "NOREG", "REGMODE_B": "NOREG", "DATA_WIDTH_A": 36},
            "port_directions": dict.fromkeys(("CLKA", "CLKB", "OCEA", "OCEB", "RSTA", "RSTB"), "input")
            | dict.fromkeys(("DOA0", "DOA1", "DOB0"), "output"),
            "connections": {
                "CLKA": [CLOCK],
                "CLKB": [CLOCK],
                "OCEA": ["0"],
                "OCEB": ["1"],
                "RSTA": ["0"],
                "RSTB": ["0"],
                "DOA0": [10],
                "DOA1": [UNUSED],
                "DOB0": [11],
            },
        },
        "out0": flip_flop(10, 20),
        "out1": flip_flop(11, 21),
    }
    return {"modules": {"top": {"ports": {"o": {"bits": [20, 21]}}, "cells": cells}}}


def test_registers_move_into_the_memory():
    made = memory()
    assert absorb_registers(made, "top") == 2
    cells = made["modules"]["top"]["cells"]
    assert list(cells) == ["ram"]
    assert cells["ram"]["parameters"] == {"REGMODE_A": "OUTREG", "REGMODE_B": "OUTREG", "DATA_WIDTH_A": 36}
    assert [cells["ram"]["connections"][port] for port in ("DOA0", "DOA1", "DOB0")] == [[20], [UNUSED], [21]]
    assert cells["ram"]["connections"]["OCEA"] == cells["ram"]["connections"]["OCEB"] == ["1"]


def two_clocks(cells, ports, name):
    cells["ram"]["connections"]["CLKA"] = [3]


def memory_reset(cells, ports, name):
    cells["ram"]["connections"]["RSTB"] = [40]


@pytest.mark.parametrize("change", [enabled, resettable, starts_at_one, two_clocks, memory_reset])
def test_what_the_memory_cannot_do_keeps_all_outside(change):
    made = memory()
    change(made["modules"]["top"]["cells"], None, "out1")
    before = copy.deepcopy(made)
    assert absorb_registers(made, "top") == 0
    assert made == before


def test_flip_flops_of_two_clocks_are_refused():
    made = memory()
    made["modules"]["top"]["cells"]["out0"]["connections"]["CLK"] = [3]
    with pytest.raises(ValueError, match="module top must have one clock, not 2"):
        absorb_registers(made, "top")
