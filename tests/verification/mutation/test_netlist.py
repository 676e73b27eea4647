"""Mutants of a small module: chosen, selected, and proven equivalent where they are."""

from types import SimpleNamespace

import pytest

from gen.fpga.toolchain import EndlessError
from verification.mutation import equivalence
from verification.mutation.equivalence import prove
from verification.mutation.mutations import MODES
from verification.mutation.netlist import SELECTOR, list_mutations, run_yosys, wrapper, write_selectable

#: Bit 3 of `wide` is seen by nobody, and `a & a` is `a`.
VERILOG = """
module top(clk, rst, a, b, q);
  input clk, rst; input [2:0] a, b; output [2:0] q;
  wire [3:0] wide;
  wire [2:0] same;
  assign wide = a + b;
  assign same = a & a;
  \\top.inner  inner (.clk(clk), .rst(rst), .d(wide[2:0] ^ same), .q(q));
endmodule
module \\top.inner (clk, rst, d, q);
  input clk, rst; input [2:0] d; output [2:0] q;
  reg [2:0] held = 0;
  always @(posedge clk) if (rst) held <= 0; else held <= d;
  assign q = held;
endmodule
"""
DESCRIPTION = {
    "top": "top",
    "ports": [
        {"name": name, "direction": direction, "width": width}
        for name, direction, width in (
            ("clk", "input", 1),
            ("rst", "input", 1),
            ("a", "input", 3),
            ("b", "input", 3),
            ("q", "output", 3),
        )
    ],
}


@pytest.fixture
def made(tmp_path):
    """Mutations, and the folder with what was made of them."""
    source = tmp_path / "source.v"
    source.write_text(VERILOG)
    mutations = list_mutations(source, "top", 40, 1, tmp_path)
    return mutations, tmp_path


def test_wrapper_has_the_ports_of_the_engine_and_reads_the_selector():
    text = wrapper(DESCRIPTION, "\\inner ", 16)
    assert "module \\top (\n  input wire [0:0] clk, input wire [0:0] rst, input wire [2:0] a," in text
    assert f".{SELECTOR}({SELECTOR})" in text and f"/{SELECTOR}" in text
    assert f".{SELECTOR}" not in wrapper(DESCRIPTION, "\\inner ", 0)


@pytest.mark.slow
def test_same_seed_same_mutations(made, tmp_path):
    mutations, folder = made
    assert len(mutations) == 40 and {mutation.mode for mutation in mutations} <= set(MODES)
    assert [mutation.number for mutation in mutations] == list(range(1, 41))
    assert {mutation.module for mutation in mutations} == {"top", "top.inner"}
    assert list_mutations(folder / "source.v", "top", 40, 1, folder) == mutations
    assert list_mutations(folder / "source.v", "top", 40, 2, folder) != mutations


@pytest.mark.slow
def test_number_0_is_the_original_and_others_are_not(made):
    mutations, folder = made
    write_selectable(DESCRIPTION, mutations, folder)
    wanted = next(mutation for mutation in mutations if mutation.mode == "inv" and "held" in mutation.text)
    same = VERILOG.replace("rst, a, b", f"rst, {SELECTOR}, a, b").replace(
        "input clk, rst; input [2:0] a", f"input clk, rst; input [15:0] {SELECTOR}; input [2:0] a"
    )
    (folder / "gold.v").write_text(same)
    for number, proven in ((0, True), (wanted.number, False)):
        run_yosys(
            "read_verilog gold.v; hierarchy -top top; proc; flatten; rename top gold; design -stash gold; "
            "read_verilog netlist.v; hierarchy -top top.selectable; proc; flatten; rename top.selectable gate; "
            "design -copy-from gold -as gold gold; miter -equiv -flatten gold gate miter; hierarchy -top miter; "
            f"tee -o sat.txt sat -seq 1 -tempinduct -set in_{SELECTOR} {number} -prove trigger 0 -set-init-zero miter",
            folder / "sat.log",
            "comparing",
        )
        assert ("Induction step proven: SUCCESS!" in (folder / "sat.txt").read_text()) is proven, number


@pytest.mark.slow
def test_what_nobody_sees_is_proven_equivalent_and_what_is_seen_is_not(made):
    mutations, folder = made
    proven = prove(mutations, folder)
    unseen = {m.number for m in mutations if m.port == "Y" and m.bit == 3 and m.text.startswith("assign wide")}
    seen = {m.number for m in mutations if m.mode == "inv" and m.port == "Y" and m.bit < 3}
    assert seen and not proven & seen
    assert unseen <= proven
    assert prove([], folder) == set()


#: A memory that is read by two ports.
TWO_PORTS = """
module top(clk, we, wa, wd, ra, a, x, y, q);
  input clk, we; input [1:0] wa, ra; input [3:0] wd; input [2:0] a; output [3:0] x, y; output [2:0] q;
  reg [3:0] mem [0:3];
  reg [1:0] late = 0;
  reg [2:0] q = 0;
  wire [2:0] same;
  assign same = a & a;
  assign y = mem[late];
  assign x = mem[ra];
  always @(posedge clk) begin if (we) mem[wa] <= wd; late <= ra; q <= same; end
endmodule
"""


def test_memory_with_two_read_ports_is_the_same_in_the_copy(tmp_path):
    """What would be written while nothing is written is no fault; all that is inverted is one."""
    source = tmp_path / "source.v"
    source.write_text(TWO_PORTS)
    mutations = list_mutations(source, "top", 80, 1, tmp_path)
    proven = prove(mutations, tmp_path)
    assert proven
    assert all(mutation.mode != "inv" for mutation in mutations if mutation.number in proven)


def test_proof_that_does_not_end_is_given_up(monkeypatch, tmp_path):
    """The second of three hangs; those before and after it are proven."""
    given = []

    def run(script, log, title, limit):
        numbers = [number for number in (1, 2, 3) if f"proof_{number}.txt" in script]
        given.append(numbers)
        for number in numbers:
            if number == 2:
                raise EndlessError("no end")
            (log.parent / f"proof_{number}.txt").write_text("Of those cells 5 are proven and 0 are unproven.")

    monkeypatch.setattr(equivalence, "run_yosys", run)
    script = "mutate -mode inv -module top -cell $1 -port Y"
    mutations = [SimpleNamespace(number=n, module="top", cell="$1", script=script) for n in (1, 2, 3)]
    assert prove(mutations, tmp_path) == {1, 3}
    assert given == [[1, 2, 3], [2, 3], [3]]
