"""What programs that this project starts get of the caller's environment: a list, so that nothing else disturbs them.

Variables by which a test framework, a debugger or a notebook steers its own processes would steer these, too:
``COCOTB_TEST_FILTER``, ``PYTHONOPTIMIZE``, ``PYTHONSAFEPATH``, ``MAKEFLAGS`` and many more.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["ROOT", "inherited", "python_path"]

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


def inherited() -> dict[str, str]:
    """Return the variables of this process that programs started by it get."""
    return {name: value for name, value in os.environ.items() if name in _NAMES or name.startswith(_PREFIXES)}


def python_path() -> str:
    """Return PYTHONPATH for another process: this project, and where this one finds its modules."""
    return os.pathsep.join([str(ROOT), *(path or str(Path.cwd()) for path in sys.path)])
