"""Builds testbenches with Verilator, once for each text of the Verilog, and runs them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cocotb_tools.runner import Verilator

from cdgate.errors import RunError
from cdgate.lock import locked
from cdgate.tools import package_version, verilator_env, verilator_version
from sim.run import tracing

__all__ = ["BUILD", "ROOT", "SOURCE", "SimulationError", "build_bench", "execute"]

#: Folder of the builds, one for each Verilog text and testbench.
BUILD = Path("build/verilator")


#: Folder in which the packages of this project lie: the simulator's own Python has to find them.
ROOT = Path(__file__).resolve().parent.parent.parent

#: Folder of the testbenches.
SOURCE = ROOT / "sim/testbench"


#: What matters most to the speed is that no signal but four is public, see `_Verilator`.
_OPTIONS = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "-Wno-fatal", "-Wno-BLKSEQ"]


#: The last one is what Verilator's configure script would have found out, had it run on this machine.
_MAKE_OPTIONS = {"OPT_FAST": "-O2", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O1", "CFG_CXXFLAGS_PCH_I": "-include"}


#: Variables by which cocotb's runner would record waves or open a viewer; those of the caller are not meant for it.
_SWITCHES = {"WAVES": "0", "GUI": "0"}


class SimulationError(RunError):
    """The simulator itself failed; the message names the log."""


class _Verilator(Verilator):
    """The runner of cocotb, but for one option: signals are public only where the testbench says so.

    With every signal public Verilator cannot optimise across them, and simulates several times slower.
    """

    def _build_command(self):
        commands = super()._build_command()
        compile_command = [word for word in commands[0] if word != "--public-flat-rw"]
        make_command = [*commands[1], *(f"{name}={value}" for name, value in _MAKE_OPTIONS.items())]
        # The shared objects must be newer than the makefile that they depend on.
        shared = sorted(str(path) for path in Path(self.build_dir).glob("verilated*.o"))
        return [compile_command, *([["touch", *shared]] if shared else []), make_command]


@contextlib.contextmanager
def _environment(values: dict[str, str]):
    previous = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(previous)


def execute(
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
    work.mkdir(parents=True, exist_ok=True)
    # Under pytest the runner of cocotb would judge and name the results itself.
    variables = {"PYTEST_CURRENT_TEST": "", "COCOTB_LOG_LEVEL": "WARNING", **_SWITCHES, **environment}
    try:
        with _environment(variables), contextlib.redirect_stdout(io.StringIO()):
            _Verilator().test(
                test_module=module,
                hdl_toplevel=toplevel,
                hdl_toplevel_lang="verilog",
                build_dir=folder,
                test_dir=work,
                plusargs=[f"+dir={work.resolve()}", *plusargs],
                results_xml=str((work / "results.xml").resolve()),
                log_file=log,
                extra_env={"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            )
    except (SystemExit, RuntimeError, OSError):
        raise SimulationError(f"simulator failed, see {log}") from None


def build_bench(
    name: str,
    toplevel: str,
    sources: Sequence[Path],
    configuration: str,
    folder: Path = BUILD,
    announce: Callable[[], None] | None = None,
    waves: bool = False,
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

    Raises
    ------
    UserError
        If Verilator is missing.
    SimulationError
        If it fails.
    """
    options = [*_OPTIONS, *tracing.OPTIONS] if waves else _OPTIONS
    # A build is linked with the libraries of cocotb.
    tools = repr(
        (options, _MAKE_OPTIONS, verilator_version(), package_version("cocotb"), sys.version, sys.prefix)
    ).encode()
    texts = {path.name: path.read_text(encoding="utf-8") for path in sources}
    if waves:
        texts = {name: tracing.traceable(text) if name.endswith(".v") else text for name, text in texts.items()}
    key = _hash(tools, *(text.encode() for text in texts.values()), configuration.encode())
    target = (folder / f"{name}-{key}").resolve()
    with locked(folder / f"{target.name}.lock"):
        if (target / "complete").exists():
            return target, 0.0
        if announce is not None:
            announce()
        start = time.monotonic()
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for file, text in {"tb_config.svh": configuration, **texts}.items():
            (target / file).write_text(text, encoding="utf-8")
        _compile(
            target,
            toplevel,
            [target / file for file in texts],
            options,
            waves,
            (folder / f"verilator-{_hash(tools)}").resolve(),
        )
        (target / "complete").touch()
        return target, time.monotonic() - start


def _hash(*parts: bytes) -> str:
    key = hashlib.sha256()
    for part in parts:
        key.update(hashlib.sha256(part).digest())
    return key.hexdigest()[:16]


def _compile(
    target: Path, toplevel: str, sources: Sequence[Path], options: Sequence[str], waves: bool, support: Path
) -> None:
    """Compile the simulator; objects of Verilator's own library, half of the work, are shared in ``support``."""
    log = target / "build.log"
    for built in support.glob("*.o"):
        shutil.copyfile(built, target / built.name)
    try:
        variables = {**verilator_env(), **_SWITCHES, "WAVES": str(int(waves))}
        with _environment(variables), contextlib.redirect_stdout(io.StringIO()):
            _Verilator().build(
                sources=sources,
                includes=[target],
                hdl_toplevel=toplevel,
                build_dir=target,
                build_args=options,
                timescale=("1ns", "1ns"),
                log_file=log,
                always=True,
            )
    except (SystemExit, RuntimeError, OSError):
        raise SimulationError(f"build of the simulator failed, see {log}") from None
    if not support.exists():
        partial = support.with_name(f"{support.name}.{os.getpid()}")
        partial.mkdir()
        for built in target.glob("verilated*.o"):
            shutil.copyfile(built, partial / built.name)
        with contextlib.suppress(OSError):  # another process was first
            partial.rename(support)
    for leftover in (*target.glob("*.o"), *target.glob("*.a"), *target.glob("*.cpp"), *target.glob("*.gch")):
        leftover.unlink()
