"""What the sources of hw/ say about enumerations and layouts: their comments, for generated headers and pages."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

__all__ = ["FieldDoc", "field_docs", "member_docs"]

#: A member of an enumeration, with its value.
_MEMBER = re.compile(r"(\w+) = \d+$")

#: A field of a layout that has a line of its own, and its comment.
_FIELD = re.compile(r'"(\w+)": +[^#]*?(?:# (.*))?$')

#: A field's comment, or the heading of the fields that follow.
FieldDoc = tuple[str | None, str]


def _plain(text: str) -> str:
    """Turn double backquotes, which are reStructuredText, into single ones, which are Markdown."""
    return text.replace("``", "`").strip()


def member_docs(enum: Any) -> dict[str, str]:
    """Return the comment above each member of an enumeration, by name; empty where there is none."""
    found, comment = {}, []
    for line in map(str.strip, inspect.getsource(enum).splitlines()):
        if line.startswith("#: "):
            comment.append(line[3:])
        elif match := _MEMBER.match(line):
            found[match[1]] = _plain(" ".join(comment))
            comment = []
    return found


def field_docs(module: ModuleType, name: str) -> list[FieldDoc]:
    """Return what is said about the fields of a layout, in order.

    Parameters
    ----------
    module, name
        Where the layout is declared, as a function of the parameters or as a constant. Fields that share a line are
        left out.

    Returns
    -------
    list
        (field, comment) for each field, and (None, heading) for comments that stand above fields.
    """
    source = inspect.getsource(module)
    start = re.search(rf"^(?:def {name}\(|{name} = ).*?StructLayout\(\s*\{{\n", source, re.MULTILINE | re.DOTALL)
    assert start is not None, name
    found: list[FieldDoc] = []
    heading: list[str] = []
    for line in map(str.strip, source[start.end() :].splitlines()):
        if line.startswith("}"):
            break
        if line.startswith("# "):
            heading.append(line[2:])
        elif match := _FIELD.match(line):
            if heading:
                found.append((None, _plain(" ".join(heading))))
                heading = []
            found.append((match[1], _plain(match[2] or "")))
    return found
