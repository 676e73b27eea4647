"""The network compiler: a network becomes a program for the whole engine, and an image of the memory it runs in.

``python -m gen.network`` compiles a checkpoint and tells about it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from hw.instructions import INDEX_BITS
from hw.params import LANES, HwParams

from .cli import Parser, UserError, run, write_if_changed
from .config import DEFAULT, config
from .dataflow import walk
from .geometry import CompileError
from .memory_image import MemoryImage, Region
from .passes import PassInfo
from .patches import patch_map
from .program import MapPlace
from .schedule import Instruction, order, pack_instructions, tie
from .segments import IMAGE, LayerShape, Segment, cut, shapes, stored_maps

__all__ = ["BUILD", "MODES", "NetworkProgram", "PassInfo", "compile_network", "main"]

#: Where `main` writes program, memory and facts.
BUILD = Path("build/network")

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

    @property
    def memory_bytes(self) -> int:
        """Bytes from address 0 to the end of the last region."""
        return self.image.size

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
        first = self.segments[0].layers[0]
        codes = images.transpose(0, 3, 1, 2)
        if first.geometry.patches:
            codes = patch_map(first.layer, codes)
        padding = first.geometry.in_words * self.params.in_par - codes.shape[1]
        return np.pad(codes, ((0, 0), (0, padding), (0, 0), (0, 0))).transpose(0, 2, 3, 1).tobytes()

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
        If a layer breaks the shape rule or does not fit the engine, if maps are not read as the engine can read them,
        or the program becomes too long.
    """
    if mode not in MODES:
        raise CompileError(f"network: mode must be one of {', '.join(MODES)}, not {mode}")
    if images < 1:
        raise CompileError(f"network: images must be at least 1, not {images}")
    for layer in network.layers:
        if mode == "channel" and layer.gated and layer.slice_size != 1:
            raise CompileError(f"layer {layer.name}: slice_size must be 1 in mode channel, not {layer.slice_size}")
    found = shapes(network, params, in_size)
    _check_maps(found)
    segments = cut(found, params, images)
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


def _check_maps(found: Sequence[LayerShape]) -> None:
    """Check who reads which map: what `cut` and `walk` take for granted."""
    read = {name for shape in found for name in (shape.layer.input, shape.layer.residual)}
    # The image is in memory once, laid out as patches or as it is.
    readers = [shape for shape in found if shape.layer.input == IMAGE]
    for shape in found:
        layer = shape.layer
        if shape.name not in read and shape is not found[-1]:
            raise CompileError(f"layer {shape.name}: its result must be read by a later layer, as it is not the last")
        if shape.geometry.patches and layer.input != IMAGE:
            raise CompileError(f"layer {shape.name}: padding must be of code 0 where a layer does not read the image")
        if layer.input == IMAGE and _image_layout(shape) != _image_layout(readers[0]):
            raise CompileError(f"layer {shape.name}: kernel, stride and padding must be those of layer "
                               f"{readers[0].name}, which reads the image, too")


def _image_layout(shape: LayerShape) -> tuple[Any, ...]:
    layer = shape.layer
    return (layer.kernel, layer.stride, layer.pad, layer.pad_code) if shape.geometry.patches else ()


def _parser() -> Parser:
    parser = Parser(prog="gen.network", description="Compile a network: print its layers with their tiles, bytes and "
                    "predicted cycles, and write its program, and its memory with the photographs that come with "
                    "scikit-image as input.")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH",
                        help="checkpoint of the quantised network (default: that of the repository)")
    parser.add_argument("--images", type=int, default=8, metavar="N", help="number of images (default: 8)")
    parser.add_argument("--size", type=int, default=32, metavar="N", help="rows and columns of an image (default: 32)")
    parser.add_argument("--mode", default="gated", metavar="MODE", help=f"{', '.join(MODES)} (default: gated)")
    parser.add_argument("--bandwidth", type=float, default=8, metavar="N",
                        help="bytes a cycle that the memory reads and writes together (default: 8)")
    parser.add_argument("--latency", type=int, default=40, metavar="N",
                        help="cycles from an address to the first data or response (default: 40)")
    parser.add_argument("--config", default=DEFAULT, metavar="NAME", help=f"configuration (default: {DEFAULT})")
    parser.add_argument("-o", "--output", type=Path, default=BUILD, metavar="DIR", help=f"folder (default: {BUILD})")
    return parser


def _body(args: Any) -> None:
    # Imported here, as they build on this module or take long.
    from sw_model.checkpoint import DEFAULT_CHECKPOINT, CheckpointError, load
    from sw_model.images import ImageError, default_images

    from .cycle_model import predict, slice_steps
    from .layer_rows import layer_rows, layer_table

    if not (0 < args.bandwidth < math.inf and args.latency > 0 and args.size > 0):
        raise UserError("bandwidth, latency and size must be more than 0, and finite")
    params = config(args.config)
    try:
        network = load(args.checkpoint or DEFAULT_CHECKPOINT)
        images = np.stack([pixels for _, pixels in default_images(args.images, args.size)])
    except (CheckpointError, ImageError) as error:
        raise UserError(str(error)) from None
    program = compile_network(network, params, args.images, (args.size, args.size), args.mode)
    decisions = None
    if args.mode in ("gated", "channel"):
        taps = network.run(images, "gated").taps
        decisions = {name: tap.decision.numpy() for name, tap in taps.items() if tap.decision is not None}
    steps = slice_steps(program, decisions)
    prediction = predict(program, steps, args.bandwidth, args.latency)
    rows = layer_rows(program, steps, prediction)
    memory = bytearray(program.image.size)
    for region in program.image:
        content = program.pack_images(images) if region.name == "input" else region.content
        if content is not None:
            assert len(content) == region.size, region.name # else everything behind it would move
            memory[region.address:region.stop] = content
    facts = {
        "schema": 1, "config": args.config, "mode": args.mode, "images": args.images, "in_size": program.in_size,
        "program": {"address": program.image["program"].address, "instructions": len(program.instructions)},
        "store_window": program.store_window, "memory_bytes": program.memory_bytes,
        "regions": [{"name": one.name, "address": one.address, "size": one.size} for one in program.image],
        "memory": {"bytes_per_cycle_limit": args.bandwidth, "latency_cycles": args.latency},
        "predicted_cycles": prediction.cycles, "layers": [dataclasses.asdict(row) for row in rows],
        "passes": [{"layer": one.layer, "instruction": program.pass_index(n), "first_image": one.first_image,
                    "images": one.images, "rows": one.rows} for n, one in enumerate(program.passes)],
    }
    # Last the file that tells about the others.
    write_if_changed(args.output / "program.bin", program.packed().tobytes())
    write_if_changed(args.output / "memory.bin", bytes(memory))
    write_if_changed(args.output / "network.json", json.dumps(facts, indent=1) + "\n")
    title = (f"{args.config}, {args.mode}, {args.images} image(s), memory of {args.bandwidth:g} bytes a cycle, latency "
             f"{args.latency} cycles: {len(program.instructions)} instructions, {prediction.cycles:,} cycles")
    Console(width=None if sys.stdout.isatty() else 180).print(layer_table(rows, title, program.images))
    print(*(args.output / name for name in ("program.bin", "memory.bin", "network.json")), sep="\n")


def main(argv: list[str] | None = None) -> int:
    """Compile what the command line says."""
    parser = _parser()
    args = parser.parse_args(argv)
    return run(parser.prog, lambda: _body(args))


if __name__ == "__main__":
    sys.exit(main())
