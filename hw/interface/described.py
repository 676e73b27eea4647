"""Enumerations and layouts that say what they mean: one table each, for hardware, C header and documentation alike."""

from dataclasses import dataclass
from typing import Any

from amaranth.lib import data

__all__ = ["DescribedLayout", "Field", "Group", "Member", "member_docs"]


class Member(int):
    """Value of a member of an enumeration, with what it means.

    Parameters
    ----------
    value : :class:`int`
    doc : :class:`str`
        What the member means: sentences, in Markdown.
    """

    doc: str

    def __new__(cls, value: int, doc: str = "") -> "Member":
        self = super().__new__(cls, value)
        self.doc = doc
        return self


def member_docs(enumeration: Any) -> dict[str, str]:
    """Return what each member of an enumeration means, by name; all its values are :class:`Member`."""
    return {member.name: member.value.doc for member in enumeration}


@dataclass(frozen=True)
class Field:
    """A field of a layout.

    Parameters
    ----------
    shape : shape-like
    doc : :class:`str`
        What it means, without a full stop, in Markdown.
    """

    shape: Any
    doc: str


class Group:
    """Fields that belong together.

    Parameters
    ----------
    heading : :class:`str`
        What they have in common, sentences in Markdown; may be empty.
    fields : :class:`Field`, by name
        From the lowest bit on.
    """

    def __init__(self, heading: str = "", /, **fields: Field) -> None:
        self.heading = heading
        self.fields = fields


class DescribedLayout(data.StructLayout):
    """Structure whose fields are described.

    Parameters
    ----------
    groups : :class:`Group`
        Its fields, from the lowest bit on.
    """

    def __init__(self, *groups: Group) -> None:
        super().__init__({name: field.shape for group in groups for name, field in group.fields.items()})
        self.groups = groups
