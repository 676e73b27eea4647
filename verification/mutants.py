"""Mutates the generated Verilog, and looks whether the checks notice: ``python -m verification.mutants``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cdgate.cli import Parser, console, run, say, table
from cdgate.errors import UserError
from cdgate.files import write_json
from hw.configurations import configuration
from sim.engine import BUILD
from sim.run.verilog_cache import cached_verilog
from verification.mutation.campaign import Campaign, carry_out
from verification.mutation.findings import KINDS

__all__ = ["main", "verdict"]

#: Where report and files go.
OUTPUT = BUILD / "verification/mutants"

#: Most mutations: the number that selects one has 16 bits, and each makes the netlist slower.
_MOST = 2000


def _outcome(campaign: Campaign, number: int) -> tuple[str, str]:
    """Return what has become of a mutant, in a word, and how that is known."""
    if number in campaign.found:
        finding = campaign.found[number]
        return finding.kinds[0], f"{finding.trial}: {finding.text}"
    if number in campaign.proven:
        return "equivalent", "proven by Yosys, by induction over the registers of its module"
    if number in campaign.explained:
        return "explained", campaign.explained[number]
    return "SURVIVED", "no run shows it, nothing proves it equivalent, no reason is given"


def verdict(campaign: Campaign) -> str:
    """Return ``pass``, or ``fail:`` and why."""
    survivors = campaign.survivors
    if not campaign.mutations:
        return "fail: no mutations were made"
    if survivors:
        named = ", ".join(map(str, survivors[:10])) + (", ..." if len(survivors) > 10 else "")
        return f"fail: {len(survivors)} of {len(campaign.mutations)} mutants survive unexplained: {named}"
    if campaign.contradicted:
        named = ", ".join(map(str, campaign.contradicted))
        return f"fail: mutants were found that the table of explanations says no run can show: {named}"
    return "pass"


def report(campaign: Campaign, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the report of a campaign, with some facts about it."""
    entries = []
    for number, mutation in campaign.mutations.items():
        what, how = _outcome(campaign, number)
        finding = campaign.found.get(number)
        entries.append(
            {
                "number": number,
                "module": mutation.module,
                "cell": mutation.cell,
                "change": mutation.change,
                "verilog": mutation.text,
                "lines": list(mutation.lines),
                "outcome": what,
                "found_by": [] if finding is None else list(finding.kinds),
                "trial": None if finding is None else finding.trial,
                "how": how,
            }
        )
    return {
        "schema": 1,
        **facts,
        "counts": _counts(campaign),
        "seconds": {name: round(value, 1) for name, value in campaign.seconds.items()},
        "mutants": entries,
        "verdict": verdict(campaign),
    }


def _counts(campaign: Campaign) -> dict[str, int]:
    found = Counter(_outcome(campaign, number)[0] for number in campaign.mutations)
    names = (*KINDS, "equivalent", "explained", "SURVIVED")
    return {name.lower(): found[name] for name in names if found[name]}


def _show(campaign: Campaign) -> None:
    shown = console()
    made = table("mutants", "no.", "module, statement, change", "outcome", left=3)
    for number, mutation in campaign.mutations.items():
        what, how = _outcome(campaign, number)
        module = mutation.module.removeprefix(campaign.top).lstrip(".") or "top"
        text = mutation.text if len(mutation.text) <= 60 else f"{mutation.text[:57]}..."
        lines = [f"{module}: {mutation.change}", text, how if len(how) <= 120 else f"{how[:117]}..."]
        made.add_row(str(number), "\n".join(line.replace("[", "\\[") for line in lines), what)
    shown.print(made)
    counts = table("outcomes", "outcome", "mutants")
    for name, count in _counts(campaign).items():
        counts.add_row(name, str(count))
    shown.print(counts)


def _parser() -> Parser:
    parser = Parser(
        prog="verification.mutants",
        description="Make faults in the generated Verilog, one at a time, and run small random networks on each, dense "
        "and gated, and what else a host meets: errors of the bus and of programs, resets. Every fault must be found "
        "by the checks that every simulation has, be proven equivalent by Yosys, or be explained.",
    )
    parser.add_argument("--count", type=int, default=120, metavar="N", help="number of mutations (default: 120)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of their choice (default: 1)")
    parser.add_argument("--config", default="tiny", metavar="NAME|FILE", help="configuration (default: tiny)")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, metavar="DIR", help=f"folder (default: {OUTPUT})")
    return parser


def _body(args: Any) -> int:
    if not 1 <= args.count <= _MOST:
        raise UserError(f"count must be 1 to {_MOST}, not {args.count}")
    if not 0 <= args.seed < 1 << 31:
        raise UserError(f"seed must be 0 to {(1 << 31) - 1}, not {args.seed}")
    config = configuration(args.config)
    if not config.params.trace:
        raise UserError(f"configuration {config.name} has no trace, which the comparison needs")
    target = args.output / "report.json"
    target.unlink(missing_ok=True)
    start = time.monotonic()
    verilog = cached_verilog(config, BUILD / "verilog", lambda: say("generating the Verilog"), top="system")
    campaign = carry_out(verilog, config.params, args.count, args.seed, args.output, BUILD / "verilator", say)
    campaign.seconds["all"] = time.monotonic() - start
    facts = {"config": config.name, "count": args.count, "seed": args.seed}
    write_json(target, report(campaign, facts))
    _show(campaign)
    shown = console()
    shown.print(f"report: {target}", soft_wrap=True, markup=False)
    shown.print(
        f"{len(campaign.mutations)} mutants: {len(campaign.found)} found, {len(campaign.proven)} proven equivalent, "
        f"{len(campaign.explained)} explained, {len(campaign.survivors)} survive; {campaign.seconds['all']:.0f} s",
        soft_wrap=True,
    )
    told = verdict(campaign)
    shown.print(f"verdict: {told}", soft_wrap=True, markup=False)
    return 0 if told == "pass" else 1


def main(argv: list[str] | None = None) -> int:
    """Carry out what the command line says; return 0 if no mutant survives, 1 if one does, 2 on bad input."""
    parser = _parser()
    args = parser.parse_args(argv)
    return run(parser.prog, lambda: _body(args))


if __name__ == "__main__":
    sys.exit(main())
