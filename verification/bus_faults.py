"""Injects every fault of the bus at every beat of two small programs: ``python -m verification.bus_faults``."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cdgate.cli import Parser, console, run, say, table
from cdgate.errors import UserError
from cdgate.files import write_file, write_json
from hw.configurations import configuration
from hw.params import HwParams
from sim.run.simulators import Simulators
from sim.run.system import NetworkSimulator
from verification.fuzzing.bus import Row, inject, small_programs

__all__ = ["BUILD", "main"]

#: Folder of everything that is generated, under the working directory.
BUILD = Path("build")

#: Seconds between two lines about the progress.
_INTERVAL = 5.0


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


def _inject(simulator: NetworkSimulator, params: HwParams, every: int, work: Path) -> list[Row]:
    """Inject the faults, and tell how far it is: the simulator's process writes that to a file."""
    progress, start = work / "progress", time.monotonic()
    told, row = start, "the simulator starts"
    running = simulator.start(inject, (small_programs(params), params, every, partial(write_file, progress)), work)
    try:
        while not running.ended:
            time.sleep(0.1)
            if time.monotonic() - told >= _INTERVAL:
                told = time.monotonic()
                row = progress.read_text(encoding="utf-8") if progress.exists() else row
                say(f"{told - start:5.0f} s: {row}")
        rows: list[Row] = running.result()
        return rows
    finally:
        running.stop()


def _body(args: Any, command: str) -> int:
    if args.every < 1:
        raise UserError(f"every must be at least 1, not {args.every}")
    config = configuration(args.config)
    facts: dict[str, Any] = {}
    (args.output / "report.json").unlink(missing_ok=True)
    simulator = Simulators(config, BUILD, say).system(facts)
    rows = _inject(simulator, config.params, args.every, args.output.resolve() / "run")
    total = sum(row.injected for row in rows)
    recovered = sum(row.recovered for row in rows)
    findings = [f"{row.fault}, {row.channel}: {text}" for row in rows for text in row.findings]
    write_json(
        args.output / "report.json",
        {
            "schema": 1,
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
