"""The netlist in which an input selects the mutant: one build of the simulator serves all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdgate.cli import console
from cdgate.files import write_file, write_if_changed
from gen.fpga.toolchain import LIMIT, YOSYS, call
from verification.mutation.mutations import Mutation, parse

__all__ = ["ORIGINAL", "SELECTOR", "list_mutations", "run_yosys", "wrapper", "write_selectable"]

#: Name of the file, in the simulator's folder, with the number of the mutant from the next reset on.
SELECTOR = "mutant"

#: Its number of the engine without a mutation.
ORIGINAL = 0

#: Width of the number.
_BITS = 16

#: Verilog as Yosys reads it, with processes turned into cells: what can be mutated. What nothing looks at goes, within
#: a module and over its ports (three times: a port that is gone leaves more that nothing looks at): no hardware has it,
#: and a fault in it is none.
_READ = (
    'read_verilog "{source}"; hierarchy -top {top}; proc -noopt; setattr -unset keep w:* c:*'
    + 3 * "; opt_hier; opt_clean"
)


def run_yosys(script: str, log: Path, title: str, limit: float = LIMIT) -> None:
    """Run commands of Yosys in the folder of a log file, with names within it.

    Raises
    ------
    gen.fpga.toolchain.EndlessError
        If it has not ended after `limit` seconds.
    cdgate.errors.RunError
        If Yosys fails.
    """
    commands = log.with_suffix(".ys")
    write_file(commands, script.replace("; ", "\n") + "\n")
    call(YOSYS, ["-q", "-s", commands.name], log, title, console(), limit)


def read_script(source: str, top: str) -> str:
    """Return the commands that read a Verilog file."""
    return _READ.format(source=source, top=top)


def list_mutations(verilog: Path, top: str, count: int, seed: int, folder: Path) -> list[Mutation]:
    """Choose mutations of a Verilog file, evenly over its modules, wires and statements.

    Parameters
    ----------
    verilog
        The file, as it is generated.
    top
        Its top module.
    count
        How many.
    seed
        Of the choice.
    folder
        For the files.
    """
    text = verilog.read_text(encoding="utf-8")
    write_if_changed(folder / "engine.v", text)
    run_yosys(
        f"{read_script('engine.v', top)}; write_rtlil engine.il; mutate -list {count} -seed {seed} -o mutations.txt",
        folder / "list.log",
        "choosing mutations",
    )
    return parse((folder / "mutations.txt").read_text(encoding="utf-8"), text)


def write_selectable(
    description: Mapping[str, Any], mutations: Sequence[Mutation], folder: Path, name: str = "mutants"
) -> Path:
    """Write the Verilog in which the file `SELECTOR` chooses among some mutations, and its description.

    Parameters
    ----------
    description
        Of the Verilog that `list_mutations` has left in the folder, as `gen.verilog.describe` makes it.
    mutations
        Of that.
    folder
        For the files.
    name
        Of the file.

    Returns
    -------
    Path
        The Verilog; beside it its description, which is the same: the top module has the same name and ports.
    """
    top = description["top"]
    commands = "".join(f"{mutation.selected(SELECTOR, _BITS)}\n" for mutation in mutations)
    write_file(folder / "selected.ys", commands)
    run_yosys(
        f"read_rtlil engine.il; script selected.ys; rename {top} {top}.selectable; write_verilog -noattr netlist.v",
        folder / "mutate.log",
        "making the mutants",
    )
    path = folder / f"{name}.v"
    netlist = (folder / "netlist.v").read_text(encoding="utf-8")
    write_if_changed(path, netlist + wrapper(description, f"\\{top}.selectable ", _BITS if mutations else 0))
    write_if_changed(path.with_suffix(".json"), json.dumps(description, indent=1) + "\n")
    return path


def wrapper(description: Mapping[str, Any], inner: str, bits: int) -> str:
    """Return a module of a description's name and ports around another, whose input `SELECTOR` it reads from a file.

    The file lies in the folder that the testbench gets as ``+dir=``. It is read at the beginning and whenever the reset
    goes up. Without it the number is `ORIGINAL`.

    Parameters
    ----------
    description
        As `gen.verilog.describe` makes it.
    inner
        Name of the module within.
    bits
        Width of the number; 0 if the module within has no such input.
    """
    ports = [f"{port['direction']} wire [{port['width'] - 1}:0] {port['name']}" for port in description["ports"]]
    pins = [f".{port['name']}({port['name']})" for port in description["ports"]]
    if bits:
        pins.append(f".{SELECTOR}({SELECTOR})")
    return f"""
module \\{description["top"]} (
  {", ".join(ports)}
);
  reg [{max(bits, 1) - 1}:0] {SELECTOR} = {ORIGINAL};
  reg [8191:0] folder;
  reg [8191:0] path;
  integer file, found;
  task select();
    {SELECTOR} = {ORIGINAL};
    if ($value$plusargs("dir=%s", folder)) begin
      $sformat(path, "%0s/{SELECTOR}", folder);
      file = $fopen(path, "r");
      if (file != 0) begin
        found = $fscanf(file, "%d", {SELECTOR});
        $fclose(file);
      end
    end
  endtask
  initial select();
  always @(posedge rst) select();
  {inner} inner ({", ".join(pins)});
endmodule
"""
