"""Simulates the netlist that is placed and routed: ``python -m verification.netlist``; see ``--help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdgate.cli import Parser, console, run, say, table
from cdgate.errors import RunError, UsageError, UserError
from cdgate.files import write_json
from gen.fpga.toolchain import TARGETS
from hw.configurations import configuration
from sim.engine import BUILD
from verification.mapped.campaign import MODES, compare
from verification.mapped.engine import mapped_engine

__all__ = ["main", "verdict"]

#: Where report and files go.
OUTPUT = BUILD / "verification/netlist"


def verdict(rows: Sequence[Mapping[str, Any]], absorbed: int) -> str:
    """Return ``pass``, or ``fail:`` and why.

    Parameters
    ----------
    rows
        What `verification.mapped.campaign.Comparison.row` returned, for each network.
    absorbed
        Flip-flops that went into blocks.
    """
    findings = [finding for row in rows for finding in row["findings"]]
    if not absorbed:
        findings.insert(0, "no flip-flop went into a block, so nothing was checked of those that do")
    if not rows or not all(row["outputs_checked"] and row["decisions_checked"] for row in rows):
        findings.append("nothing was compared")
    return f"fail: {findings[0]}" if findings else "pass"


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    shown = console()
    made = table(
        "on the netlist", "network", "dense\ncycles", "gated\ncycles", "outputs", "deci-\nsions", "wrong", "seconds"
    )
    for row in rows:
        made.add_row(
            row["network"],
            *(f"{row['cycles'][mode]:,}" for mode in reversed(MODES)),
            *(f"{row[name]:,}" for name in ("outputs_checked", "decisions_checked", "mismatches")),
            f"{row['seconds']:.0f}",
        )
    shown.print(made)
    for row in rows:
        for finding in row["findings"]:
            shown.print(finding, soft_wrap=True, markup=False)


def _parser() -> Parser:
    parser = Parser(
        prog="verification.netlist",
        description="Map the whole engine to an FPGA as make synth does, with flip-flops moved into multipliers and "
        "block RAMs, and simulate the netlist in the place of the generated Verilog: small networks, gated and dense, "
        "exact, and in as many cycles.",
    )
    parser.add_argument("--config", default="tiny", metavar="NAME|FILE", help="configuration (default: tiny)")
    parser.add_argument("--target", default="ecp5-85f", help=f"one of {', '.join(TARGETS)} (default: ecp5-85f)")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, metavar="DIR", help=f"folder (default: {OUTPUT})")
    return parser


def _body(args: Any) -> int:
    if args.target not in TARGETS:
        raise UsageError(f"target must be one of {', '.join(TARGETS)}, not {args.target!r}")
    config = configuration(args.config)
    if not config.params.trace:
        raise UserError(f"configuration {config.name} has no trace, which the comparison needs")
    target = args.output / "report.json"
    target.unlink(missing_ok=True)
    start, shown = time.monotonic(), console()
    say(f"mapping the engine {config.name} to an {TARGETS[args.target].title}")
    verilog, facts = mapped_engine(TARGETS[args.target], config, BUILD, args.output / args.target, shown)
    rows, stopped = [], None
    try:
        for comparison in compare(verilog, config, BUILD, args.output / "runs", say):
            rows.append(comparison.row())
    except RunError as error:  # an engine that does not come to its end is a finding, too
        stopped = " ".join(str(error).split())
    told = verdict(rows, facts["registers_in_blocks"]) if stopped is None else f"fail: {stopped}"
    write_json(
        target,
        {
            "schema": 1,
            "config": config.name,
            "target": args.target,
            **{key: facts[key] for key in ("cells", "registers_in_blocks", "verilog_sha256", "tools")},
            "networks": rows,
            "seconds": round(time.monotonic() - start, 1),
            "verdict": told,
        },
    )
    _show(rows)
    shown.print(f"report: {target}", soft_wrap=True, markup=False)
    shown.print(
        f"{facts['registers_in_blocks']} flip-flops in {facts['cells'].get('MULT18X18D', 0)} multipliers and "
        f"{facts['cells'].get('DP16KD', 0)} block RAMs; {time.monotonic() - start:.0f} s",
        soft_wrap=True,
    )
    shown.print(f"verdict: {told}", soft_wrap=True, markup=False)
    return 0 if told == "pass" else 1


def main(argv: list[str] | None = None) -> int:
    """Simulate what the command line says; return 0 if it passed, 1 if it failed, 2 on bad input."""
    parser = _parser()
    args = parser.parse_args(argv)
    return run(parser.prog, lambda: _body(args))


if __name__ == "__main__":
    sys.exit(main())
