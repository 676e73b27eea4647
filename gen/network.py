"""The network compiler: a network becomes a program for the whole engine, and an image of the memory it runs in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hw.instructions import INDEX_BITS
from hw.params import LANES, HwParams

from .dataflow import walk
from .geometry import CompileError
from .memory_image import MemoryImage, Region
from .passes import PassInfo
from .patches import patch_map
from .program import MapPlace
from .schedule import Instruction, order, pack_instructions, tie
from .segments import Segment, cut, shapes, stored_maps

__all__ = ["MODES", "NetworkProgram", "PassInfo", "compile_network"]

#: Modes in which a network can be compiled.
MODES = ("gated", "channel", "dense", "base")


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

    network: Any
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
        return {id(one): n for n, one in enumerate(self.instructions)}

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
        return min(one.address for one in written), max(one.stop for one in written)

    def pack_images(self, images: np.ndarray) -> bytes:
        """Lay out raw images, (N, H, W, 3) uint8, as the first layer reads them: the host's part of the work.

        Raises
        ------
        ValueError
            If they are not what the program was compiled for.
        """
        expected = (self.images, *self.in_size, 3)
        if images.dtype != np.uint8 or images.shape != expected:
            raise ValueError(f"images must be uint8 of shape {expected}, not {images.dtype} of shape {images.shape}")
        layer = self.network.layers[0]
        patches = patch_map(layer, images.transpose(0, 3, 1, 2))
        words = -(-patches.shape[1] // self.params.in_par)
        padded = np.pad(patches, ((0, 0), (0, words * self.params.in_par - patches.shape[1]), (0, 0), (0, 0)))
        return padded.transpose(0, 2, 3, 1).tobytes()

    def unpack_logits(self, content: bytes) -> np.ndarray:
        """Return the logits (N, classes), int64, from the contents of region ``logits``.

        Records leave the engine batch by batch, of each by slice, then image.
        """
        found, at = [], 0
        values = np.frombuffer(content, dtype="<i4").astype(np.int64)
        for one in self.passes:
            if one.ofmap is None:
                shape = (one.geometry.slices, one.images, LANES)
                size = one.geometry.slices * one.images * LANES
                found.append(values[at:at + size].reshape(shape).transpose(1, 0, 2).reshape(one.images, -1))
                at += size
        return np.concatenate(found)[:, :self.network.layers[-1].out_ch]

    def unpack_map(self, name: str, content: bytes) -> np.ndarray:
        """Return a stored map, (N, channels, rows, cols) int64 codes, from the contents of its region."""
        layer = self.network.layer(name)
        rows, cols = self.map_sizes[name]
        words = -(-(-(-layer.out_ch // LANES) * LANES) // self.params.in_par)
        place = MapPlace(bank=0, base=0, image_step=rows * cols * words, images=self.images, rows=rows, cols=cols,
                         words=words)
        codes = np.frombuffer(content, dtype=np.uint8)[:self.images * place.image_step * self.params.in_par]
        return place.from_words(codes.reshape(-1, self.params.in_par), layer.out_ch, layer.signed)

    @cached_property
    def map_sizes(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of each ofmap, by layer."""
        return {shape.name: (shape.layer.out_size(shape.in_size[0]), shape.geometry.out_cols)
                for segment in self.segments for shape in segment.layers if not shape.classifier}


def compile_network(network: Any, params: HwParams, images: int, in_size: tuple[int, int],
                    mode: str = "gated") -> NetworkProgram:
    """Compile a whole network for a number of images.

    Parameters
    ----------
    network
        An `sw_model.int_model.IntNetwork`.
    params
        The engine.
    images
        Images that one run computes.
    in_size
        Rows and columns of an image.
    mode
        "gated" (by slice or by channel, as each layer's slice_size says), "channel" (the same, but all gated layers
        must decide by channel), "dense" or "base".

    Raises
    ------
    CompileError
        If a layer breaks the shape rule or does not fit the engine, or the program becomes too long.
    """
    if mode not in MODES:
        raise CompileError(f"network: mode must be one of {', '.join(MODES)}, not {mode}")
    if images < 1:
        raise CompileError(f"network: images must be at least 1, not {images}")
    for layer in network.layers:
        if mode == "channel" and layer.gated and layer.slice_size != 1:
            raise CompileError(f"layer {layer.name}: slice_size must be 1 in mode channel, not {layer.slice_size}")
    segments = cut(shapes(network, params, in_size), params, images)
    passes = walk(segments, params, images, "gated" if mode == "channel" else mode)
    program = order(passes.instructions)
    tie(program)
    if len(program) >= 1 << INDEX_BITS:
        raise CompileError(f"network: program must have at most {(1 << INDEX_BITS) - 1} instructions, not "
                           f"{len(program)}: take fewer than {images} images")
    passes.image.add("program", pack_instructions(program, params).tobytes())
    return NetworkProgram(network=network, params=params, images=images, in_size=in_size, mode=mode,
                          instructions=program, passes=passes.passes, segments=segments, image=passes.image,
                          stored_maps={name: passes.image[f"map {name}"] for name in stored_maps(segments)})
