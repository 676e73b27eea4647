"""Mutants that no run can show, with the reason: a person has read the Verilog and found it so.

An entry is for one module, one statement of the Verilog and some changes of it. When the statement changes, it is of no
use any more, and the command fails on a mutant that survives there until the reason has been looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from verification.mutation.mutations import Mutation

__all__ = ["EXPLAINED", "Explained", "explanation"]


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Why some mutations of a statement cannot be seen.

    Attributes
    ----------
    module
        Regular expression of the module's name behind that of the top module, ``.fetch`` for instance.
    text
        Of the statement, as `Mutation.text` has it.
    change
        Regular expression of `Mutation.change`.
    reason
        A sentence.
    """

    module: str
    text: str
    change: str
    reason: str


#: The table.
EXPLAINED: tuple[Explained, ...] = ()


def explanation(mutation: Mutation, top: str, table: Sequence[Explained] = EXPLAINED) -> str | None:
    """Return why a mutation cannot be seen, or None if nobody has said so.

    Parameters
    ----------
    mutation
        The mutation.
    top
        Name of the top module.
    table
        The explanations.
    """
    module = mutation.module.removeprefix(top)
    for entry in table:
        if (
            re.fullmatch(entry.module, module)
            and entry.text == mutation.text
            and re.fullmatch(entry.change, mutation.change)
        ):
            return entry.reason
    return None
