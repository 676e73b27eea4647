"""Photographs that need no download: the default images of every simulation, and images of the user's own.

The photographs are files inside the installed scikit-image wheel (its other samples are fetched on demand and are not
used). They are found without importing scikit-image, which takes seconds. Each is cropped to its centre, the largest
part that has the wanted proportions, and resized, to 32x32 if nothing else is wanted, with Pillow's antialiased
bilinear filter; Pillow's version is pinned, so the codes are too.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cdgate.errors import ImageError, UserError
from cdgate.files import as_path

__all__ = ["IMAGE_SIZE", "MAX_SIZE", "default_images", "load_image", "photographs", "size_of"]

#: Height and width of the network's input, in pixels.
IMAGE_SIZE = 32

#: Rows or columns of the largest images that a command makes.
MAX_SIZE = 256

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


#: Modes of Pillow whose values it brings to 0..255 by itself.
_BYTE_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Bring a picture to RGB, 8 bits a colour, turned as its orientation tag says.

    Sixteen-bit grey keeps its upper eight bits, rounded. Wider integers and floats have no range that a file tells.

    Raises
    ------
    ValueError
        The picture has such values.
    """
    # Pillow gives 16-bit PNG and PGM as 32-bit integers or as I;16, by version; in TIFF mode I has 32 bits.
    sixteen = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in _BYTE_MODES:
        return picture.convert("RGB")
    values = np.asarray(picture)
    if not sixteen or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its values, of mode {picture.mode}, must be of 8 bits a colour, or grey of 16 bits")
    grey = (values.astype(np.int64) * 255 + 32767) // 65535
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def size_of(text: str) -> tuple[int, int]:
    """Return the rows and columns that a text says: "32", or "224x192".

    Raises
    ------
    UserError
        It says none.
    """
    parts = text.split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() and 1 <= int(part) <= MAX_SIZE for part in parts):
        raise UserError(f"size must be 1 to {MAX_SIZE}, rows and columns as 32 or 224x192, not {text}")
    return int(parts[0]), int(parts[-1])


def load_image(path: str | Path, size: int | tuple[int, int] = IMAGE_SIZE, channels: int = 3) -> np.ndarray:
    """Read any image file as the network's input.

    Parameters
    ----------
    path
        File in a format that Pillow reads (PNG, JPEG, ...). Grey becomes RGB, 16-bit grey is scaled to 8
        bits, transparency is dropped, and the orientation that a camera noted is applied.
    size
        Height and width of the result, in pixels; one number for both, or a pair.
    channels
        3 for RGB; 1 for grey, of which colours make 0.299 red + 0.587 green + 0.114 blue.

    Returns
    -------
    np.ndarray
        (height, width, channels), uint8: the centre, a square if the result is one, resized with the bilinear filter.

    Raises
    ------
    ImageError
        The file is missing or no image, or its values have no known range.
    UserError
        The path is none.
    """
    path = as_path("image", path)
    if not path.is_file():
        raise ImageError(f"image {path} must be an existing file, as PNG or JPEG")
    try:
        with Image.open(path) as picture:
            rgb = _to_rgb(picture)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, KeyError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error).splitlines()[0]
        raise ImageError(f"image {path} must be readable as PNG or JPEG: {reason}") from None
    rows, cols = (size, size) if isinstance(size, int) else size
    width, height = min(rgb.width, max(1, rgb.height * cols // rows)), min(rgb.height, max(1, rgb.width * rows // cols))
    left, top = (rgb.width - width) // 2, (rgb.height - height) // 2
    part = rgb.crop((left, top, left + width, top + height)).convert("RGB" if channels == 3 else "L")
    resized = part.resize((cols, rows), Image.Resampling.BILINEAR)
    return np.array(resized, dtype=np.uint8).reshape(rows, cols, channels)


def default_images(
    count: int, size: int | tuple[int, int] = IMAGE_SIZE, channels: int = 3
) -> list[tuple[str, np.ndarray]]:
    """Return the first photographs of the list, the cat first.

    Parameters
    ----------
    count
        How many, 1 to ``len(PHOTOGRAPHS)``.
    size, channels
        As of `load_image`.

    Returns
    -------
    list[tuple[str, np.ndarray]]
        Pairs of the photograph's name and its (height, width, channels) uint8 pixels.

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
    return [(name, load_image(folder / file, size, channels)) for name, file in PHOTOGRAPHS[:count]]


def photographs(count: int, size: int | tuple[int, int] = IMAGE_SIZE, channels: int = 3) -> np.ndarray:
    """Return the first photographs, (count, height, width, channels) uint8; see `default_images`."""
    return np.stack([pixels for _, pixels in default_images(count, size, channels)])
