"""Files with flipped, cut or added bytes: checkpoints, images, configurations, programs."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cdgate.errors import CdgateError, UserError
from gen import disasm, program
from gen.network.compiler import compile_network
from hw.configurations import CONFIGS, configuration
from sw_model import evaluate
from sw_model.data.photographs import load_image
from sw_model.integer.checkpoint import load, save
from sw_model.quantisation.random_network import random_network
from verification.fuzzing.case import Case, Kind
from verification.fuzzing.host import FindingError

__all__ = ["FILES"]

#: Status of a command that Ctrl-C ends, or another signal that the fuzz has made the same of.
_INTERRUPTED = 128 + signal.SIGINT

#: Seconds after which a reader of a small file hangs.
_LIMIT = 60

#: What is read, by name: the file, and how.
_READERS: dict[str, tuple[str, Callable[[Path, Path], int | None]]] = {
    "checkpoint": ("net.safetensors", lambda path, out: _loaded(path)),
    "compiled": (
        "net.safetensors",
        lambda path, out: program.main(
            ["--checkpoint", str(path), "--config", "small", "--images", "1", "--size", "8", "--output", str(out)]
        ),
    ),
    "evaluated": (
        "net.safetensors",
        lambda path, out: evaluate.main(
            ["--checkpoint", str(path), "--data", "digits", "--limit", "2", "--json", str(out / "found.json")]
        ),
    ),
    "disassembled": (
        "program.bin",
        lambda path, out: disasm.main([str(path), "--config", "small", "--output", str(out / "found.json")]),
    ),
    "png": ("image.png", lambda path, out: _image(path)),
    "jpeg": ("image.jpg", lambda path, out: _image(path)),
    "configuration": ("own.toml", lambda path, out: _configured(path)),
}


def _loaded(path: Path) -> None:
    """Load a network; one that is accepted can be run."""
    network = load(path)
    pixels = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    with contextlib.suppress(CdgateError):
        network.run(pixels)


def _configured(path: Path) -> None:
    configuration(path)


def _image(path: Path) -> None:
    found = load_image(path)
    if found.dtype != np.uint8 or found.shape != (32, 32, 3):
        raise FindingError(f"an image is read as {found.dtype} of {found.shape}")


def _whole_files(folder: Path) -> None:
    """Write the files that are damaged, once."""
    if (folder / "own.toml").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    network = random_network(width=0.25, groups=2, blocks=1, images=pixels)
    save(folder / "net.safetensors", network)
    compiled = compile_network(network, CONFIGS["small"], 1, (8, 8))
    (folder / "program.bin").write_bytes(compiled.packed().tobytes())
    picture = Image.fromarray(np.kron(pixels[0], np.ones((6, 5, 1), dtype=np.uint8)))
    picture.save(folder / "image.png")
    picture.save(folder / "image.jpg")
    values = dataclasses.asdict(CONFIGS["small"])
    text = "".join(f"{name} = {str(value).lower()}\n" for name, value in values.items())
    (folder / "own.toml").write_text(text, encoding="ascii")


def draw(rng: random.Random, params: Any) -> Case:
    """Draw a file and its damage: places in shares of a part of the file, and what bytes there are combined with."""
    count = rng.choice([1, 1, 1, 2, 5, 40])
    return {
        "what": rng.choice([*_READERS, "checkpoint", "compiled", "evaluated"]),
        "part": rng.choice([1.0, 1.0, 0.0]),  # 0: the header
        "flips": [
            [rng.random(), rng.choice([1, 2, 3, 4, 8, 16, 32, 64, 128, rng.randint(1, 255)])] for _ in range(count)
        ],
        "cut": rng.choice([None, None, None, None, rng.random()]),
        "added": rng.choice([0, 0, 0, 0, rng.randint(1, 100)]),
    }


def damaged(case: Case, content: bytes) -> bytes:
    """Return the bytes of a file as they are read."""
    found = bytearray(content)
    header = 8 + int.from_bytes(content[:8], "little")
    end = min(len(found), 200 if header > len(found) else header) if case["part"] == 0.0 else len(found)
    for place, value in case["flips"]:
        found[int(place * end)] ^= value
    if case["cut"] is not None:
        del found[int(case["cut"] * len(found)) :]
    return bytes(found) + bytes(range(case["added"]))


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise FindingError(f"reading takes longer than {_LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run(case: Case, place: Path) -> str:
    """Read a damaged file: it is refused in one line, or taken; nothing is written but where results belong."""
    folder = place.resolve()
    _whole_files(folder / "whole")
    name, reader = _READERS[case["what"]]
    content = damaged(case, (folder / "whole" / name).read_bytes())
    (folder / "work").mkdir(exist_ok=True)
    path = folder / "work" / name
    path.write_bytes(content)
    out = folder / "out"
    out.mkdir(exist_ok=True)
    for left in out.iterdir():
        left.unlink()
    before = _digests(folder)
    errors = io.StringIO()
    try:
        with _time_limit(), contextlib.chdir(folder / "work"), contextlib.redirect_stderr(errors):
            with contextlib.redirect_stdout(io.StringIO()):
                status = reader(path, out)
    except UserError as error:
        if "\n" in str(error) or not str(error):
            raise FindingError(f"refused with more than a line: {error}") from None
        status = None
        end = "refused"
    else:
        end = "taken" if status in (None, 0) else "refused"
    if status == _INTERRUPTED:  # of the fuzz, while a command ran
        raise KeyboardInterrupt
    text = errors.getvalue()
    if status not in (None, 0, 2) or (status == 2 and len(text.strip().splitlines()) != 1):
        raise FindingError(f"a command ends with {status} and {text.strip()[:200]!r}")
    after = _digests(folder)
    wrong = [name for name in {*before, *after} if before.get(name) != after.get(name) and not name.startswith("out/")]
    if wrong:
        raise FindingError(f"{wrong[0]} is written, outside of the output folder")
    if status == 2 and (written := [name for name in after if name.startswith("out/")]):
        raise FindingError(f"{written[0]} is written, though the file is refused")
    return f"{case['what']} {end}"


FILES = Kind("files", 0.03, draw, run, {"flips": [], "cut": None, "added": 0})
