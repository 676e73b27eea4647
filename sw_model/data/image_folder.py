"""A folder of image files, as ImageNet-100: `train/<class>/*` and `val/<class>/*`, decoded when they are needed."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cdgate.errors import DataError, ImageError
from sw_model.data.dataset import DataSet
from sw_model.data.photographs import load_image

__all__ = ["IMAGE_SIZE", "FileImages", "load_image_folder"]

#: Height and width to which images are brought.
IMAGE_SIZE = 224
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FileImages:
    """Images in files: the central square of each, resized bilinearly.

    Parameters
    ----------
    paths
        The files.
    size
        Height and width of the images.
    """

    def __init__(self, paths: Sequence[Path], size: int = IMAGE_SIZE) -> None:
        self.paths, self.size = tuple(paths), size
        self.shape = (len(self.paths), size, size, 3)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def __getitem__(self, index: Any) -> Tensor:
        """Decode the images of a tensor of indices or of a slice; (n, size, size, 3), uint8.

        Raises
        ------
        DataError
            A file is missing or no image.
        """
        paths = self.paths[index] if isinstance(index, slice) else [self.paths[i] for i in index.tolist()]
        # Pillow decodes without holding the interpreter's lock.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            try:
                images = list(pool.map(lambda path: load_image(path, self.size), paths))
            except ImageError as error:
                raise DataError(str(error)) from None
        return torch.from_numpy(np.stack(images))


def _shown(folder: Path) -> list[Path]:
    """What a folder holds that is not hidden: by a dot, as .ipynb_checkpoints, or as archives for macOS have it."""
    return [path for path in folder.glob("*") if not path.name.startswith((".", "__MACOSX"))]


def _split(folder: Path, classes: Sequence[str], size: int) -> tuple[FileImages, Tensor]:
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        found = sorted(p for p in _shown(folder / name) if p.suffix.lower() in SUFFIXES)
        if not found:
            raise DataError(f"class folder {folder / name} must hold images ({', '.join(SUFFIXES)}), but has none")
        for path in found:
            if not path.is_file():
                raise DataError(f"{path} must be an image file, not a folder or a broken link")
            if not os.access(path, os.R_OK):
                raise DataError(f"{path} must be an image file that can be read; its permissions do not allow it")
        files += [(path, label) for path in found]
    return FileImages([path for path, _ in files], size), torch.tensor([label for _, label in files])


def load_image_folder(folder: Path, size: int = IMAGE_SIZE) -> DataSet:
    """List the images of a folder with the same classes in `train` and `val`.

    Parameters
    ----------
    folder
        Holds `train/<class>/<file>` and `val/<class>/<file>`; what is hidden is not looked at.
    size
        Height and width to which the images are brought.

    Raises
    ------
    DataError
        A class has no images, what is named as an image is no file, or the two parts differ in their classes.
    """
    parts = {}
    for part in ("train", "val"):
        parts[part] = sorted(p.name for p in _shown(folder / part) if p.is_dir())
    if parts["train"] != parts["val"] or len(parts["train"]) < 2:
        raise DataError(
            f"{folder} must hold the same two or more class folders in train and val, "
            f"not {len(parts['train'])} and {len(parts['val'])}"
        )
    train, test = (_split(folder / part, parts[part], size) for part in ("train", "val"))
    return DataSet(
        name=f"image folder of {len(parts['train'])} classes, {size}x{size}",
        classes=tuple(parts["train"]),
        train=train[0],
        train_labels=train[1],
        test=test[0],
        test_labels=test[1],
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        stem="large" if size >= 128 else "small",
    )
