"""CIFAR-10 as arrays, and batches that are functions of (seed, step)."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]
JPEG_ARCHIVE = "cifar10-jpeg.tar.xz"
JPEG_LABELS = "cifar10-original-part.npz"
CACHE = Path("runs/cache")


class DataError(Exception):
    """The images are not where they were looked for; the message says which files are needed."""


def load_cifar10(folder: str | Path, cache: Path = CACHE) -> Arrays:
    """Load CIFAR-10 in its original order.

    Args:
        folder: Either the folder with the JPEG copy (`cifar10-jpeg.tar.xz`, `cifar10-original-part.npz`) or
            `cifar-10-batches-py` itself or its parent.
        cache: Where the decoded JPEG copy is kept as one .npz file, because decoding takes 15 s.

    Returns:
        x_train (50000, 32, 32, 3) uint8 RGB, y_train (50000,) int64, x_test (10000, 32, 32, 3), y_test (10000,).

    Raises:
        DataError: Neither form of the data set is in the folder.
    """
    folder = Path(folder)
    for batches in (folder, folder / "cifar-10-batches-py"):
        if (batches / "data_batch_1").is_file():
            return _load_batches(batches)
    if (folder / JPEG_ARCHIVE).is_file() and (folder / JPEG_LABELS).is_file():
        return _load_jpegs(folder, cache)
    raise DataError(
        f"data folder must hold {JPEG_ARCHIVE} and {JPEG_LABELS}, or cifar-10-batches-py "
        f"(cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html, unpacked); not found in {folder}"
    )


def data_set_name(folder: str | Path) -> str:
    """What a report calls the images of the folder: the JPEG copy is lossy and is no plain "CIFAR-10"."""
    return "CIFAR-10, JPEG copy" if (Path(folder) / JPEG_ARCHIVE).is_file() else "CIFAR-10"


def _load_batches(folder: Path) -> Arrays:
    """Read the pickled batches of the original distribution."""
    images, labels = [], []
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        try:
            with (folder / name).open("rb") as file:
                batch = pickle.load(file, encoding="bytes")
        except FileNotFoundError:
            raise DataError(f"data folder must hold {name}, which is missing from {folder}") from None
        images.append(np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(np.asarray(batch[b"labels"], np.int64))
    x_train = np.ascontiguousarray(np.concatenate(images[:-1]))
    return x_train, np.concatenate(labels[:-1]), np.ascontiguousarray(images[-1]), labels[-1]


def _load_jpegs(folder: Path, cache: Path) -> Arrays:
    """Decode the JPEG copy, whose k-th file of a class is the class's k-th image in the original order."""
    stored = cache / "cifar10-jpeg.npz"
    if stored.is_file():
        with np.load(stored) as z:
            return z["x_train"], z["y_train"], z["x_test"], z["y_test"]
    with np.load(folder / JPEG_LABELS) as z:
        labels = {"train": z["y_train_all"].astype(np.int64), "test": z["y_test_all"].astype(np.int64)}
        names = [str(n) for n in z["names"]]
    where = {}
    for split, classes in labels.items():
        count = [0] * len(names)
        for i, c in enumerate(classes):
            where[f"cifar10-jpeg/{split}/{names[c]}/{count[c]:04d}.jpg"] = (split, i)
            count[c] += 1
    images = {split: np.empty((len(y), 32, 32, 3), np.uint8) for split, y in labels.items()}
    with tarfile.open(folder / JPEG_ARCHIVE) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name in where else None
            if file is not None:
                split, i = where.pop(member.name)
                images[split][i] = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))
    if where:
        raise DataError(f"{JPEG_ARCHIVE} must hold all 60,000 images; {len(where)} are missing, e.g. {min(where)}")
    cache.mkdir(parents=True, exist_ok=True)
    part = stored.with_suffix(".part.npz")
    np.savez(part, x_train=images["train"], y_train=labels["train"], x_test=images["test"], y_test=labels["test"])
    part.replace(stored)
    return images["train"], labels["train"], images["test"], labels["test"]


def step_generator(seed: int, step: int, stream: int = 0) -> torch.Generator:
    """Random generator that depends on (seed, step, stream) only, so that a resumed run draws the same numbers."""
    state = np.random.SeedSequence((seed, step, stream)).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


def batch_indices(seed: int, step: int, batch_size: int, size: int) -> Tensor:
    """Indices of the images of one step, (batch_size,) int64.

    The steps walk through one random permutation of all images after another, without a gap: a batch at an epoch's end
    takes the rest of its permutation and the beginning of the next.
    """
    first = step * batch_size
    epochs = range(first // size, (first + batch_size - 1) // size + 1)
    order = torch.cat([torch.randperm(size, generator=step_generator(seed, e, stream=1)) for e in epochs])
    start = first - epochs[0] * size
    return order[start : start + batch_size]
