"""Errors of the command lines, files written whole, pins, tools."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cdgate import tools
from cdgate.cli import Parser, run
from cdgate.errors import UserError
from cdgate.files import write_if_changed
from gen import requirements


def test_bad_option_is_one_line(capsys):
    with pytest.raises(SystemExit) as exit_status:
        Parser(prog="x").parse_args(["--nonsense"])
    assert exit_status.value.code == 2
    assert capsys.readouterr().err == "x: unrecognized arguments: --nonsense; see --help\n"


def test_empty_path_is_one_line(capsys):
    parser = Parser(prog="x")
    parser.add_argument("--file", type=Path)
    assert parser.parse_args(["--file", "a/b"]).file == Path("a/b")
    with pytest.raises(SystemExit) as exit_status:
        parser.parse_args(["--file", ""])
    assert exit_status.value.code == 2
    assert capsys.readouterr().err == "x: argument --file: it must be a path, not an empty name; see --help\n"


def test_user_error_is_one_line(capsys):
    def body():
        raise UserError("first\nsecond")

    assert run("x", body) == 2
    assert capsys.readouterr().err == "x: first second\n"


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run("x", lambda: 1 // 0)

    def unknown():
        raise OSError(errno.EINVAL, "Invalid argument")

    with pytest.raises(OSError, match="Invalid argument"):
        run("x", unknown)


PRINTS = "import sys; from cdgate.cli import run; sys.exit(run('x', lambda: print('word\\n' * 100_000)))"
TABLES = """
import sys
from cdgate.cli import console, run
def body():
    shown = console()
    for _ in range(20_000):
        shown.print('word')
sys.exit(run('x', body))
"""


@pytest.mark.parametrize("program", [PRINTS, TABLES], ids=["print", "console"])
@pytest.mark.parametrize(
    "shell, status, said",
    [
        ("{} | head -n 1", 141, ""),
        ("{} >&-", 0, ""),
        ("{} > /dev/full", 2, "x: standard output: No space left on device\n"),
    ],
)
def test_standard_output_that_ends(root, program, shell, status, said):
    """A reader that has had enough, no output at all, and a full disk behind it."""
    command = shell.format(f'{sys.executable} -c "{program}"')
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == status and done.stderr == said


WAITS = """
import signal, subprocess, sys
from cdgate.cli import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
def body():
    child = subprocess.Popen(['sleep', '100'], stderr=subprocess.DEVNULL)
    try:
        print(child.pid, flush=True)
        child.wait()
    finally:
        child.kill()
        child.wait()
sys.exit(run('x', body))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_that_ends_a_program_is_an_interruption(root, number):
    """What the program has started is ended with it."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        child = int(process.stdout.readline())
        process.send_signal(number)
        said = process.stderr.read()
    alive = Path(f"/proc/{child}").exists()
    if alive:
        os.kill(child, signal.SIGKILL)
    assert (process.returncode, said, alive) == (128 + number, "x: interrupted\n", False)


def test_ignored_signal_stays_ignored(root):
    """As under nohup."""
    program = "import os, signal, sys; from cdgate.cli import run; "
    program += "sys.exit(run('x', lambda: os.kill(os.getpid(), signal.SIGHUP)))"
    shell = f"trap '' HUP; exec '{sys.executable}' -c \"{program}\""
    done = subprocess.run(["bash", "-c", shell], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_handlers_are_given_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    during = []
    assert run("x", lambda: during.extend(map(signal.getsignal, (signal.SIGTERM, signal.SIGHUP)))) == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before
    assert all(callable(one) for one, old in zip(during, before, strict=True) if old is signal.SIG_DFL)
    with ThreadPoolExecutor(1) as pool:  # where no handler can be set
        assert pool.submit(run, "x", lambda: 3).result() == 3


CLOSED = """
import pathlib, subprocess, sys
from cdgate.cli import run, say
from cdgate.errors import UserError
def body():
    with pathlib.Path(sys.argv[1]).open('wb') as file:  # gets the first number that is free
        say('told')
        subprocess.run(['bash', '-c', 'echo of another program >&2; echo of it; cat'], check=True)
        file.write(b'result')
    print('printed')
    raise UserError('wrong')
sys.exit(run('x', body))
"""


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-", "<&-", "2>/dev/full", "2>&1 >&- | true"])
def test_what_the_caller_has_closed(root, tmp_path, closed):
    """Status and result are as ever, and nothing that is told gets into a file."""
    command = f"trap '' PIPE; '{sys.executable}' -c \"$PROGRAM\" '{tmp_path}/file' {closed}; exit ${{PIPESTATUS[0]}}"
    quiet = "/dev/full" in closed or "|" in closed  # there another program fails that tells something
    program = CLOSED.replace("echo of another program >&2; ", "") if quiet else CLOSED
    environment = {**os.environ, "PROGRAM": program}
    done = subprocess.run(
        ["bash", "-c", command], cwd=root, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, (tmp_path / "file").read_text()) == (2, "result")
    assert done.stdout == ("" if ">&-" in closed.split() else "of it\nprinted\n")
    assert done.stderr == ("told\nof another program\nx: wrong\n" if closed == "<&-" else "")


def test_one_word_on_standard_output_of_a_full_disk(root):
    """What is small enough to wait in the buffer is told, too."""
    command = [
        sys.executable,
        "-c",
        "import sys; from cdgate.cli import run; sys.exit(run('x', lambda: print('word')))",
    ]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, cwd=root, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr == "x: standard output: No space left on device\n"


def test_folder_that_cannot_be_used_is_one_line(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert run("x", (tmp_path / "file" / "new").mkdir) == 2
    assert capsys.readouterr().err == f"x: {tmp_path}/file/new: Not a directory\n"


def test_full_disk_is_one_line(capsys):
    def body():
        raise OSError(errno.ENOSPC, "No space left on device")

    assert run("x", body) == 2
    assert capsys.readouterr().err == "x: No space left on device\n"


def test_write_only_on_change(tmp_path):
    path = tmp_path / "new" / "file"
    assert write_if_changed(path, "a")
    os.utime(path, (1, 1))
    assert not write_if_changed(path, "a")
    assert path.stat().st_mtime == 1
    assert write_if_changed(path, "b")
    assert path.read_text() == "b"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    assert write_if_changed(path, b"\xff") and not write_if_changed(path, b"\xff")
    assert path.read_bytes() == b"\xff"


def test_write_into_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_if_changed(tmp_path / "file" / "x", "a")


def test_requirements_are_exact_pins():
    for group in ("base", "train", "test", "lint", "synth"):
        for pin in requirements.requirements([group]):
            assert "==" in pin


def test_requirements_need_no_package(root):
    done = subprocess.run(
        [sys.executable, "-S", "-m", "gen.requirements", "base", "lint"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1].startswith("mypy==")


def test_requirements_unknown_group(capsys):
    assert requirements.main(["nonsense"]) == 2
    assert "must be one of base, train, synth, test, lint, not 'nonsense'" in capsys.readouterr().err


def test_missing_tool(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^perl not found on PATH: .*apt-get install perl"):
        tools.verilator_env()


def _fake_verilator(folder: Path, version):
    program = folder / "verilator"
    program.write_text(f"#!/bin/sh\necho 'Verilator {version} 2025-01-01 rev v{version}'\n")
    program.chmod(0o755)


@pytest.mark.parametrize("version, chosen", [("5.036", True), ("5.035", False), ("4.228", False), ("6.001", True)])
def test_system_verilator_preferred_if_new_enough(monkeypatch, tmp_path, version, chosen):
    _fake_verilator(tmp_path, version)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("VERILATOR_ROOT", raising=False)
    env = tools.verilator_env()
    assert (env["PATH"].split(os.pathsep)[0] == str(tmp_path)) == chosen
    assert ("VERILATOR_ROOT" not in env) == chosen
    assert (tools.verilator_version() == version) == chosen


def test_package_version_of_nothing():
    with pytest.raises(UserError, match="nonsense-package is not installed"):
        tools.package_version("nonsense-package")
