"""Named configurations of the engine: ``python -m gen.config`` lists them with what they take of an FPGA.

full
    8 x 16 multipliers for an ECP5-85F; the default. Banks of 64 KiB hold every map of a CIFAR ResNet-18.
half
    8 x 8 multipliers for an ECP5-45F, with banks of 32 KiB: from the third stage on a ResNet-18 fits whole.
small
    8 x 4 multipliers, banks of 16 KiB and a bus of 32 bits: quick to simulate, quick to place and route.
tiny
    8 x 2 multipliers for small networks of up to 128 channels. Less than 1 Mbit of memory in all, as of an iCE40UP5K.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.table import Table

from cdgate.cli import Parser, run
from cdgate.errors import UserError
from cdgate.files import write_if_changed
from gen.fpga.estimate import estimate
from hw.params import HwParams

__all__ = ["BUILD", "CONFIGS", "DEFAULT", "config", "describe", "main"]

#: Where `main` writes its table as JSON.
BUILD = Path("build/configs.json")

#: The configurations by name. Neither the table nor a configuration can be changed.
CONFIGS: Mapping[str, HwParams] = MappingProxyType(
    {
        # Twice the entries save two cycles in a thousand, but leave an ECP5-85F too few block RAMs to route.
        "full": HwParams(in_par=16, rq_lanes=4, bank_words=4096, ring_entries=512, psum_slots=16),
        "half": HwParams(in_par=8, rq_lanes=2, bank_words=4096, ring_entries=1024, psum_slots=16),
        "small": HwParams(in_par=4, rq_lanes=1, bank_words=4096, ring_entries=1024, psum_slots=16, axi_bits=32),
        # A slice of a 3x3 layer of 64 channels takes 288 entries of the ring.
        "tiny": HwParams(in_par=2, rq_lanes=1, bank_words=8192, ring_entries=512, psum_slots=8, max_slices=16),
    }
)

#: Name of the configuration that is used where none is named.
DEFAULT = "full"


def config(name: str) -> HwParams:
    """Return the configuration called `name`.

    Raises
    ------
    UserError
        if there is none; the message lists the names.
    """
    try:
        return CONFIGS[name]
    except KeyError:
        raise UserError(f"configuration must be one of {', '.join(CONFIGS)}, not {name!r}") from None


def describe(name: str) -> dict[str, Any]:
    """Return a configuration's choices, and what they take; see `gen.fpga.estimate`."""
    params = config(name)
    return {"name": name, **dataclasses.asdict(params), **estimate(params)}


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="configurations; multipliers and block RAMs estimated for an ECP5", title_justify="left")
    for heading in (
        "name",
        "in_par",
        "MACs",
        "bank KiB",
        "ring entries",
        "psum slots",
        "rq lanes",
        "channels",
        "DSPs",
        "block RAMs",
        "memory kbit",
    ):
        table.add_column(heading, justify="left" if heading == "name" else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            str(row["in_par"]),
            str(row["macs"]),
            f"{row['bank_kib']:g}",
            str(row["ring_entries"]),
            str(row["psum_slots"]),
            str(row["rq_lanes"]),
            str(8 * row["max_slices"]),
            str(row["dsps"]),
            str(row["brams"]),
            f"{row['memory_bits'] / 1024:,.0f}",
        )
    return table


def main(argv: list[str] | None = None) -> int:
    """Print the configurations and write them to a file."""
    parser = Parser(
        prog="gen.config",
        description="List the configurations with their MACs, memories and estimates "
        "of the multipliers and block RAMs of an ECP5 that they take.",
    )
    parser.add_argument("-o", "--output", type=Path, default=BUILD, metavar="FILE", help=f"JSON (default: {BUILD})")
    args = parser.parse_args(argv)

    def body() -> None:
        rows = [describe(name) for name in CONFIGS]
        write_if_changed(args.output, json.dumps({"schema": 1, "configs": rows}, indent=1) + "\n")
        Console(width=None if sys.stdout.isatty() else 160).print(_table(rows))
        print(args.output)

    return run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
