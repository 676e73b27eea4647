"""What the command lines of this project have in common: one line for bad input, files written whole or not at all."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

__all__ = ["Parser", "UserError", "run", "write_if_changed"]


class UserError(ValueError):
    """Bad input or a missing tool: the message is one line that names what is wrong and what is allowed."""


class Parser(argparse.ArgumentParser):
    """Argument parser whose errors are a single line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


#: What the system says of a full disk; it does not name the file then.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def run(prog: str, body: Callable[[], int | None]) -> int:
    """Call `body` and return the exit status of the program.

    A `UserError`, a file or folder that cannot be used and a full disk become one line and status 2.
    """
    try:
        return body() or 0
    except UserError as error:
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:
            raise
        file = "" if error.filename is None else f"{error.filename}: "
        print(f"{prog}: {file}{error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130


def write_if_changed(path: Path, content: str | bytes) -> bool:
    """Write `content` to `path` unless it is there already, and return whether it was written.

    A reader sees the old file or the new one, never a part. An unchanged file keeps its time, so that nothing that
    depends on it is built again.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.read_bytes() == data:
            return False
    except OSError:
        pass
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask) # a temporary file is private, the result is not
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    return True
