"""Functions called in another Python: results, exceptions, and bytecode that is not that of its source any more."""

import importlib
import os
import py_compile

import pytest

from cdgate.environment import fresh_call
from cdgate.errors import RunError, UserError


def test_result_and_arguments():
    assert fresh_call("operator", "add", [1, b"\xff"], ["x"]) == [1, b"\xff", "x"]


def test_exception_is_raised_here():
    with pytest.raises(UserError, match="no such branch|branch must be 1 or 2, not 3"):
        fresh_call("tests.cdgate.test_environment", "refuse")


def refuse():
    raise UserError("branch must be 1 or 2, not 3")


def test_process_that_dies():
    with pytest.raises(RunError, match=r"os\._exit failed in a process of its own: "):
        fresh_call("os", "_exit", 3)


def test_stale_bytecode_is_not_used(tmp_path, monkeypatch):
    """An edit within the second of the bytecode that leaves the size as it was: Python itself does not see it."""
    source = tmp_path / "edited_module.py"
    source.write_text("def value():\n    return 1\n")
    stamp = source.stat()
    py_compile.compile(str(source))
    source.write_text("def value():\n    return 2\n")
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("edited_module").value() == 1
    assert fresh_call("edited_module", "value") == 2
