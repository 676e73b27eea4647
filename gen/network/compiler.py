"""The network compiler: a network becomes a program for the whole engine, and an image of the memory it runs in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cdgate.errors import CompileError
from cdgate.modes import NETWORK_MODES, GateMode
from gen.layer.protocol import Network
from gen.network.dataflow import walk
from gen.network.instruction import pack_instructions
from gen.network.program import NetworkProgram
from gen.network.schedule import order, tie
from gen.network.segments import IMAGE, LayerShape, cut, shapes, stored_maps
from hw.interface.instructions import INDEX_BITS
from hw.params import HwParams

__all__ = ["compile_network"]


def compile_network(
    network: Network, params: HwParams, images: int, in_size: tuple[int, int], mode: str = GateMode.GATED
) -> NetworkProgram:
    """Compile a whole network for a number of images.

    Parameters
    ----------
    network
        An `sw_model.integer.network.IntNetwork`.
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
    if mode not in NETWORK_MODES:
        raise CompileError(f"network: mode must be one of {', '.join(NETWORK_MODES)}, not {mode}")
    if images < 1:
        raise CompileError(f"network: images must be at least 1, not {images}")
    for layer in network.layers:
        if mode == GateMode.CHANNEL and layer.gated and layer.slice_size != 1:
            raise CompileError(f"layer {layer.name}: slice_size must be 1 in mode channel, not {layer.slice_size}")
    found = shapes(network, params, in_size)
    _check_maps(found)
    segments = cut(found, params, images)
    passes = walk(segments, params, images, GateMode.GATED if mode == GateMode.CHANNEL else mode)
    program = order(passes.instructions)
    tie(program)
    if len(program) >= 1 << INDEX_BITS:
        raise CompileError(
            f"network: program must have at most {(1 << INDEX_BITS) - 1} instructions, not "
            f"{len(program)}: take fewer than {images} images"
        )
    passes.image.add("program", pack_instructions(program, params).tobytes())
    return NetworkProgram(
        network=network,
        params=params,
        images=images,
        in_size=in_size,
        mode=mode,
        instructions=program,
        passes=passes.passes,
        segments=segments,
        image=passes.image,
        stored_maps={name: passes.image[f"map {name}"] for name in stored_maps(segments)},
    )


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
            raise CompileError(
                f"layer {shape.name}: kernel, stride and padding must be those of layer "
                f"{readers[0].name}, which reads the image, too"
            )


def _image_layout(shape: LayerShape) -> tuple[Any, ...]:
    layer = shape.layer
    return (layer.kernel, layer.stride, layer.pad, layer.pad_code) if shape.geometry.patches else ()
