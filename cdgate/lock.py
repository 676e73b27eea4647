"""Keeps two processes, for instance two workers of the tests, from making the same thing at the same time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["locked"]


@contextlib.contextmanager
def locked(path: Path, announce: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file ``path``, which is made if missing and stays; wait as long as another process holds it.

    ``announce`` is called before such a wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if announce is not None:
                announce()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
