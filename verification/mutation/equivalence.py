"""Proofs by Yosys that a mutation changes nothing that its module shows to the others."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from cdgate.files import write_file
from gen.fpga.toolchain import EndlessError
from verification.mutation.mutations import Mutation
from verification.mutation.netlist import run_yosys

__all__ = ["LIMIT", "prove"]

#: Seconds of one run of Yosys: a proof may take for ever, and is given up after it has had all of them.
LIMIT = 60.0

#: Memories stay as they are: what goes into them must be equal, what comes out is.
_MEMORY = """(* blackbox *)
module memory_block(input RD_CLK, RD_EN, RD_ARST, RD_SRST, RD_ADDR, WR_CLK, WR_EN, WR_ADDR, WR_DATA, output RD_DATA);
endmodule
"""

#: An instance of which a port is mutated becomes a part of the module, as it may not look at that port at all.
_FLATTEN = "flatten {module}/c:{cell} gate/c:{cell}"

#: The ports of a memory come into an order of their own, which must be that of the copy. Where one of them is mutated,
#: they have to stay apart until then.
_EARLY = "memory_collect {module}"

#: Module by module: the mutated copy keeps the names of ports, registers, memories and instances, which are compared;
#: all other names are taken from it, so that what lies between them may differ.
_PROOF = """design -load all
{early}
copy {module} gate
{mutate}
{flatten}
memory_collect {module} gate
chtype -set memory_block {module}/t:$mem_v2 gate/t:$mem_v2
cd gate
select -set kept t:$dff %co1:+[Q] w:* %i
rename -hide w:* @kept %d
rename -enumerate -pattern other_% t:$* t:$dff %d
cd
equiv_make {module} gate equiv
select equiv
equiv_simple -ignore-unknown-cells
equiv_induct -ignore-unknown-cells -seq 1
tee -o proof_{number}.txt equiv_status
select -clear
"""

_STATUS = re.compile(r"Of those cells (\d+) are proven and (\d+) are unproven")


def prove(mutations: Sequence[Mutation], folder: Path) -> set[int]:
    """Return the numbers of the mutations whose module is proven equivalent to the original one.

    Shown is, by induction: as long as a module's inputs and registers are those of the original, so are its outputs,
    its next registers, and what it gives to memories and instances within. Registers begin with the same values; so
    nothing around it can tell the two apart. What is not proven may still be equivalent in the engine, where not every
    input comes.

    Parameters
    ----------
    mutations
        Of the netlist that `verification.mutation.netlist.list_mutations` has left in the folder.
    folder
        That; for the files of the proofs, too.
    """
    if not mutations:
        return set()
    write_file(folder / "memory.v", _MEMORY)
    for mutation in mutations:
        _proof(folder, mutation).unlink(missing_ok=True)
    left = list(mutations)
    while left:
        with contextlib.suppress(EndlessError):
            run_yosys(_script(left), folder / "equivalence.log", f"proving equivalence of {len(left)}", LIMIT)
            break
        tried = next((n for n, mutation in enumerate(left) if not _proof(folder, mutation).exists()), len(left))
        left = left[tried or 1 :]  # the first had all the time
    return {mutation.number for mutation in mutations if _proven(_proof(folder, mutation))}


def _script(mutations: Sequence[Mutation]) -> str:
    script = ["read_rtlil engine.il", "read_verilog -lib memory.v", "design -save all"]
    for mutation in mutations:
        script.append(
            _PROOF.format(
                module=mutation.module,
                mutate=mutation.script.replace(f"-module {mutation.module} ", "-module gate "),
                number=mutation.number,
                early="" if "mem" in mutation.cell else _EARLY.format(module=mutation.module),
                flatten=""
                if mutation.cell.startswith("$")
                else _FLATTEN.format(module=mutation.module, cell=mutation.cell),
            )
        )
    return "\n".join(script)


def _proof(folder: Path, mutation: Mutation) -> Path:
    return folder / f"proof_{mutation.number}.txt"


def _proven(path: Path) -> bool:
    match = _STATUS.search(path.read_text(encoding="utf-8")) if path.exists() else None
    return match is not None and int(match[1]) > 0 and int(match[2]) == 0
