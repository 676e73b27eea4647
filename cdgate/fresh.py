"""Calls a function in another Python, which reads every module from its source."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

from cdgate.environment import inherited, python_path
from cdgate.errors import RunError

__all__ = ["fresh_call"]

#: What the other process does. Bytecode is looked for in a folder that cannot be, and none is written.
_CODE = """
import importlib, pickle, sys
name, function, arguments = pickle.load(sys.stdin.buffer)
try:
    found = getattr(importlib.import_module(name), function)(*arguments), None
except Exception as error:
    found = None, error
sys.stdout.buffer.write(pickle.dumps(found))
"""


def fresh_call(module: str, function: str, *arguments: Any) -> Any:
    """Return what a function returns in another Python that trusts no bytecode.

    Python takes the bytecode of a module for that of its source if date and size of the source are those noted in it,
    which they can be after an edit. What must be of the sources as they are now is therefore made there.

    Parameters
    ----------
    module, function
        Names of both; the function must print nothing.
    arguments
        Pickled, as the result.

    Raises
    ------
    RunError
        If the process ends before the function does.
    Exception
        What the function raises.
    """
    done = subprocess.run(
        [sys.executable, "-B", "-X", f"pycache_prefix={os.devnull}", "-c", _CODE],
        input=pickle.dumps((module, function, arguments)),
        capture_output=True,
        env={**inherited(), "PYTHONPATH": python_path()},
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise RunError(f"{module}.{function} failed in a process of its own: {''.join(last)}")
    found, error = pickle.loads(done.stdout)
    if error is not None:
        raise error
    return found
