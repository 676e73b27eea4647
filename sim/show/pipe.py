"""Takes a file from a program that must not see that it could not be written."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["copied"]


@contextlib.contextmanager
def copied(pipe: Path, target: Path) -> Iterator[None]:
    """Make a named pipe and copy what comes through it into ``target``, until the body and the writer have ended.

    A simulator of Verilator hangs if it cannot write its waves, for instance because the disk is full. Through a pipe
    it always can.

    Raises
    ------
    OSError
        At the end, if ``target`` could not be written.
    """
    failures: list[OSError] = []
    os.mkfifo(pipe)
    # Both ends are opened here, so that opening never waits for the other side, and the copy ends only after the body.
    source = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    end = os.open(pipe, os.O_WRONLY)
    os.set_blocking(source, True)

    def copy() -> None:
        with os.fdopen(source, "rb") as stream:
            try:
                with target.open("wb") as file:
                    shutil.copyfileobj(stream, file)
            except OSError as error:
                failures.append(error)
                while stream.read(1 << 16):  # so that the writer can go on
                    pass

    reader = threading.Thread(target=copy, daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.close(end)
        reader.join()
        if failures:
            raise failures[0]
