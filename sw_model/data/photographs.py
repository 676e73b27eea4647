"""Photographs that need no download: the default images of every simulation, and images of the user's own.

The photographs are files inside the installed scikit-image wheel (its other samples are fetched on demand and are not
used). They are found without importing scikit-image, which takes seconds. Each is cropped to its central square and
resized to 32x32 with Pillow's antialiased bilinear filter; Pillow's version is pinned, so the codes are too.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cdgate.errors import ImageError

__all__ = ["IMAGE_SIZE", "default_images", "load_image", "photographs"]

#: Height and width of the network's input, in pixels.
IMAGE_SIZE = 32

#: (name, file in scikit-image's data folder), the cat first; colour photographs before grey ones.
PHOTOGRAPHS = (
    ("cat", "chelsea.png"),
    ("astronaut", "astronaut.png"),
    ("coffee", "coffee.png"),
    ("motorcycle", "motorcycle_left.png"),
    ("rocket", "rocket.jpg"),
    ("hubble", "hubble_deep_field.jpg"),
    ("tissue", "ihc.png"),
    ("retina", "retina.jpg"),
    ("camera", "camera.png"),
    ("coins", "coins.png"),
    ("moon", "moon.png"),
    ("brick", "brick.png"),
    ("grass", "grass.png"),
    ("gravel", "gravel.png"),
    ("clock", "clock_motion.png"),
    ("page", "page.png"),
)


def load_image(path: str | Path, size: int = IMAGE_SIZE) -> np.ndarray:
    """Read any image file as the network's input.

    Parameters
    ----------
    path
        File in a format that Pillow reads (PNG, JPEG, ...). Grey becomes RGB, transparency is dropped.
    size
        Height and width of the result, in pixels.

    Returns
    -------
    np.ndarray
        (size, size, 3), uint8, RGB: the central square, resized with the bilinear filter.

    Raises
    ------
    ImageError
        The file is missing or is no image.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"image {path} must be an existing file, as PNG or JPEG")
    try:
        with Image.open(path) as picture:
            rgb = picture.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error).splitlines()[0]
        raise ImageError(f"image {path} must be readable as PNG or JPEG: {reason}") from None
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = rgb.crop((left, top, left + side, top + side))
    return np.array(square.resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)


def default_images(count: int, size: int = IMAGE_SIZE) -> list[tuple[str, np.ndarray]]:
    """Return the first photographs of the list, the cat first.

    Parameters
    ----------
    count
        How many, 1 to ``len(PHOTOGRAPHS)``.
    size
        Height and width, in pixels.

    Returns
    -------
    list[tuple[str, np.ndarray]]
        Pairs of the photograph's name and (size, size, 3) uint8 RGB.

    Raises
    ------
    ImageError
        Count out of range, or scikit-image is not installed.
    """
    if not 1 <= count <= len(PHOTOGRAPHS):
        raise ImageError(f"number of default images must be 1 to {len(PHOTOGRAPHS)}, not {count}")
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ImageError("default images must come from the package scikit-image, which is not installed")
    folder = Path(spec.origin).parent / "data"
    return [(name, load_image(folder / file, size)) for name, file in PHOTOGRAPHS[:count]]


def photographs(count: int, size: int = IMAGE_SIZE) -> np.ndarray:
    """Return the first photographs, (count, size, size, 3) uint8; see `default_images`."""
    return np.stack([pixels for _, pixels in default_images(count, size)])
