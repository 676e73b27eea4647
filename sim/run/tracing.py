"""What a simulator that writes waves is built from: Verilator's options, and names that wave viewers understand."""

from __future__ import annotations

import re

__all__ = ["OPTIONS", "traceable"]

#: No memories, and no vectors that are too wide to be read.
OPTIONS = ["-DWAVES", "--trace-max-array", "1", "--trace-max-width", "64"]

_ESCAPED = re.compile(r"\\(\S+)")
#: The lanes are most of the signals, and their sums can be seen where they leave the array.
_LANE = re.compile(r"^module \\?\w+\$\w+\$lane_\d+ .*?^endmodule$", re.MULTILINE | re.DOTALL)


def _name(match: re.Match[str]) -> str:
    # Verilator does not trace what starts with an underscore.
    return "\\" + ("_" if match[1].startswith("$") else "") + match[1].replace(".", "$")


def traceable(verilog: str) -> str:
    """Return the same circuit with ``job.slot`` called ``job$slot``: to viewers a dot is a level of the hierarchy.

    The lanes, and what has no name in `hw/`, such as ``$12``, are not traced.
    """
    return _LANE.sub(r"/*verilator tracing_off*/\n\g<0>\n/*verilator tracing_on*/", _ESCAPED.sub(_name, verilog))
