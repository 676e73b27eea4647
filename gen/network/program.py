"""A compiled network: its instructions, the memory that it runs in, and what there is to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gen.layer.geometry import Geometry, pixel_words
from gen.layer.patches import patch_map
from gen.layer.places import MapPlace
from gen.layer.protocol import Network
from gen.network.instruction import Instruction, pack_instructions
from gen.network.memory_image import MemoryImage, Region
from gen.network.segments import Segment, map_words
from hw.params import LANES, HwParams

__all__ = ["NetworkProgram", "PassInfo"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkProgram:
    """A program, the memory it needs, and what there is to compare.

    Attributes
    ----------
    network
        What was compiled.
    params
        The engine.
    images
        Number of images.
    in_size
        Their rows and columns.
    mode
        Gate mode.
    instructions
        In program order.
    passes
        In the order in which they run.
    segments
        How the network was cut.
    image
        The memory.
    stored_maps
        Regions of maps that go to memory, by layer name.
    """

    network: Network
    params: HwParams
    images: int
    in_size: tuple[int, int]
    mode: str
    instructions: Sequence[Instruction]
    passes: Sequence[PassInfo]
    segments: Sequence[Segment]
    image: MemoryImage
    stored_maps: Mapping[str, Region]

    @cached_property
    def index(self) -> dict[int, int]:
        """Number of each instruction, by its identity."""
        return {id(instruction): n for n, instruction in enumerate(self.instructions)}

    def pass_index(self, number: int) -> int:
        """Return the number of the instruction that starts a pass."""
        return self.index[id(self.passes[number].instruction)]

    def packed(self) -> np.ndarray:
        """Return the instructions as they are in memory, (n, 64) uint8."""
        return pack_instructions(self.instructions, self.params)

    @property
    def store_window(self) -> tuple[int, int]:
        """First byte that stores may write, and the byte after the last."""
        written = [*self.stored_maps.values(), self.image["logits"]]
        return min(region.address for region in written), max(region.stop for region in written)

    @property
    def memory_bytes(self) -> int:
        """Bytes from address 0 to the end of the last region."""
        return self.image.size

    def pack_images(self, images: np.ndarray) -> bytes:
        """Lay out raw images, (N, H, W, channels) uint8, as the first layer reads them: the host's part of the work.

        Raises
        ------
        ValueError
            If they are not what the program was compiled for.
        """
        first = self.segments[0].layers[0]
        expected = (self.images, *self.in_size, first.layer.in_ch)
        if images.dtype != np.uint8 or images.shape != expected:
            raise ValueError(f"images must be uint8 of shape {expected}, not {images.dtype} of shape {images.shape}")
        codes = images.transpose(0, 3, 1, 2)
        if first.geometry.patches:
            codes = patch_map(first.layer, codes)
        padding = first.geometry.in_words * self.params.in_par - codes.shape[1]
        padded = np.pad(codes, ((0, 0), (0, padding), (0, 0), (0, 0))).transpose(0, 2, 3, 1).reshape(len(codes), -1)
        step = map_words(first, self.params)[0] * self.params.in_par
        return np.pad(padded, ((0, 0), (0, step - padded.shape[1]))).tobytes()

    def unpack_logits(self, content: bytes) -> np.ndarray:
        """Return the logits (N, classes), int64, from the contents of region ``logits``.

        Records leave the engine batch by batch, of each by slice, then image.
        """
        found, at = [], 0
        values = np.frombuffer(content, dtype="<i4").astype(np.int64)
        for info in self.passes:
            if info.ofmap is None:
                shape = (info.geometry.slices, info.images, LANES)
                size = info.geometry.slices * info.images * LANES
                found.append(values[at : at + size].reshape(shape).transpose(1, 0, 2).reshape(info.images, -1))
                at += size
        return np.concatenate(found)[:, : self.network.layers[-1].out_ch]

    def unpack_map(self, name: str, content: bytes) -> np.ndarray:
        """Return a stored map, (N, channels, rows, cols) int64 codes, from the contents of its region."""
        layer = self.network.layer(name)
        rows, cols = self.map_sizes[name]
        words = pixel_words(layer.out_ch, self.params)
        step = len(content) // self.images // self.params.in_par
        place = MapPlace(bank=0, base=0, image_step=step, images=self.images, rows=rows, cols=cols, words=words)
        codes = np.frombuffer(content, dtype=np.uint8).reshape(-1, self.params.in_par)
        return place.from_words(codes[place.addresses()], layer.out_ch, layer.signed)

    @cached_property
    def map_sizes(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of each ofmap, by layer."""
        return {
            shape.name: (shape.layer.out_size(shape.in_size[0]), shape.geometry.out_cols)
            for segment in self.segments
            for shape in segment.layers
            if not shape.classifier
        }


@dataclass(frozen=True, kw_only=True)
class PassInfo:
    """One pass of a program.

    Attributes
    ----------
    layer
        Name of the layer.
    first_image, images
        What it computes.
    rows
        First row of the ofmap, and the row after the last.
    geometry
        Sizes.
    mode
        A `hw.interface.layouts.GateMode`.
    ofmap
        Where the ofmap lies; None for logits.
    instruction
        The instruction that starts it.
    """

    layer: str
    first_image: int
    images: int
    rows: tuple[int, int]
    geometry: Geometry
    mode: Any
    ofmap: MapPlace | None
    instruction: Instruction
