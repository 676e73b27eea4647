"""One mutation of a netlist, as ``mutate -list`` of Yosys writes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MODES", "Mutation", "parse"]

#: What is done to a bit of a port: it is fixed, inverted, or inverted where another bit of the port is 0 or 1.
MODES = {
    "const0": "is 0",
    "const1": "is 1",
    "inv": "inverted",
    "cnot0": "inverted if bit {ctrlbit} is 0",
    "cnot1": "inverted if bit {ctrlbit} is 1",
}

#: A place in a source file: first line and last line.
_PLACE = re.compile(r"[^:]*:(\d+)\.\d+(?:-(\d+)\.\d+)?$")

#: Source lines that are kept of a cell that is spread over many of them.
_LINES = 6


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A bit of a cell's port that is wrong.

    Attributes
    ----------
    number
        By which it is selected; 1 is the first.
    mode
        One of `MODES`.
    module, cell, port
        Where; the cell's name is Yosys' own and has the line in it.
    bit
        Of the port.
    control
        Of the port, too: the bit that decides, for the modes cnot0 and cnot1; None otherwise.
    text
        The Verilog that the cell stands for, in one line: the statements that `mutate` gives as its source.
    lines
        Where that is: line numbers, first and last.
    """

    number: int
    mode: str
    module: str
    cell: str
    port: str
    bit: int
    control: int | None
    text: str
    lines: tuple[int, int]

    @property
    def change(self) -> str:
        """What is changed, in words."""
        return f"{self.port}[{self.bit}] {MODES[self.mode].format(ctrlbit=self.control)}"

    @property
    def key(self) -> str:
        """What the mutation is, whatever the numbers of lines and cells: module, statement, change."""
        return f"{self.module}: {self.text}: {self.change}"

    @property
    def script(self) -> str:
        """The command of Yosys that makes it, without a selector."""
        return " ".join(["mutate", *self._options()])

    def selected(self, signal: str, width: int) -> str:
        """Return the command that makes it where the control signal has its number."""
        return " ".join(["mutate", "-ctrl", signal, str(width), str(self.number), *self._options()])

    def _options(self) -> list[str]:
        options = ["-mode", self.mode, "-module", self.module, "-cell", self.cell, "-port", self.port]
        options += ["-portbit", str(self.bit)]
        if self.control is not None:
            options += ["-ctrlbit", str(self.control)]
        return options


def _place(sources: Sequence[str]) -> tuple[int, int]:
    """Return the lines of the most local of some places: that which is the statement, not the declaration of a wire."""
    found = [match for match in map(_PLACE.search, sources) if match]
    if not found:
        return 0, 0
    first, last = found[-1].groups()
    return int(first), int(last or first)


def _statement(verilog: Sequence[str], lines: tuple[int, int]) -> str:
    first, last = lines
    text = verilog[max(first - 1, 0) : min(last, first - 1 + _LINES)] if first else []
    return " ".join(" ".join(text).split())


def parse(listed: str, verilog: str) -> list[Mutation]:
    """Return the mutations of a list.

    Parameters
    ----------
    listed
        What ``mutate -list`` has written, a line each.
    verilog
        The text that Yosys has read.

    Raises
    ------
    ValueError
        If a line is of another form.
    """
    text = verilog.splitlines()
    found: list[Mutation] = []
    for line in listed.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] != "mutate":
            raise ValueError(f"no mutation: {line}")
        options: dict[str, list[str]] = {}
        for name, value in zip(words[1::2], words[2::2], strict=True):
            options.setdefault(name, []).append(value)
        if options.get("-mode", ["none"])[0] not in MODES:
            raise ValueError(f"no mode of a mutation: {line}")
        lines = _place(options.get("-src", []))
        control = options.get("-ctrlbit")
        found.append(
            Mutation(
                number=len(found) + 1,
                mode=options["-mode"][0],
                module=options["-module"][0],
                cell=options["-cell"][0],
                port=options["-port"][0],
                bit=int(options["-portbit"][0]),
                control=int(control[0]) if control else None,
                text=_statement(text, lines),
                lines=lines,
            )
        )
    return found
