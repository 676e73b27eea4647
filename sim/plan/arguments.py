"""What callers from Python may hand over: each wrong argument is refused in one line, before anything is generated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cdgate.errors import UserError
from cdgate.files import as_path
from sw_model.integer.network import IntNetwork

__all__ = ["as_folder", "as_images", "as_layers", "as_masks", "as_network", "as_number", "as_texts"]


def as_network(value: Any) -> IntNetwork:
    """Return a network; refuses everything else, a path, too."""
    if not isinstance(value, IntNetwork):
        raise UserError(f"network must be what cdgate.load returns, not {_told(value)}")
    return value


def as_images(value: Any, channels: int = 3) -> np.ndarray:
    """Return images, (N, rows, columns, channels) uint8, at least one of at least one pixel."""
    found = _array("images", value)
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[3] != channels or not found.size:
        raise UserError(
            f"images must be uint8 of shape (N, rows, columns, {channels}), not {found.dtype} of {found.shape}"
        )
    return found


def as_layers(names: Sequence[str], network: IntNetwork) -> list[str]:
    """Return the names of layers, each once and of this network."""
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise UserError(f"layers must be a list of names, at least one, not {_told(names)}")
    for name in names:
        if name not in network.names:
            raise UserError(f"layer must be one of {', '.join(network.names)}, not {name!r}")
    if len(set(names)) != len(names):
        raise UserError(f"layers must be named once each, not {', '.join(names)}")
    return list(names)


def as_number(what: str, value: Any, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise UserError(f"{what} must be a whole number from {low} to {high}, not {_told(value)}")
    return int(value)


def as_texts(what: str, values: Any, count: int, some: bool = False) -> list[Any]:
    """Return a text for each of `count` images; None may be among them if only `some` have one."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise UserError(f"{what} must be a list, not {_told(values)}")
    if len(values) != count:
        raise UserError(f"{what} must be those of {count} images, not of {len(values)}")
    for value in values:
        if not isinstance(value, str) and not (some and value is None):
            raise UserError(f"{what} must be texts, not {_told(value)}")
    return list(values)


def as_masks(value: Any) -> torch.Tensor | None:
    """Return masks as a bool tensor; None stays None."""
    if value is None:
        return None
    found = _array("masks", value)
    if found.dtype != bool:
        raise UserError(f"masks must be a bool array, not {found.dtype} of {found.shape}")
    return torch.from_numpy(np.ascontiguousarray(found))


def as_folder(value: Any) -> Path:
    """Return a folder, made if it is missing."""
    folder = as_path("folder", value)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{value} must be a folder that can be written: {error.strerror}") from None
    return folder


def _array(what: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # of unequal rows; a tensor that is not on the CPU
        raise UserError(f"{what} must be an array, not {_told(value)}: {' '.join(str(error).split())}") from None


def _told(value: Any) -> str:
    return f"{ascii(value)[:80]} ({type(value).__name__})"
