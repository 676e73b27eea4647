"""Measures a layer, and checks it against what the engine can compute: all rules of a layer's shape, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cdgate.errors import CompileError
from gen.layer.geometry import Geometry, pixel_words, whole
from gen.layer.protocol import Layer
from hw.interface.axi import MAX_BURST
from hw.params import LANES, MAX_GROUPS, HwParams

__all__ = ["MAX_STRIDE", "MAX_TAPS", "check_ring", "measure", "uses_patches"]

#: Rows and columns of taps that a job counts.
MAX_TAPS = 8

#: Greatest step of a convolution that is not laid out as patches; the registers would hold more.
MAX_STRIDE = 8


def _requirer(name: str) -> Callable[[bool, str], None]:
    def require(condition: bool, text: str) -> None:
        if not condition:
            raise CompileError(f"layer {name}: {text}")

    return require


def uses_patches(layer: Layer) -> bool:
    """Tell whether a layer becomes a 1x1 convolution over patches: the one that reads the image.

    Its 1 or 3 channels would fill as many of ``in_par`` multipliers; and as the engine skips padded taps, codes of
    padding other than 0 have to be in the map. Any kernel, padding and stride is allowed there.
    """
    return layer.kind == "conv" and layer.kernel > 1 and (layer.input == "image" or any(layer.pad_code))


def measure(
    layer: Layer, params: HwParams, images: int, in_rows: int, in_cols: int, rows: tuple[int, int] | None = None
) -> Geometry:
    """Measure a layer and check it against the engine's limits (those of the banks excepted, see `gen.layer.compiler`).

    Parameters
    ----------
    layer
        An `sw_model.integer.network.IntLayer`, or anything with its attributes.
    params
        The engine.
    images
        Images in the pass.
    in_rows, in_cols
        Size of the ifmap, in pixels.
    rows
        First row of the ofmap to compute, and the row after the last; None for all.

    Raises
    ------
    CompileError
        If the layer breaks the shape rule or a limit.
    """
    require = _requirer(layer.name)
    require(1 <= images <= params.max_images, f"images in a pass must be 1 to {params.max_images}, not {images}")
    if layer.kind == "fc":
        return _measure_classifier(layer, params, images, in_rows, in_cols, rows)
    if layer.kind == "maxpool":
        return _measure_pool(layer, params, images, in_rows, in_cols, rows)
    patches = uses_patches(layer)
    require(params.gating or not layer.gated, "it must have no gate, as the configuration has no gating")
    require(not (patches and layer.gated), "a gated layer must be padded with code 0 and must not read the image")
    if not patches:
        _check_kernel(layer, require)
    kernel, pad, stride = (1, 0, 1) if patches else (layer.kernel, layer.pad, layer.stride)
    if patches:  # one pixel of patches per pixel of the ofmap
        in_rows, in_cols = layer.out_size(in_rows), layer.out_size(in_cols)
    in_ch = layer.in_ch * layer.kernel**2 if patches else layer.in_ch
    groups = layer.groups if layer.gated else 1
    _check_groups(layer, params, groups, require)
    chunks = whole(in_ch, params.in_par)
    slices = whole(layer.out_ch, LANES)
    geometry = Geometry(
        patches=patches,
        images=images,
        **_measure_window(kernel, pad, stride, params, in_rows, in_cols, rows, require),
        chunks=chunks,
        group_chunks=chunks // groups,
        slices=slices,
        group_slices=slices // groups,
        in_words=chunks if patches else pixel_words(in_ch, params),
        out_words=pixel_words(layer.out_ch, params),
        hold=False,
    )
    _check_limits(layer, geometry, params, require)
    return geometry


def _check_kernel(layer: Layer, require: Callable[[bool, str], None]) -> None:
    """Check the kernel of a convolution whose taps the engine walks over."""
    kernel = f"{layer.kernel}x{layer.kernel}"
    require(layer.kernel <= MAX_TAPS, f"kernel must be at most {MAX_TAPS}x{MAX_TAPS}, not {kernel}")
    require(
        layer.pad == 0 or (layer.pad == 1 and layer.kernel > 1),
        "padding must be 0, or 1 with a kernel of at least 2x2, where a layer does not read the image, "
        f"not {layer.pad} with {kernel}",
    )
    require(layer.stride <= MAX_STRIDE, f"stride must be 1 to {MAX_STRIDE}, not {layer.stride}")


def _measure_window(
    kernel: int,
    pad: int,
    stride: int,
    params: HwParams,
    in_rows: int,
    in_cols: int,
    rows: tuple[int, int] | None,
    require: Callable[[bool, str], None],
) -> dict[str, Any]:
    """Return what of a `Geometry` depends on how a window goes over the map."""
    require(
        min(in_rows, in_cols) + 2 * pad >= kernel,
        f"ifmap of {in_rows}x{in_cols} with padding {pad} must be at least as large as the kernel, {kernel}x{kernel}",
    )
    all_rows, out_cols = ((size + 2 * pad - kernel) // stride + 1 for size in (in_rows, in_cols))
    first, stop = (0, all_rows) if rows is None else rows
    require(0 <= first < stop <= all_rows, f"rows must be a range within 0 to {all_rows}, not {first} to {stop}")
    require(out_cols <= params.max_map, f"ofmap must have at most {params.max_map} columns, not {out_cols}")
    require(stop - first <= params.max_map, f"a pass must have at most {params.max_map} rows, not {stop - first}")
    top, bottom = first * stride - pad, (stop - 1) * stride - pad + kernel
    in_first = 0 if rows is None else max(top, 0)
    in_stop = in_rows if rows is None else min(bottom, in_rows)
    return {
        "in_first_row": in_first,
        "in_rows": in_stop - in_first,
        "in_cols": in_cols,
        "out_first_row": first,
        "out_rows": stop - first,
        "out_cols": out_cols,
        "tap_rows": kernel,
        "tap_cols": kernel,
        "stride": stride,
        "pad_top": top < 0,
        "pad_bottom": bottom > in_rows,
        "pad_left": pad > 0,
        "pad_right": (out_cols - 1) * stride - pad + kernel > in_cols,
    }


def _measure_pool(
    layer: Layer, params: HwParams, images: int, in_rows: int, in_cols: int, rows: tuple[int, int] | None
) -> Geometry:
    require = _requirer(layer.name)
    require(
        layer.kernel in (2, 3) and layer.pad in (0, 1),
        "window of a max-pooling must be 2x2 or 3x3 with padding 0 or 1, "
        f"not {layer.kernel}x{layer.kernel} with padding {layer.pad}",
    )
    require(layer.stride in (1, 2), f"stride must be 1 or 2, not {layer.stride}")
    unit = max(LANES, params.in_par)
    words, slices = pixel_words(layer.in_ch, params), whole(whole(layer.in_ch, LANES) * LANES, unit)
    geometry = Geometry(
        patches=False,
        images=images,
        **_measure_window(layer.kernel, layer.pad, layer.stride, params, in_rows, in_cols, rows, require),
        chunks=words,
        group_chunks=words,
        slices=slices,
        group_slices=slices,
        in_words=words,
        out_words=words,
        hold=False,
        pool=True,
    )
    most = unit * params.max_slices
    require(slices <= params.max_slices, f"channels must be at most {most}, not {layer.in_ch}")
    return geometry


def _measure_classifier(
    layer: Layer, params: HwParams, images: int, in_rows: int, in_cols: int, rows: tuple[int, int] | None
) -> Geometry:
    require = _requirer(layer.name)
    require(rows is None, "a classifier must be computed whole, not in row tiles")
    require(max(in_rows, in_cols) <= 8, f"pooling must be over at most 8x8 pixels, not {in_rows}x{in_cols}")
    chunks, slices = whole(layer.in_ch, params.in_par), whole(layer.out_ch, LANES)
    geometry = Geometry(
        patches=False,
        images=images,
        in_first_row=0,
        in_rows=in_rows,
        in_cols=in_cols,
        out_first_row=0,
        out_rows=1,
        out_cols=1,
        tap_rows=in_rows,
        tap_cols=in_cols,
        stride=1,
        pad_top=False,
        pad_bottom=False,
        pad_left=False,
        pad_right=False,
        chunks=chunks,
        group_chunks=chunks,
        slices=slices,
        group_slices=slices,
        in_words=pixel_words(layer.in_ch, params),
        out_words=0,
        hold=True,
    )
    _check_limits(layer, geometry, params, require)
    return geometry


def _check_groups(layer: Layer, params: HwParams, groups: int, require: Callable[[bool, str], None]) -> None:
    if groups == 1:
        return
    require(groups <= MAX_GROUPS, f"groups must be at most {MAX_GROUPS}, not {groups}")
    most = LANES * params.max_slices
    require(layer.in_ch <= most, f"input channels of a gated layer must be at most {most}, not {layer.in_ch}")
    for what, channels, unit in (("output", layer.out_ch, LANES), ("input", layer.in_ch, params.in_par)):
        require(
            channels % groups == 0 and channels // groups % unit == 0,
            f"{what} channels per group must be a multiple of {unit}, not {channels} / {groups}",
        )


def check_ring(layer: Layer, geometry: Geometry, params: HwParams) -> None:
    """Check that a layer's weights can be streamed into the ring from memory.

    The burst that brings the last entries of a slice brings the first ones of the next, too, while the slice is still
    there: the ring gives back a slice's entries when all of them have been used.

    Raises
    ------
    CompileError
        If a slice and the rest of a burst do not fit the ring.
    """
    burst = MAX_BURST * params.axi_bits // params.entry_bits
    room = params.ring_entries - (max(burst, 1) - 1 if geometry.slices > 1 else 0)
    entries = geometry.base_entries + geometry.cond_entries
    require = _requirer(layer.name)
    require(
        entries <= room,
        f"weights of a slice must take at most {room} entries of the ring, beside the rest of a burst, not {entries}",
    )


def _check_limits(layer: Layer, geometry: Geometry, params: HwParams, require: Callable[[bool, str], None]) -> None:
    entries = geometry.base_entries + geometry.cond_entries
    require(
        entries <= params.ring_entries,
        f"weights of a slice must fit the ring of {params.ring_entries} entries, not take {entries}",
    )
    require(
        geometry.slices <= params.max_slices,
        f"{'classes' if geometry.hold else 'output channels'} must be at most {LANES * params.max_slices}, "
        f"not {layer.out_ch}",
    )
