"""Moves flip-flops into the multipliers and block RAMs of an ECP5, which Yosys does not.

A MULT18X18D has registers at its inputs and its outputs, a DP16KD at its outputs. What is registered there needs no
flip-flops and no wires to them, and the block's own delay lies behind the register instead of before it. What is
changed is a flat netlist in Yosys' JSON format, between Yosys and nextpnr.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

__all__ = ["absorb_registers"]

#: A cell of the netlist, as Yosys writes it.
Cell = dict[str, Any]

#: A net: the number of a wire, or a constant.
Bit = int | str


def _is_plain(cell: Cell) -> bool:
    """Whether a cell is a flip-flop that does what a block's register can: no enable, no reset, starts at 0."""
    return (
        cell["type"] == "TRELLIS_FF"
        and cell["parameters"]["CEMUX"].strip() == "1"
        and cell["parameters"].get("REGSET", "RESET") == "RESET"
        and cell["connections"].get("LSR", ["0"]) in ([], ["0"])
    )


class _Module:
    """A module's cells, and by net who uses it and which plain flip-flop drives it."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self.cells: dict[str, Cell] = module["cells"]
        self.users: dict[Bit, list[str]] = defaultdict(list)
        self.drivers: dict[Bit, str] = {}
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] != "output":
                    for bit in bits:
                        self.users[bit].append(name)
            if _is_plain(cell):
                self.drivers[cell["connections"]["Q"][0]] = name
        for port in module["ports"].values():
            for bit in port["bits"]:
                self.users[bit].append("")  # which is no cell

    def take_outputs(self, name: str, pattern: str, clock: Bit) -> bool:
        """Let block `name` drive what the flip-flops behind its outputs `pattern` drove, and remove these.

        Each output that is used at all must go to one flip-flop of this `clock` and nowhere else. Returns whether that
        was so.
        """
        wires = self.cells[name]["connections"]
        behind = {
            port: self.users[bits[0]]
            for port, bits in wires.items()
            if re.fullmatch(pattern, port) and bits and self.users[bits[0]]
        }
        if not behind or not all(self._is_only_register(names, clock) for names in behind.values()):
            return False
        for port, [register] in behind.items():
            wires[port] = self.cells.pop(register)["connections"]["Q"]
            del self.drivers[wires[port][0]]
        return True

    def _is_only_register(self, names: list[str], clock: Bit) -> bool:
        return (
            len(names) == 1
            and names[0] in self.cells
            and _is_plain(self.cells[names[0]])
            and self.cells[names[0]]["connections"]["CLK"] == [clock]
        )

    def take_inputs(self, name: str, pattern: str, clock: Bit) -> bool:
        """Let inputs `pattern` of block `name` see what the flip-flops before them see.

        Each input must come from a flip-flop of this `clock` or be constantly 0. A flip-flop that nothing else uses is
        removed. Returns whether that was so.
        """
        wires = self.cells[name]["connections"]
        bits = {port: bits[0] for port, bits in wires.items() if re.fullmatch(pattern, port) and bits != ["0"]}
        if not all(
            bit in self.drivers and self.cells[self.drivers[bit]]["connections"]["CLK"] == [clock]
            for bit in bits.values()
        ):
            return False
        for port, bit in bits.items():
            wires[port] = self.cells[self.drivers[bit]]["connections"]["DI"]
            self.users[bit].remove(name)
            self.users[wires[port][0]].append(name)
        for bit in set(bits.values()):
            if not self.users[bit]:
                register = self.drivers.pop(bit)
                self.users[self.cells.pop(register)["connections"]["DI"][0]].remove(register)
        return True


def _absorb_memory(module: _Module, name: str) -> None:
    wires = module.cells[name]["connections"]
    # A reset acts on both the memory's own output and the register, and a flip-flop would follow a clock later. In a
    # memory of 36 bits the outputs of both ports are those of one.
    resets = wires.get("RSTA", ["0"]) + wires.get("RSTB", ["0"])
    if (
        resets == ["0", "0"]
        and wires["CLKA"] == wires["CLKB"]
        and module.take_outputs(name, r"DO[AB]\d+", wires["CLKB"][0])
    ):
        module.cells[name]["parameters"] |= {"REGMODE_A": "OUTREG", "REGMODE_B": "OUTREG"}
        wires |= {"OCEA": ["1"], "OCEB": ["1"]}


def _absorb_multiplier(module: _Module, name: str, clock: Bit) -> None:
    cell = module.cells[name]
    if not module.take_outputs(name, r"P\d+", clock):
        return
    registered = ["OUTPUT"]
    if module.take_inputs(name, r"[AB]\d+", clock):
        registered += ["INPUTA", "INPUTB"]
    for which in registered:
        cell["parameters"] |= {f"REG_{which}_CLK": "CLK0", f"REG_{which}_CE": "CE0", f"REG_{which}_RST": "RST0"}
    cell["connections"] |= {"CLK0": [clock], "CE0": ["1"], "RST0": ["0"]}
    cell["port_directions"] |= {"CLK0": "input", "CE0": "input", "RST0": "input"}


def absorb_registers(netlist: Mapping[str, Any], top: str) -> int:
    """Change module `top` of `netlist` in place; return the number of flip-flops that were taken away.

    A block's outputs are registered in the block if each that is used at all goes to one flip-flop and nowhere else,
    which has the block's clock, no enable and no reset; a memory must have no reset either. A multiplier's inputs are
    if, besides, each of them comes from such a flip-flop, which stays where others use it, too.

    Raises
    ------
    ValueError
        If the module has more than one clock.
    """
    module = _Module(netlist["modules"][top])
    before = len(module.cells)
    clocks = {cell["connections"]["CLK"][0] for cell in module.cells.values() if cell["type"] == "TRELLIS_FF"}
    if len(clocks) > 1:
        raise ValueError(f"module {top} must have one clock, not {len(clocks)}")
    for name, cell in list(module.cells.items()):
        if cell["type"] == "DP16KD":
            _absorb_memory(module, name)
    for name, cell in list(module.cells.items()):
        if cell["type"] == "MULT18X18D":
            _absorb_multiplier(module, name, *clocks)
    return before - len(module.cells)
