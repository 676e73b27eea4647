"""Files in parts: what leaves a machine that gives back few files, and small ones only.

All files of a folder become one tar archive, cut into parts of at most 15 MiB; ``manifest.json`` has the size and the
SHA-256 of each part. A reader that finds old parts beside a new manifest, or half of them, is told so.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

from cdgate.errors import DataError, UsageError
from cdgate.files import replaced, write_file

__all__ = ["MANIFEST", "MOST", "PART", "merge_parts", "write_parts"]

MANIFEST = "manifest.json"
#: Bytes of a part, and of all: four parts and the manifest stay below 8 files and 64 MiB.
PART, MOST = 15 << 20, 60 << 20


def _archive(folder: Path) -> bytes:
    """All files of a folder as a tar archive that depends on their names and contents only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                content = path.read_bytes()
                info = tarfile.TarInfo(path.name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write_parts(folder: Path, out: Path, part: int = PART) -> list[Path]:
    """Write the files of a folder to another in parts, in place of those that are there.

    Parameters
    ----------
    folder
        Its files are taken, those of its folders are not.
    out
        Folder written to; made if missing.
    part
        Bytes of a part at most.

    Returns
    -------
    list[Path]
        The parts, and the manifest last.

    Raises
    ------
    UsageError
        They are more than `MOST` bytes.
    """
    whole = _archive(folder)
    if len(whole) > MOST:
        raise UsageError(f"what comes back must be at most {MOST >> 20} MiB, not {len(whole) / 2**20:.1f}: give fewer "
                         "rows a state")  # fmt: skip
    pieces = {f"part-{i:02}.bin": whole[i * part : (i + 1) * part] for i in range(max(1, -(-len(whole) // part)))}
    manifest = {
        "bytes": len(whole),
        "parts": [
            {"name": name, "bytes": len(piece), "sha256": hashlib.sha256(piece).hexdigest()}
            for name, piece in pieces.items()
        ],
    }
    with contextlib.ExitStack() as stack:
        # All are written before the first takes its place; the manifest, entered first, does so last.
        file = stack.enter_context(replaced(out / MANIFEST))
        file.write_text(json.dumps(manifest, indent=1) + "\n")
        for name, piece in pieces.items():
            stack.enter_context(replaced(out / name)).write_bytes(piece)
    for path in out.glob("part-*.bin"):
        if path.name not in pieces:
            path.unlink()
    return [*(out / name for name in pieces), out / MANIFEST]


def merge_parts(folder: Path, out: Path) -> list[Path]:
    """Put parts together again.

    Parameters
    ----------
    folder
        Holds parts and manifest.
    out
        Folder that the files are written to; made if missing.

    Returns
    -------
    list[Path]
        The files.

    Raises
    ------
    DataError
        A part or the manifest is missing or damaged. Nothing was written then.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        parts = [(str(entry["name"]), int(entry["bytes"]), str(entry["sha256"])) for entry in manifest["parts"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{folder / MANIFEST} must be a manifest that sw_model.plan wrote") from None
    pieces = []
    for name, size, digest in parts:
        path = folder / name
        if not re.fullmatch(r"part-\d+\.bin", name) or not path.is_file():
            raise DataError(f"{path} must be there: the manifest names it")
        piece = path.read_bytes()
        if len(piece) != size or hashlib.sha256(piece).hexdigest() != digest:
            raise DataError(f"{path} must have {size} bytes with SHA-256 {digest}: it is damaged, or of another time")
        pieces.append(piece)
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is None or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", member.name):
                    raise DataError(f"{folder} must hold plain files only, not {member.name}")
                contents[member.name] = file.read()
    except tarfile.TarError:
        raise DataError(f"{folder} must hold an archive in parts; what the parts make is none") from None
    for name, content in contents.items():
        write_file(out / name, content)
    return [out / name for name in contents]
