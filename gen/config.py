"""Lists the configurations of the engine with what they take of an FPGA: ``python -m gen.config``."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from cdgate.cli import Parser, console, run, table
from cdgate.files import write_if_changed
from gen.fpga.estimate import estimate
from hw.configurations import CONFIGS, Configuration, configuration
from hw.params import LANES

__all__ = ["BUILD", "describe", "main"]

#: Where `main` writes its table as JSON.
BUILD = Path("build/configs.json")


def describe(config: Configuration) -> dict[str, Any]:
    """Return a configuration's choices, and what they take; see `gen.fpga.estimate`."""
    return {"name": config.name, **dataclasses.asdict(config.params), **estimate(config.params)}


def _table(rows: list[dict[str, Any]]) -> Table:
    shown = table(
        "Configurations; from the LUTs on what they take of an ECP5, by estimate",
        *("name", "in_\npar", "MACs", "bank\nKiB", "ring\nentries", "psum\nslots", "rq\nlanes", "chan-\nnels"),
        *("LUTs", "FFs", "DSPs", "block\nRAMs", "mem.\nkbit"),
    )
    for row in rows:
        shown.add_row(
            row["name"],
            str(row["in_par"]),
            str(row["macs"]),
            f"{row['bank_kib']:g}",
            str(row["ring_entries"]),
            str(row["psum_slots"]),
            str(row["rq_lanes"]),
            str(LANES * row["max_slices"]),
            f"{row['luts']:,}",
            f"{row['ffs']:,}",
            str(row["dsps"]),
            str(row["brams"]),
            f"{row['memory_bits'] / 1024:,.0f}",
        )
    return shown


def main(argv: list[str] | None = None) -> int:
    """Print the configurations and write them to a file."""
    parser = Parser(
        prog="gen.config",
        description="List the configurations with their MACs, memories and estimates of the LUTs, flip-flops, "
        "multipliers and block RAMs of an ECP5 that they take.",
    )
    parser.add_argument("--config", metavar="NAME|FILE", help="this one, or that of a TOML file, alone (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=BUILD, metavar="FILE", help=f"JSON (default: {BUILD})")
    args = parser.parse_args(argv)

    def body() -> None:
        chosen = CONFIGS if args.config is None else [args.config]
        rows = [describe(configuration(name)) for name in chosen]
        write_if_changed(args.output, json.dumps({"schema": 1, "configs": rows}, indent=1) + "\n")
        console().print(_table(rows))
        print(args.output)

    return run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
