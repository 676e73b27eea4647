"""Keeps two processes, for instance two workers of the tests, from making the same thing at the same time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["locked"]


@contextlib.contextmanager
def locked(path: Path, announce: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock as long as the block runs; wait first as long as another process, or another block, holds it.

    Parameters
    ----------
    path
        The lock file, which is made if missing, with its folder, and stays.
    announce
        Called before such a wait.
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
