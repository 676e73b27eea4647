"""The data sets by name or folder, and batches that are functions of (seed, step)."""

from pathlib import Path

from cdgate.errors import DataError
from cdgate.files import as_path
from sw_model.data.cifar import ARCHIVES, CACHE, JPEG_ARCHIVE, load_archive, load_jpegs
from sw_model.data.dataset import DataSet, Images
from sw_model.data.digits import load_digits
from sw_model.data.image_folder import load_image_folder

__all__ = ["DIGITS", "DataError", "DataSet", "Images", "load_data"]

#: Name of the data set that needs no folder.
DIGITS = "digits"


def load_data(source: str | Path, cache: Path = CACHE) -> DataSet:
    """Load the data set that a name or a folder stands for.

    Parameters
    ----------
    source
        "digits"; or a folder with CIFAR-10 or CIFAR-100 (the published archive, packed or unpacked, or the
        unpacked folder itself), with the JPEG copy of CIFAR-10, or with `train/<class>/` and `val/<class>/`.
    cache
        Where decoded images are kept.

    Raises
    ------
    DataError
        Nothing usable is there, or more than one data set is.
    UserError
        The source is no path.
    """
    if str(source) == DIGITS:
        return load_digits()
    folder = as_path("data", source)
    found = [(archive, place) for archive in ARCHIVES if (place := archive.find(folder)) is not None]
    if len(found) > 1:
        places = " or ".join(str(place) for _, place in found)
        raise DataError(f"data must be one data set, but {folder} holds {len(found)}; name {places}")
    if found:
        return load_archive(*found[0])
    if (folder / JPEG_ARCHIVE).is_file():
        return load_jpegs(folder, cache)
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return load_image_folder(folder)
    sources = "; ".join(f"for {archive.name} {archive.source}" for archive in ARCHIVES)
    raise DataError(
        f"data must be {DIGITS!r} or a folder with CIFAR-10, CIFAR-100, {JPEG_ARCHIVE}, or train and val folders of "
        f"images; nothing of that is in {folder}; {sources}"
    )
