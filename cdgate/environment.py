"""What programs that this project starts get of the caller's environment: a list, so that nothing else disturbs them.

Variables by which a test framework, a debugger or a notebook steers its own processes would steer these, too:
``COCOTB_TEST_FILTER``, ``PYTHONOPTIMIZE``, ``PYTHONSAFEPATH``, ``MAKEFLAGS`` and many more.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from cdgate.errors import RunError

__all__ = ["ROOT", "fresh_call", "inherited", "python_path"]

#: Folder in which the packages of this project lie: a Python that is started has to find them.
ROOT = Path(__file__).resolve().parent.parent

#: Variables that are handed on.
_NAMES = frozenset(
    (
        # where programs, libraries and temporary files are
        *("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "HOME", "USER", "TMPDIR", "TMP", "TEMP", "XDG_CACHE_HOME"),
        # language and time of messages
        *("LANG", "LANGUAGE", "TZ", "TERM"),
        # what a compiler of another place than the system's needs
        *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX"),
        *("CCACHE_DIR", "CCACHE_DISABLE"),
        # of a system's Verilator
        "VERILATOR_ROOT",
        # number of threads
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
        # where bytecode goes
        *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
    )
)

#: Beginnings of the names of others: the locale's parts, this project's own, and those of coverage.py, by which the
#: lines that the simulator's Python executes are counted with the others.
_PREFIXES = ("LC_", "CDGATE_", "COVERAGE_")

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


def inherited() -> dict[str, str]:
    """Return the variables of this process that programs started by it get."""
    return {name: value for name, value in os.environ.items() if name in _NAMES or name.startswith(_PREFIXES)}


def python_path() -> str:
    """Return PYTHONPATH for another process: this project, and where this one finds its modules."""
    return os.pathsep.join([str(ROOT), *(path or str(Path.cwd()) for path in sys.path)])


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
