"""Where feature maps are wanted, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["MapPlace", "Placement"]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a feature map is wanted.

    Attributes
    ----------
    bank
        Activation bank, 0 to 3.
    base
        Word address of the first image.
    image_step
        Words from an image to the next; None puts them back to back.
    """

    bank: int
    base: int = 0
    image_step: int | None = None


@dataclass(frozen=True, kw_only=True)
class MapPlace:
    """Where a feature map lies: pixel (image, row, col) at ``base + image * image_step + (row * cols + col) * words``.

    Attributes
    ----------
    bank, base, image_step
        As in `Placement`, all known.
    images, rows, cols, words
        Sizes; ``words`` are the bank words of a pixel.
    """

    bank: int
    base: int
    image_step: int
    images: int
    rows: int
    cols: int
    words: int

    @property
    def stop(self) -> int:
        """Word address after the last one."""
        return self.base + (self.images - 1) * self.image_step + self.rows * self.cols * self.words

    def addresses(self) -> np.ndarray:
        """Return the word addresses, (images, rows, cols, words) int64."""
        within = np.arange(self.rows * self.cols * self.words).reshape(1, self.rows, self.cols, self.words)
        return self.base + self.image_step * np.arange(self.images).reshape(-1, 1, 1, 1) + within

    def to_words(self, maps: np.ndarray, in_par: int) -> np.ndarray:
        """Cut (images, C, rows, cols) codes into words, (images, rows, cols, words, in_par) uint8, padded with 0."""
        padding = self.words * in_par - maps.shape[1]
        codes = np.pad(maps.astype(np.int64), ((0, 0), (0, padding), (0, 0), (0, 0))).astype(np.uint8)
        return codes.transpose(0, 2, 3, 1).reshape(self.images, self.rows, self.cols, self.words, in_par)

    def from_words(self, words: np.ndarray, channels: int, signed: bool) -> np.ndarray:
        """Join words, in the order of `addresses`, into (images, channels, rows, cols) int64 codes."""
        codes = np.ascontiguousarray(words, dtype=np.uint8).reshape(self.images, self.rows, self.cols, -1)
        codes = codes[..., :channels].transpose(0, 3, 1, 2)
        return codes.view(np.int8).astype(np.int64) if signed else codes.astype(np.int64)
