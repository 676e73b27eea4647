"""Print the pinned requirements of `pyproject.toml`, one a line, for pip.

``python3 -m gen.requirements base test`` prints the dependencies of the package and those of the extra or the
group ``test``. It needs nothing but Python itself, as it runs before anything is installed, and spares the pip of a
fresh virtual environment (23.2 with Python 3.11), which does not know dependency groups, an update of itself.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from cdgate.cli import Parser, run
from cdgate.errors import UserError

__all__ = ["main", "requirements"]

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(groups: list[str]) -> list[str]:
    """Return the pins of `groups`; ``base`` is the package's own dependencies."""
    content = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    project = content["project"]
    known = {"base": project["dependencies"], **project["optional-dependencies"], **content["dependency-groups"]}
    for group in groups:
        if group not in known:
            raise UserError(f"group must be one of {', '.join(known)}, not {group!r}")
    return [pin for group in groups for pin in known[group]]


def main(argv: list[str] | None = None) -> int:
    """Print the pins of the groups named on the command line."""
    parser = Parser(prog="gen.requirements", description="Print the pinned requirements, one a line.")
    parser.add_argument("group", nargs="+")
    groups = parser.parse_args(argv).group
    return run(parser.prog, lambda: print(*requirements(groups), sep="\n"))


if __name__ == "__main__":
    sys.exit(main())
