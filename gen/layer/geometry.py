"""The numbers of one layer and pass: chunks, slices, taps, entries, words."""

from __future__ import annotations

from dataclasses import dataclass

from hw.params import LANES, HwParams

__all__ = ["Geometry", "pixel_words", "whole"]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes of one layer in one pass, after the compiler's rearrangements (patches, row tile, padding channels).

    Attributes
    ----------
    patches
        Whether the ifmap is laid out as patches: each pixel holds all its taps as channels, so the kernel is 1x1.
    images
        Images in the pass.
    in_first_row, in_rows, in_cols
        Rows of the layer's ifmap from ``in_first_row`` on and columns that lie in the bank.
    out_first_row, out_rows, out_cols
        Rows of the ofmap from ``out_first_row`` on and columns that are computed.
    tap_rows, tap_cols, stride
        Kernel and step as the engine sees them; the window in a max-pooling, the map itself in a classifier.
    pad_top, pad_bottom, pad_left, pad_right
        Whether the first or last row or column lacks its outermost taps.
    chunks, group_chunks
        Chunks of a pixel of the ifmap, and those of one input group: the base path's.
    slices, group_slices
        Slices of the ofmap, padding included, and those of one output group. Of a max-pooling slices are of whole
        words: of ``in_par`` channels, if that is more than 8.
    in_words, out_words
        Words of a pixel of the ifmap and of the ofmap. Maps have whole slices of 8 channels, so a pixel of a
        narrow ifmap may end with a word that is no chunk.
    hold
        Whether every tap uses the same weights (classifier).
    pool
        Whether the greatest code of the taps is taken (max-pooling), and no weights are used.
    """

    patches: bool
    images: int
    in_first_row: int
    in_rows: int
    in_cols: int
    out_first_row: int
    out_rows: int
    out_cols: int
    tap_rows: int
    tap_cols: int
    stride: int
    pad_top: bool
    pad_bottom: bool
    pad_left: bool
    pad_right: bool
    chunks: int
    group_chunks: int
    slices: int
    group_slices: int
    in_words: int
    out_words: int
    hold: bool
    pool: bool = False

    @property
    def weight_taps(self) -> int:
        """Taps that have weights of their own."""
        if self.pool:
            return 0
        return 1 if self.hold else self.tap_rows * self.tap_cols

    @property
    def base_entries(self) -> int:
        """Ring entries of a slice's base path."""
        return self.weight_taps * self.group_chunks

    @property
    def cond_entries(self) -> int:
        """Ring entries of a slice's conditional path."""
        return self.weight_taps * (self.chunks - self.group_chunks)

    def pixel_granules(self, params: HwParams) -> int:
        """Return the granules of ``rq_lanes`` codes that are written of a pixel of the ofmap."""
        return self.out_words * params.word_subs if self.pool else self.slices * params.rq_phases

    @property
    def ifmap_words(self) -> int:
        """Bank words of one image of the ifmap."""
        return self.in_rows * self.in_cols * self.in_words

    @property
    def ofmap_words(self) -> int:
        """Bank words of one image of the ofmap, and of the residual."""
        return self.out_rows * self.out_cols * self.out_words


def whole(value: int, unit: int) -> int:
    """Return how many units it takes to hold so many."""
    return -(-value // unit)


def pixel_words(channels: int, params: HwParams) -> int:
    """Return the words of a pixel of a map that the engine wrote: all channels of its slices."""
    return whole(whole(channels, LANES) * LANES, params.in_par)
