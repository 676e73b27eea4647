"""One pass of one layer, ready for the engine: what is loaded, what is streamed, where the ofmap lies then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hw.layouts import BankAddress, BankWrite, LayerRegisters, MaskRecord, ParameterWord
from hw.params import HwParams

from .geometry import Geometry
from .packing import pack, packed_bytes

__all__ = ["MapPlace", "Placement", "Program"]


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Everything that a pass needs.

    Attributes
    ----------
    layer
        Name of the layer.
    params
        The engine it was compiled for.
    geometry
        Sizes of the pass.
    registers
        Values by the field names of `hw.layouts.LayerRegisters`.
    load_bank, load_addr, load_words
        Bank words: (n,), (n,) int64 and (n, in_par) uint8.
    parameters
        `hw.layouts.ParameterWord` values, as `gen.packing.pack` takes them.
    parameter_count
        Their number.
    weights
        Ring entries in order of use, (n, 8 * in_par) uint8: byte ``lane * in_par + k``.
    masks
        `hw.layouts.MaskRecord` values that force the decisions, in job order; None where the engine decides.
    ofmap
        Where the ofmap lies after the pass; None if logits leave by their stream.
    channels
        Output channels or classes, without padding.
    signed
        Whether the ofmap's codes are int8.
    """

    layer: str
    params: HwParams
    geometry: Geometry
    registers: Mapping[str, int]
    load_bank: np.ndarray
    load_addr: np.ndarray
    load_words: np.ndarray
    parameters: Mapping[str, object]
    parameter_count: int
    masks: Mapping[str, np.ndarray] | None
    weights: np.ndarray
    ofmap: MapPlace | None
    channels: int
    signed: bool

    def layer_value(self) -> int:
        """Return the registers as one number: the port ``layer``."""
        packed = pack(LayerRegisters(self.params), self.registers, 1)
        return int.from_bytes(packed[0].tobytes(), "little")

    def packed_loads(self) -> np.ndarray:
        """Return the payloads of ``load_i``, packed."""
        fields = {"data": self.load_words, "addr": self.load_addr, "bank": self.load_bank}
        return pack(BankWrite(self.params), fields, len(self.load_addr))

    def packed_parameters(self) -> np.ndarray:
        """Return the payloads of ``param_i``, packed."""
        return pack(ParameterWord(self.params), self.parameters, self.parameter_count)

    def packed_masks(self) -> np.ndarray:
        """Return the payloads of ``mask_i``, packed; none where the engine decides."""
        if self.masks is None:
            return np.zeros((0, packed_bytes(MaskRecord(self.params))), dtype=np.uint8)
        return pack(MaskRecord(self.params), self.masks, len(self.masks["fire"]))

    def packed_reads(self) -> np.ndarray:
        """Return the payloads of ``read_i`` that read the ofmap in the order of `MapPlace.addresses`, packed."""
        addresses = np.zeros(0, dtype=np.int64) if self.ofmap is None else self.ofmap.addresses().reshape(-1)
        bank = 0 if self.ofmap is None else self.ofmap.bank
        return pack(BankAddress(self.params), {"addr": addresses, "bank": bank}, len(addresses))
