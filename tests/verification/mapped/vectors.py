"""Small benches of Verilog: inputs of each cycle go in as a number, outputs come back as one.

`tests.verification.mapped` builds and runs them; the simulator loads this file, too.
"""

import os
from pathlib import Path

import cocotb
from cocotb.triggers import Timer

FOLDER = Path(os.environ["CDGATE_WORK"]) if "CDGATE_WORK" in os.environ else Path()


@cocotb.test()
async def play(dut):
    """Apply a line of stimulus.txt, write what is seen before the rising edge to answers.txt, and so on."""
    answers = []
    for line in (FOLDER / "stimulus.txt").read_text().split():
        dut.stimulus.value = int(line, 16)
        await Timer(1, "step")
        answers.append(f"{int(dut.answers.value):x}\n")
        dut.clk.value = 1
        await Timer(1, "step")
        dut.clk.value = 0
        await Timer(1, "step")
    (FOLDER / "answers.txt").write_text("".join(answers))


def bench(inputs, outputs, body, extra=""):
    """Return the Verilog of a bench.

    `inputs` and `outputs` are widths by name; `body` is what lies between, which may use `clk`; `extra` are modules.
    """

    def slices(widths):
        first = 0
        for name, width in widths.items():
            yield name, width, first
            first += width

    lines = [
        "module vectors;",
        "  logic clk /* verilator public_flat_rw */ = 0;",
        f"  logic [{sum(inputs.values()) - 1}:0] stimulus /* verilator public_flat_rw */ = 0;",
        f"  wire [{sum(outputs.values()) - 1}:0] answers /* verilator public_flat_rd */;",
        *(f"  wire [{width - 1}:0] {name} = stimulus[{first} +: {width}];" for name, width, first in slices(inputs)),
        *(f"  wire [{width - 1}:0] {name};" for name, width in outputs.items()),
        *(f"  assign answers[{first} +: {width}] = {name};" for name, width, first in slices(outputs)),
        body,
        "endmodule",
    ]
    return extra + "\n" + "\n".join(lines) + "\n"


def packed(widths, values):
    """Return the number that has these values, by name, in its bits."""
    number = first = 0
    for name, width in widths.items():
        assert 0 <= values[name] < 1 << width, name
        number |= values[name] << first
        first += width
    return number


def unpacked(widths, number):
    """Return the values, by name, that are in a number's bits."""
    values = {}
    for name, width in widths.items():
        values[name] = number & ((1 << width) - 1)
        number >>= width
    return values
