"""Descriptions travel with what they describe, and change nothing about it."""

import copy
import pickle

import pytest
from amaranth.hdl import Const, Shape, signed
from amaranth.lib import data, enum

from hw.interface.described import DescribedLayout, Field, Group, Member, member_docs
from hw.interface.instructions import ErrorCode, Opcode, Unit
from hw.interface.layouts import GateMode, IdleCause


class Colour(enum.Enum, shape=4):
    RED = Member(1, "Stop.")
    GREEN = Member(6, "Go.")


def test_members_are_their_numbers():
    assert [member.value for member in Colour] == [1, 6]
    assert Colour(6) is Colour.GREEN and f"{Colour.GREEN.value:02x}" == "06"
    assert Shape.cast(Colour) == Shape(4) and Const.cast(Colour.GREEN).value == 6
    assert member_docs(Colour) == {"RED": "Stop.", "GREEN": "Go."}


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_members_survive_copies(duplicate):
    value = duplicate(Colour.GREEN.value)
    assert value == 6 and value.doc == "Go."


def test_layout_is_that_of_its_fields():
    layout = DescribedLayout(
        Group("Head.", a=Field(3, "this"), b=Field(signed(5), "that")),
        Group(c=Field(Colour, "hue")),
    )
    assert layout == data.StructLayout({"a": 3, "b": signed(5), "c": Colour})
    assert [(group.heading, list(group.fields)) for group in layout.groups] == [("Head.", ["a", "b"]), ("", ["c"])]
    assert layout.groups[0].fields["b"].doc == "that"


@pytest.mark.parametrize("enumeration", [ErrorCode, GateMode, IdleCause, Opcode, Unit])
def test_every_member_has_a_sentence(enumeration):
    assert all(text.endswith(".") and text[0].isupper() for text in member_docs(enumeration).values())
