"""Prints the results of place and route: ``python -m gen.results`` shows ``results/synth_*.json``.

They are those that ``make synth RESULT=results`` wrote. Each is marked by whether its engine's Verilog is what is
generated today.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cdgate.cli import Parser, console, run
from cdgate.errors import UsageError
from gen.fpga.routed.results import FOLDER, STATES, read_results, states, tables

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Print the tables."""
    parser = Parser(prog="gen.results", description="Show the results of place and route.")
    parser.add_argument("--results", type=Path, default=FOLDER, metavar="DIR", help=f"folder (default: {FOLDER})")
    args = parser.parse_args(argv)

    def body() -> None:
        if not args.results.is_dir():
            raise UsageError(f"--results must be a folder that exists, not {args.results}")
        results = read_results(args.results)
        shown = console()
        if not results:
            shown.print(f"no results of place and route in {args.results}: make synth RESULT={args.results} writes one")
            return
        of_today = states(results)
        for made in tables(results, of_today):
            shown.print(made)
        if any(STATES[1] in pair for pair in of_today):
            shown.print(f"{STATES[1]}: the Verilog is another today; the figures are of the engine before")

    return run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
