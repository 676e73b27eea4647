"""What all command lines of this project have in common: how they read options, how they end, how their tables look."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cdgate.errors import CdgateError, UserError
from cdgate.files import as_path

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["WIDTH", "Parser", "console", "run", "say", "table"]

#: Columns of the narrowest terminal in which every table is readable.
WIDTH = 80

#: What the system says of a full disk; it does not name the file then.
_FULL = (errno.ENOSPC, errno.EDQUOT)

#: What ends a program in the same way as Ctrl-C.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Parser(argparse.ArgumentParser):
    """Argument parser whose errors are a single line, without the usage text; options cannot be abbreviated.

    An argument of type `Path` must not be an empty name.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(allow_abbrev=False, **options)  # type: ignore[arg-type]
        self.register("type", Path, _path)

    def error(self, message: str) -> NoReturn:
        """End with one line and status 2."""
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def _path(text: str) -> Path:
    try:
        return as_path("it", text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(prog: str, body: Callable[[], int | None], interrupted: str = "interrupted") -> int:
    """Call `body` and return the exit status of the program.

    A `CdgateError` becomes one line, and its own status; a file or folder that cannot be used and a full disk one line
    and status 2; Ctrl-C the line `interrupted` and status 130; SIGTERM and SIGHUP the same line and 128 and their
    number, after `body` has got a `KeyboardInterrupt`, so that it ends what it has started. A reader of standard output
    that has had enough, as ``head``, ends the program with status 141 and without a word, as it does others. Standard
    input, output and error may be closed, and standard error may be full or without a reader.

    Parameters
    ----------
    prog
        Name of the program, with which every line begins.
    body
        What it does; returns its status, None for 0.
    interrupted
        What is said after Ctrl-C.
    """
    _open_what_is_closed()
    signals: list[int] = []
    try:
        with _interrupting(signals):
            status = body() or 0
            sys.stdout.flush()  # a full disk behind it is to be told now, not at the interpreter's end
            return status
    except CdgateError as error:
        say(f"{prog}: {' '.join(str(error).split())}")
        return error.status
    except BrokenPipeError:
        _drop_output()
        return 141
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:
            raise
        name = error.filename
        if name is None and _output_is_full():
            name = "standard output"
        _drop_output()
        say(f"{prog}: {'' if name is None else f'{name}: '}{error.strerror}")
        return 2
    except KeyboardInterrupt:
        say(f"{prog}: {interrupted}")
        return 128 + (signals or [signal.SIGINT])[0]


@contextlib.contextmanager
def _interrupting(signals: list[int]) -> Iterator[None]:
    """Turn what else ends a program into `KeyboardInterrupt` in a block, and append the signal's number to `signals`.

    A signal that somebody has a handler for, or that is ignored, as by ``nohup``, is left alone. It must be
    `KeyboardInterrupt` itself: `subprocess` waits for a child without end after one of its subclasses.
    """

    def interrupt(number: int, frame: object) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
    mine = [number for number in _ENDING if main and signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in mine:
            signal.signal(number, interrupt)
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _open_what_is_closed() -> None:
    """Open standard input, output and error to nowhere if the caller has closed them.

    Otherwise the next file that is opened gets the number of one of them, and what this program or one that it starts
    tells would be written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _drop_output() -> None:
    """Let the interpreter flush standard output to nowhere at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output_is_full() -> bool:
    """Return whether standard output takes nothing more; a line that it does take is empty.

    What failed may be gone from its buffers, or there may be none, so that a flush need not tell.
    """
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def say(text: str) -> None:
    """Tell how far the work is, or what is wrong: on standard error, so that results can be piped."""
    if sys.stderr is None:  # closed by the caller; what is told must not get among the results
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # a full disk behind it, or no reader any more: there is nowhere to tell it
        pass


def console() -> Console:
    """Return where tables are printed: as wide as the terminal, but at least `WIDTH` columns; `WIDTH` in a file."""
    from rich.console import Console

    class Piped(Console):
        """A console whose reader may have had enough: `run` deals with that, not rich, which would end with 1."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    found = Piped(highlight=False)
    return Piped(highlight=False, width=max(found.width, WIDTH) if sys.stdout.isatty() else WIDTH)


def table(title: str, *headings: str, left: int = 1) -> Table:
    """Return an empty table in the style of all.

    Parameters
    ----------
    title
        Above it.
    headings
        Of the columns.
    left
        Number of columns, from the first on, that are words; the others are numbers and end at the right.
    """
    from rich import box
    from rich.table import Table

    # The box itself has a space between columns.
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=0)
    for number, heading in enumerate(headings):
        made.add_column(heading, justify="left" if number < left else "right", no_wrap=not 0 < number < left)
    return made
