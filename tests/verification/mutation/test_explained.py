"""Explanations hold for the statement and the changes that they were written for."""

import re

import pytest

from verification.mutation.explained import EXPLAINED, Explained, explanation
from verification.mutation.mutations import Mutation

TABLE = (
    Explained(module=r"\.fetch(\.check)?", text="assign a = b;", change=r"Y.* is 0", bits=(3, 4), reason="never 1"),
    Explained(module=r"\.load", text=r"assign \w = b;", control=range(7, 9), reason="too far"),
)


def mutation(module="top.fetch", text="assign a = b;", bit=3, control=None):
    mode = "const0" if control is None else "cnot1"
    return Mutation(
        number=1, mode=mode, module=module, cell="c", port="Y", bit=bit, control=control, text=text, lines=(1, 1)
    )


def test_reason_is_given_for_what_it_was_written_for():
    assert explanation(mutation(), "top", TABLE) == "never 1"
    assert explanation(mutation(module="top.fetch.check", bit=4), "top", TABLE) == "never 1"


def test_the_bit_that_decides():
    assert explanation(mutation(module="top.load", control=8), "top", TABLE) == "too far"
    assert explanation(mutation(module="top.load", control=9), "top", TABLE) is None
    assert explanation(mutation(module="top.load"), "top", TABLE) is None


@pytest.mark.parametrize("other", [{"module": "top.store"}, {"text": "assign a = ~b;"}, {"bit": 5}, {"control": 4}])
def test_none_is_given_for_another_module_statement_or_change(other):
    assert explanation(mutation(**other), "top", TABLE) is None


def test_table_is_well_formed():
    for entry in EXPLAINED:
        re.compile(entry.module), re.compile(entry.text), re.compile(entry.change)
        assert entry.text and entry.reason.endswith(".") and len(entry.reason) <= 300
