"""A small module, mapped: its registers may move into blocks, and nothing of it may change; planted faults are seen."""

import copy
import json

from rich.console import Console

from gen.fpga import hard_registers
from gen.fpga.preparation import prepare
from gen.fpga.toolchain import TARGETS
from tests.verification.mapped.simulation import build, simulate
from tests.verification.mapped.vectors import bench
from verification.mapped.cells import models, netlist_verilog

#: Multipliers: both registers; a product with an enable, with a reset; an operand that is used elsewhere, too. RAMs of
#: all widths, with initial words and with bytes that are written alone, all with a register at the output; that of one
#: has an enable, and one RAM must give the old word where it is written.
VERILOG = """
module part (clk, rst, en, a, b, we, wa, ra, be, d, q);
  input clk, rst, en, we; input [8:0] a, b; input [13:0] wa, ra; input [3:0] be; input [35:0] d; output [255:0] q;
  reg signed [8:0] a1 = 0, b1 = 0;
  reg signed [17:0] p0 = 0, p1 = 0, p2 = 0, p3 = 0;
  always @(posedge clk) begin
    a1 <= a;
    b1 <= b;
    p0 <= a1 * b1;
    if (en) p1 <= $signed(a) * $signed(b);
    if (rst) p2 <= 0; else p2 <= a1 * $signed(b);
    p3 <= $signed(a) * $signed(~b);
  end

  wire apart = we & (wa != ra);
  reg [3:0] x [0:4095];
  reg [8:0] y [0:2047];
  reg [17:0] z [0:1023];
  reg [35:0] w [0:511];
  reg [1:0] v [0:8191];
  reg [15:0] u [0:1023];
  integer n;
  initial for (n = 0; n < 512; n = n + 1) begin
    w[n] = n * 36'h123456789;
    z[n] = n * 18'h12345;
    x[n] = n * 7;
  end
  reg [3:0] xr = 0, xo = 0;
  reg [8:0] yr = 0, yo = 0;
  reg [17:0] zr = 0, zo = 0;
  reg [35:0] wr = 0, wo = 0;
  reg [1:0] vr = 0, vo = 0;
  reg [15:0] ur = 0, uo = 0;
  always @(posedge clk) begin
    if (apart) begin
      x[wa[11:0]] <= d;
      y[wa[10:0]] <= d;
      v[wa[12:0]] <= d;
    end
    for (n = 0; n < 2; n = n + 1) if (apart & be[n]) z[wa[9:0]][9*n +: 9] <= d[9*n +: 9];
    for (n = 0; n < 4; n = n + 1) if (apart & be[n]) w[wa[8:0]][9*n +: 9] <= d[9*n +: 9];
    if (we) u[wa[9:0]] <= d;
    xr <= x[ra[11:0]];
    yr <= y[ra[10:0]];
    zr <= z[ra[9:0]];
    wr <= w[ra[8:0]];
    vr <= v[ra[12:0]];
    ur <= u[ra[9:0]];
    xo <= xr;
    yo <= yr;
    zo <= zr;
    wo <= wr;
    if (en) vo <= vr;
    uo <= ur;
  end
  assign q = {uo, vo, wo, zo, yo, xo, a1, p3, p2, p1, p0};
endmodule
"""
for memory in "xyzwv":
    old = next(line for line in VERILOG.splitlines() if f"] {memory} [0:" in line)
    VERILOG = VERILOG.replace(old, f'  (* no_rw_check, ram_style = "block" *) {old.strip()}')
VERILOG = VERILOG.replace("  reg [15:0] u", '  (* ram_style = "block" *) reg [15:0] u')

INPUTS = {"rst": 1, "en": 1, "we": 1, "a": 9, "b": 9, "wa": 14, "ra": 14, "be": 4, "d": 36}


class Fault:
    """A change of the pass, or of what it makes."""

    def enable_is_overlooked(self, monkeypatch):
        plain = hard_registers._is_plain
        change = {"CEMUX": "1 "}
        monkeypatch.setattr(
            hard_registers, "_is_plain", lambda cell: plain({**cell, "parameters": {**cell["parameters"], **change}})
        )

    def reset_is_overlooked(self, monkeypatch):
        plain = hard_registers._is_plain
        monkeypatch.setattr(
            hard_registers,
            "_is_plain",
            lambda cell: plain({**cell, "connections": {**cell["connections"], "LSR": ["0"]}}),
        )

    def regmode_is_dropped(self, cells):
        for cell in cells.values():
            if cell["type"] == "DP16KD":
                cell["parameters"]["REGMODE_B"] = "NOREG"

    def operands_are_not_registered(self, cells):
        for cell in cells.values():
            if cell["type"] == "MULT18X18D":
                cell["parameters"] |= {"REG_INPUTA_CLK": "NONE", "REG_INPUTB_CLK": "NONE"}

    def two_registers_are_swapped(self, cells):
        wires = next(cell for cell in cells.values() if cell["parameters"].get("REG_OUTPUT_CLK"))["connections"]
        wires["P0"], wires["P1"] = wires["P1"], wires["P0"]


def absorbed(mapped):
    netlist = copy.deepcopy(mapped)
    TARGETS["ecp5-85f"].prepare(netlist, "part")
    return netlist


def variants(mapped, monkeypatch):
    """Yield netlists by name: as Yosys leaves it, with the registers moved, with faults in that."""
    yield "mapped", mapped
    yield "moved", absorbed(mapped)
    for name in ("enable_is_overlooked", "reset_is_overlooked"):
        with monkeypatch.context() as patch:
            getattr(Fault(), name)(patch)
            yield name, absorbed(mapped)
    for name in ("regmode_is_dropped", "operands_are_not_registered", "two_registers_are_swapped"):
        netlist = absorbed(mapped)
        getattr(Fault(), name)(netlist["modules"]["part"]["cells"])
        yield name, netlist


def steps(rng, count=3000):
    """Return random inputs; the addresses are few, but reach all over the RAMs."""
    places = [rng.randrange(1 << 14) for _ in range(6)]
    made = []
    for _ in range(count):
        made.append({name: rng.randrange(1 << width) for name, width in INPUTS.items()})
        made[-1] |= {"wa": rng.choice(places), "ra": rng.choice(places), "rst": rng.randrange(8) == 0}
    return made


def test_moved_registers_change_nothing_and_faults_do(root, rng, monkeypatch, tmp_path):
    prepared = prepare(TARGETS["ecp5-85f"], VERILOG, "part", tmp_path, Console(quiet=True), "part")
    cells = prepared.facts["cells"]
    assert prepared.facts["harness"] == {}
    # Of p0 those of b and of the product: a1 has another use. p3; outputs of the RAMs without enable and without logic.
    assert prepared.facts["registers_in_blocks"] == (9 + 18) + 18 + (4 + 9 + 18 + 36), cells
    mapped = json.loads((tmp_path / "part_mapped.json").read_text())
    texts, body, outputs = [models(), VERILOG], [], {"source": 256}
    pins = ", ".join(f".{name}({name})" for name in INPUTS)
    body.append(f"  part source_ (.clk(clk), {pins}, .q(source));")
    for name, netlist in variants(mapped, monkeypatch):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(netlist))
        texts.append(netlist_verilog(path, "part", f"part_{name}"))
        body.append(f"  part_{name} {name}_ (.clk(clk), {pins}, .q({name}));")
        outputs[name] = 256
    simulator = build("absorbing", bench(INPUTS, outputs, "\n".join(body), "\n".join(texts)), root, tmp_path)
    wrong = dict.fromkeys(outputs, 0)
    for seen in simulate(simulator, INPUTS, outputs, steps(rng), tmp_path / "run"):
        for name in outputs:
            wrong[name] += seen[name] != seen["source"]
    assert wrong.pop("source") == wrong.pop("mapped") == wrong.pop("moved") == 0
    assert len(wrong) == 5 and min(wrong.values()) > 100, wrong
