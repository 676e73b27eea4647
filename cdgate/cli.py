"""What the command lines of this project have in common: one line for bad input, and the status that they end with."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable
from typing import NoReturn

from cdgate.errors import UserError

__all__ = ["Parser", "run"]


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
