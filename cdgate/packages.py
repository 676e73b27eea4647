"""Whether the packages beside this one are ours: their names are short, and a user's own file may hide them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from cdgate.errors import UserError

__all__ = ["PACKAGES", "check"]

#: The packages of this project beside this one.
PACKAGES = ("hw", "gen", "sim", "sw_model")


def check() -> None:
    """Refuse to go on if Python would import something else under the name of one of `PACKAGES`.

    Raises
    ------
    UserError
        Naming the file that hides it.
    """
    here = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        found = None if origin is None else Path(origin).resolve()
        if found is None or here not in found.parents:
            where = (
                "is not installed beside it"
                if found is None
                else f"is hidden by {found}: rename that, or run elsewhere"
            )
            raise UserError(f"package {name} of cdgate {where}")
