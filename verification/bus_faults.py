"""Injects every fault of the bus at every beat of two small programs: ``python -m verification.bus_faults``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cdgate.cli import Parser, console, run, say, table
from cdgate.errors import UserError
from cdgate.files import write_json
from hw.configurations import configuration
from sim.run.simulators import Simulators
from verification.fuzzing.bus import Row, inject, small_programs

__all__ = ["BUILD", "main"]

#: Folder of everything that is generated, under the working directory.
BUILD = Path("build")


def _parser() -> Parser:
    parser = Parser(
        prog="verification.bus_faults",
        description="Inject each fault of the bus at each beat of two small programs on the generated Verilog; tell "
        "how the runs end, and whether a soft reset and a good program give the exact result after each.",
    )
    parser.add_argument("--config", default="small", metavar="NAME|FILE", help="configuration (default: small)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th beat (default: 1, all)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=BUILD / "verification" / "bus_faults",
        metavar="DIR",
        help="folder of report.json (default: build/verification/bus_faults)",
    )
    return parser


def _table(rows: Sequence[Row]) -> Any:
    shown = table(
        "faults of the bus", "fault", "what is moved", "ends with", "injected", "recovered", "findings", left=3
    )
    for row in rows:
        ends = ", ".join(sorted(row.outcomes)) or "-"
        shown.add_row(row.fault, row.channel, ends, f"{row.injected:,}", f"{row.recovered:,}", str(len(row.findings)))
    return shown


def _body(args: Any, command: str) -> int:
    if args.every < 1:
        raise UserError(f"every must be at least 1, not {args.every}")
    config = configuration(args.config)
    facts: dict[str, Any] = {}
    simulator = Simulators(config, BUILD, say).system(facts)
    programs = small_programs(config.params)
    rows = simulator.run(
        inject, (programs, config.params, args.every, partial(print, flush=True)), args.output.resolve() / "run"
    )
    total = sum(row.injected for row in rows)
    recovered = sum(row.recovered for row in rows)
    findings = [f"{row.fault}, {row.channel}: {text}" for row in rows for text in row.findings]
    write_json(
        args.output / "report.json",
        {
            "command": command,
            "config": config.name,
            "verilog_sha256": facts["verilog_sha256"],
            "injected": total,
            "recovered": recovered,
            "rows": [
                {
                    "fault": row.fault,
                    "channel": row.channel,
                    "injected": row.injected,
                    "recovered": row.recovered,
                    "outcomes": dict(row.outcomes),
                    "findings": row.findings,
                }
                for row in rows
            ],
            "verdict": "fail" if findings else "pass",
        },
    )
    shown = console()
    shown.print(_table(rows))
    for text in findings[:20]:
        shown.print(text, soft_wrap=True, markup=False)
    shown.print(f"report: {args.output / 'report.json'}", soft_wrap=True)
    shown.print(f"{total:,} faults injected, {recovered:,} recovered from")
    shown.print(f"verdict: {f'fail: {len(findings)} findings' if findings else 'pass'}")
    return 1 if findings else 0


def main(argv: list[str] | None = None) -> int:
    """Inject the faults; return 0 if all ended as they must, 1 if not, 2 on bad input."""
    parser = _parser()
    args = parser.parse_args(argv)
    command = shlex.join(["python", "-m", parser.prog, *(sys.argv[1:] if argv is None else argv)])
    return run(parser.prog, lambda: _body(args, command))


if __name__ == "__main__":
    sys.exit(main())
