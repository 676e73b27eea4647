"""Builds testbenches with Verilator, once for each text of the Verilog, and runs them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import find_libpython
from cocotb_tools.config import libs_dir, pygpi_entry_point, share_dir

from cdgate.environment import ROOT, inherited, python_path
from cdgate.errors import RunError, UserError
from cdgate.lock import locked
from cdgate.tools import package_version, verilator_env, verilator_version
from sim.run import tracing

__all__ = ["BUILD", "SOURCE", "SimulationError", "build_bench", "run_bench"]

#: Folder of the builds, one for each Verilog text and testbench.
BUILD = Path("build/verilator")

#: Folder of the testbenches.
SOURCE = ROOT / "sim/testbench"

#: What matters most to the speed is that no signal but four is public, see `_compile`.
_OPTIONS = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "-Wno-fatal", "-Wno-BLKSEQ"]

#: The last one is what Verilator's configure script would have found out, had it run on this machine.
_MAKE_OPTIONS = {"OPT_FAST": "-O2", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O1", "CFG_CXXFLAGS_PCH_I": "-include"}

#: The same for what is run once: it is compiled in a third of the time, and simulates several times slower.
_QUICK_OPTIONS = {**_MAKE_OPTIONS, "OPT_FAST": "-O0"}

#: Names in a build's folder of what lies elsewhere. GNU make cannot take a path with a space or another character that
#: means something to it or to the shell; so all that the makefile names is named within the folder.
_VERILATOR, _COCOTB, _PYTHON = "verilator", "cocotb", "python"

#: Name of the file in a build's folder that is written last: the binary's SHA-256.
_COMPLETE = "complete"

#: Processes of a build.
_JOBS = min(4, os.cpu_count() or 1)


class SimulationError(RunError):
    """The simulator itself failed; the message names the log."""


def run_bench(
    folder: Path,
    toplevel: str,
    module: str,
    work: Path,
    environment: dict[str, str],
    log: Path,
    plusargs: Sequence[str] = (),
) -> None:
    """Run a built testbench in a process of its own.

    Parameters
    ----------
    folder, toplevel
        Of the build.
    module
        The cocotb bench.
    work
        Folder to run in, made if missing; the testbench gets it as ``+dir=``.
    environment
        Variables for the bench.
    log
        File of what the simulator prints.
    plusargs
        Further arguments of the testbench.

    Raises
    ------
    SimulationError
        If it cannot be run.
    """
    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    libraries = os.pathsep.join([str(libs_dir), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    variables = {
        **inherited(),
        "LD_LIBRARY_PATH": libraries,
        "PYTHONPATH": python_path(),
        "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": f"{_libpython()};{pygpi_entry_point()}",
        "COCOTB_TOPLEVEL": toplevel,
        "COCOTB_TEST_MODULES": module,
        "COCOTB_RESULTS_FILE": str(work / "results.xml"),
        "COCOTB_LOG_LEVEL": "WARNING",
        "COCOTB_TRUST_INERTIAL_WRITES": "1",  # as cocotb's own runner does with Verilator
        "TOPLEVEL_LANG": "verilog",
        **environment,
    }
    if not _is_built(folder, toplevel):
        raise SimulationError(f"{folder / toplevel} must be what was built there; remove {folder}")
    try:
        _call([str(folder.resolve() / toplevel), f"+dir={work}", *plusargs], work, variables, log)
    except (OSError, subprocess.CalledProcessError):
        raise SimulationError(f"simulator failed, see {log}") from None


def _call(command: Sequence[str], cwd: Path, environment: Mapping[str, str], log: Path) -> None:
    """Run a program with all that it prints at the end of a file."""
    with log.open("ab") as output:
        subprocess.run(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True
        )


def _libpython() -> str:
    """Return the library of this Python, which the simulator loads."""
    found = find_libpython.find_libpython()
    if found is None:
        raise UserError(
            f"{sys.executable} has no shared library, which the simulator loads: install it (on Debian: apt-get "
            f"install libpython{sys.version_info.major}.{sys.version_info.minor}) or use a Python that has one"
        )
    return found


def build_bench(
    name: str,
    toplevel: str,
    sources: Sequence[Path],
    configuration: str,
    folder: Path = BUILD,
    announce: Callable[[], None] | None = None,
    waves: bool = False,
    quick: bool = False,
) -> tuple[Path, float]:
    """Build a testbench, unless a build of the same text is there; return its folder and the seconds it took.

    Parameters
    ----------
    name
        First part of the folder's name.
    toplevel
        Name of the top module.
    sources
        Verilog and SystemVerilog files.
    configuration
        Text of tb_config.svh, which they may include.
    folder, announce, waves
        As in `build`.
    quick
        Whether to compile it in less time, to a slower simulator.

    Raises
    ------
    UserError
        If Verilator is missing.
    SimulationError
        If it fails.
    """
    options = [*_OPTIONS, *tracing.OPTIONS] if waves else _OPTIONS
    # No path is part of a build: libraries and Python are found when it runs.
    compiler = _QUICK_OPTIONS if quick else _MAKE_OPTIONS
    tools = repr((options, compiler, verilator_version(), package_version("cocotb"))).encode()
    texts = {path.name: path.read_text(encoding="utf-8") for path in sources}
    if waves:
        texts = {name: tracing.traceable(text) if name.endswith(".v") else text for name, text in texts.items()}
    key = _hash(tools, *(text.encode() for text in texts.values()), configuration.encode())
    target = (folder / f"{name}-{key}").resolve()
    with locked(folder / f"{target.name}.lock"):
        if _is_built(target, toplevel):
            return target, 0.0
        if announce is not None:
            announce()
        start = time.monotonic()
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for file, text in {"tb_config.svh": configuration, **texts}.items():
            (target / file).write_text(text, encoding="utf-8")
        support = (folder / f"verilator-{_hash(tools)}").resolve()
        _compile(target, toplevel, list(texts), options, compiler, waves, support)
        (target / _COMPLETE).write_text(f"{_digest(target / toplevel)}\n", encoding="ascii")
        return target, time.monotonic() - start


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_built(folder: Path, toplevel: str) -> bool:
    """Tell whether a folder holds the very binary that was built there."""
    binary = folder / toplevel
    try:
        return os.access(binary, os.X_OK) and (folder / _COMPLETE).read_bytes() == f"{_digest(binary)}\n".encode()
    except OSError:
        return False


def _hash(*parts: bytes) -> str:
    key = hashlib.sha256()
    for part in parts:
        key.update(hashlib.sha256(part).digest())
    return key.hexdigest()[:16]


def _compile(
    target: Path,
    toplevel: str,
    sources: Sequence[str],
    options: Sequence[str],
    compiler: Mapping[str, str],
    waves: bool,
    support: Path,
) -> None:
    """Compile the simulator in its folder; objects of Verilator's library, half of the work, are kept in `support`."""
    log = target / "build.log"
    environment = verilator_env()
    verilator = shutil.which("verilator", path=environment["PATH"])
    assert verilator is not None
    _kept_objects(support, target)
    (target / _COCOTB).symlink_to(libs_dir)
    (target / _PYTHON).symlink_to(sys.executable)
    if "VERILATOR_ROOT" in environment:
        (target / _VERILATOR).symlink_to(Path(environment["VERILATOR_ROOT"]).resolve())
        environment["VERILATOR_ROOT"] = _VERILATOR
    main = target / "main.cpp"
    shutil.copyfile(share_dir / "lib/verilator/verilator.cpp", main)
    # cocotb's own runner makes all signals public. Here they are so only where the testbench says it: Verilator cannot
    # optimise across a public one, and simulates several times slower.
    translate = [
        verilator,
        *("-cc", "--exe", "--vpi", "--no-MMD", "--prefix", "Vtop", "-Mdir", ".", "--timescale", "1ns/1ns", "-I."),
        *("--top-module", toplevel, "-o", toplevel, "-LDFLAGS", f"-L{_COCOTB} -lcocotbvpi_verilator"),
        *(["--trace"] if waves else []),
        *options,
        main.name,
        *sources,
    ]
    variables = {
        "VM_TRACE": str(int(waves)),
        "PYTHON3": f"./{_PYTHON}",
        # Verilator's makefile refuses a current folder with a space, of whose name nothing here makes use.
        "CURDIR": ".",
        **compiler,
    }
    compile_all = ["make", "-j", str(_JOBS), "-f", "Vtop.mk", *(f"{name}={value}" for name, value in variables.items())]
    try:
        _call(translate, target, environment, log)
        for built in target.glob("verilated*.o"):
            built.touch()  # the shared objects must be newer than the makefile, on which they depend
        _call(compile_all, target, environment, log)
    except (OSError, subprocess.CalledProcessError):
        raise SimulationError(f"build of the simulator failed, see {log}") from None
    for link in (_VERILATOR, _COCOTB, _PYTHON):
        (target / link).unlink(missing_ok=True)
    _keep_objects(target, support)
    for leftover in (*target.glob("*.o"), *target.glob("*.a"), *target.glob("*.cpp"), *target.glob("*.gch")):
        leftover.unlink()


def _keep_objects(folder: Path, support: Path) -> None:
    """Keep the objects of Verilator's library, unless some are kept already, and the SHA-256 of each."""
    if support.exists():
        return
    partial = support.with_name(f"{support.name}.{os.getpid()}")
    partial.mkdir()
    for built in folder.glob("verilated*.o"):
        shutil.copyfile(built, partial / built.name)
        (partial / f"{built.name}.sha256").write_text(_digest(built), encoding="ascii")
    with contextlib.suppress(OSError):  # another process was first
        partial.rename(support)


def _kept_objects(support: Path, folder: Path) -> None:
    """Copy the objects that are kept and are still what they were."""
    for built in support.glob("*.o"):
        note = support / f"{built.name}.sha256"
        if note.is_file() and note.read_bytes() == _digest(built).encode():
            shutil.copyfile(built, folder / built.name)
