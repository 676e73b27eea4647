"""Files that are written whole or not at all. Everything that this project writes goes through here."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cdgate.errors import UserError

__all__ = ["as_path", "replaced", "write_file", "write_if_changed", "write_json"]


def as_path(what: str, value: Any) -> Path:
    """Return what a caller gives as the path of `what`.

    Raises
    ------
    UserError
        If it is no path: of another type, with a null character, or empty, which `Path` takes for the working folder.
    """
    if not isinstance(value, str | Path) or value == "" or "\0" in str(value):
        raise UserError(f"{what} must be a path, not {'an empty name' if value == '' else ascii(value)[:80]}")
    return Path(value)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a new file beside `path` to write, which takes its place when the block ends without an error.

    A reader sees the old file or the new one, never a part; after an error or a kill the old one is there still. Its
    folder is made if missing; its permissions are those that any new file gets.

    Raises
    ------
    UserError
        If it cannot be written; what the block raises else, as it is.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(21, os.strerror(21))
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        part = Path(name)
        yield part
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)  # a temporary file is private, the result is not
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Write `content`, text as UTF-8, to `path`; see `replaced`."""
    with replaced(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON to `path`; see `replaced`.

    Raises
    ------
    ValueError
        If it has a number that is not finite, which JSON has no word for.
    """
    write_file(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_if_changed(path: Path, content: str | bytes) -> bool:
    """Write `content` to `path` unless it is there already, and return whether it was written; see `replaced`.

    An unchanged file keeps its time, so that nothing that depends on it is built again.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.read_bytes() == data:
            return False
    except OSError:
        pass
    write_file(path, data)
    return True
