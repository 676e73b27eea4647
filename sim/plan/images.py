"""Which images a command takes: photographs, or the test images of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cdgate.errors import UserError
from sw_model.data.photographs import PHOTOGRAPHS, default_images
from sw_model.data.sources import DIGITS, load_data
from sw_model.integer.network import IntNetwork

__all__ = ["chosen_images"]


def chosen_images(
    source: str | Path | None, offset: int, count: int, network: IntNetwork
) -> tuple[list[str], np.ndarray, list[str | None]]:
    """Return names, pixels (count, rows, columns, channels) uint8, and labels of images for a network.

    Parameters
    ----------
    source
        Data as `sw_model.data.sources.load_data` takes it, whose test images are meant; None for the photographs,
        which have no labels and are made as large as the network wants its images.
    offset
        Number of the first.
    count
        How many.
    network
        For which they are.

    Raises
    ------
    UserError
        If there are not as many, or the network takes no colours and the data have some.
    """
    if source is None:
        chosen = _range(offset, count, len(PHOTOGRAPHS), "photographs")
        named = default_images(chosen.stop, network.image_size, network.image_channels)[chosen]
        return [name for name, _ in named], np.stack([pixels for _, pixels in named]), [None] * len(named)
    if network.image_channels != 3 and (str(source) == DIGITS or Path(source).is_dir()):
        raise UserError(f"data must be photographs with a network of grey images, not {source}, which are in colour")
    data = load_data(source)
    chosen = _range(offset, count, len(data.test), "test images")
    labels: list[str | None] = [data.classes[int(label)] for label in data.test_labels[chosen]]
    return [f"{data.name}, test {n}" for n in range(chosen.start, chosen.stop)], np.asarray(data.test[chosen]), labels


def _range(offset: int, count: int, there: int, kind: str) -> slice:
    if not 0 <= offset < there:
        raise UserError(f"first image must be 0 to {there - 1}, as there are {there} {kind}, not {offset}")
    if not 1 <= count <= there - offset:
        raise UserError(
            f"number of images must be 1 to {there - offset} from {offset} on, as there are {there} {kind}, not {count}"
        )
    return slice(offset, offset + count)
