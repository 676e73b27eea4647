"""Writes the C header and the page of registers and instructions: ``python -m gen.interface``."""

from __future__ import annotations

import sys
from pathlib import Path

from cdgate.cli import Parser, run
from cdgate.files import write_if_changed
from gen.host.c_header import c_header
from gen.host.interface_page import interface_page
from hw.configurations import DEFAULT, configuration

__all__ = ["HEADER", "PAGE", "main"]

#: Where the header is written, and the page of the default configuration.
HEADER, PAGE = Path("build/interface/cdgate.h"), Path("docs/interface.md")

#: Name of the page where it is written beside the header.
BESIDE = "interface.md"


def main(argv: list[str] | None = None) -> int:
    """Write both; of another configuration than the default into a folder of its name, the page beside the header."""
    parser = Parser(prog="gen.interface", description=f"Write {HEADER} and {PAGE}: registers, instructions, formats.")
    parser.add_argument("--config", default=DEFAULT, metavar="NAME|FILE", help=f"configuration (default: {DEFAULT})")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help=f"folder of both (default: {HEADER.parent} and {PAGE}; of another configuration than {DEFAULT} "
        f"a folder of its name in {HEADER.parent})",
    )
    args = parser.parse_args(argv)

    def body() -> None:
        config = configuration(args.config)
        folder = args.output or (HEADER.parent if config.name == DEFAULT else HEADER.parent / config.name)
        header = folder / HEADER.name
        page = PAGE if config.name == DEFAULT and args.output is None else header.with_name(BESIDE)
        write_if_changed(header, c_header(config.name, config.params))
        write_if_changed(page, interface_page(config.name, config.params))
        print(header, page, sep="\n")

    return run(parser.prog, body)


if __name__ == "__main__":
    sys.exit(main())
