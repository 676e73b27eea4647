"""Lists of mutations as Yosys writes them."""

import pytest

from verification.mutation.mutations import parse

VERILOG = """module a.b(x, y);
  wire [3:0] sum;
  assign sum = x +
    y;
endmodule
"""
LISTED = """mutate -mode cnot1 -module a.b -cell $add$e.v:3$7 -port Y -portbit 2 -ctrlbit 1 \
-src e.v:2.8-2.14 -src e.v:3.16-4.6
mutate -mode const0 -module a.b -cell inner -port q -portbit 0 -wire sum -wirebit 0 -src e.v:2.8-2.14
"""


def test_fields_words_and_commands():
    first, second = parse(LISTED, VERILOG)
    assert (first.number, second.number) == (1, 2)
    assert (first.module, first.cell, first.port, first.bit, first.control) == ("a.b", "$add$e.v:3$7", "Y", 2, 1)
    assert first.change == "Y[2] inverted if bit 1 is 1" and second.change == "q[0] is 0"
    assert first.text == "assign sum = x + y;" and first.lines == (3, 4)
    assert first.key == "a.b: assign sum = x + y;: Y[2] inverted if bit 1 is 1"
    assert first.script == "mutate -mode cnot1 -module a.b -cell $add$e.v:3$7 -port Y -portbit 2 -ctrlbit 1"
    assert second.selected("mutant", 16) == (
        "mutate -ctrl mutant 16 2 -mode const0 -module a.b -cell inner -port q -portbit 0"
    )


def test_key_does_not_depend_on_where_the_statement_is():
    moved = LISTED.replace("e.v:3.16-4.6", "e.v:4.16-5.6").replace("e.v:3$7", "e.v:4$9")
    assert parse(moved, "// a line more\n" + VERILOG)[0].key == parse(LISTED, VERILOG)[0].key


@pytest.mark.parametrize("line", ["connect a b", "mutate -mode none", "mutate -mode swap -module a -cell b"])
def test_other_lines_are_refused(line):
    with pytest.raises(ValueError, match=line):
        parse(line, VERILOG)
