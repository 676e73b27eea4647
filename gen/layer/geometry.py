"""The numbers of one layer and pass: chunks, slices, taps, entries, words; and whether they fit the engine.

All counts of the compiler, and all refusals of a layer that the engine cannot compute, are in this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cdgate.errors import CompileError
from gen.layer.protocol import Layer
from hw.interface.axi import MAX_BURST
from hw.params import LANES, HwParams

__all__ = ["Geometry", "check_ring", "measure", "pixel_words"]


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


def _ceil(value: int, unit: int) -> int:
    return -(-value // unit)


def pixel_words(channels: int, params: HwParams) -> int:
    """Return the words of a pixel of a map that the engine wrote: all channels of its slices."""
    return _ceil(_ceil(channels, LANES) * LANES, params.in_par)


def _requirer(name: str) -> Callable[[bool, str], None]:
    def require(condition: bool, text: str) -> None:
        if not condition:
            raise CompileError(f"layer {name}: {text}")

    return require


def uses_patches(layer: Layer) -> bool:
    """Tell whether a layer becomes a 1x1 convolution over patches: the one that reads the image.

    Its 3 channels would fill 3 of ``in_par`` multipliers; and as the engine skips padded taps, codes of padding other
    than 0 have to be in the map.
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
    require(
        (layer.kernel, layer.pad) in ((3, 1), (1, 0)),
        "kernel must be 3x3 with padding 1 or 1x1 with padding 0, "
        f"not {layer.kernel}x{layer.kernel} with padding {layer.pad}",
    )
    require(layer.stride in (1, 2), f"stride must be 1 or 2, not {layer.stride}")
    patches = uses_patches(layer)
    require(not (patches and layer.gated), "a gated layer must be padded with code 0 and must not read the image")
    kernel, pad, stride = (1, 0, 1) if patches else (layer.kernel, layer.pad, layer.stride)
    if patches:  # one pixel of patches per pixel of the ofmap
        in_rows, in_cols = layer.out_size(in_rows), layer.out_size(in_cols)
    in_ch = layer.in_ch * layer.kernel**2 if patches else layer.in_ch
    groups = layer.groups if layer.gated else 1
    _check_groups(layer, params, groups, require)
    chunks = _ceil(in_ch, params.in_par)
    slices = _ceil(layer.out_ch, LANES)
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
    _check_limits(geometry, params, require)
    return geometry


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
    all_rows, out_cols = ((size + 2 * pad - kernel) // stride + 1 for size in (in_rows, in_cols))
    first, stop = (0, all_rows) if rows is None else rows
    require(0 <= first < stop <= all_rows, f"rows must be a range within 0 to {all_rows}, not {first} to {stop}")
    require(
        max(stop - first, out_cols) <= params.max_map,
        f"ofmap must have at most {params.max_map} rows and columns, not {stop - first} x {out_cols}",
    )
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
    words, slices = pixel_words(layer.in_ch, params), _ceil(_ceil(layer.in_ch, LANES) * LANES, unit)
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
    chunks, slices = _ceil(layer.in_ch, params.in_par), _ceil(layer.out_ch, LANES)
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
    _check_limits(geometry, params, require)
    return geometry


def _check_groups(layer: Layer, params: HwParams, groups: int, require: Callable[[bool, str], None]) -> None:
    if groups == 1:
        return
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


def _check_limits(geometry: Geometry, params: HwParams, require: Callable[[bool, str], None]) -> None:
    entries = geometry.base_entries + geometry.cond_entries
    require(
        entries <= params.ring_entries,
        f"weights of a slice must fit the ring of {params.ring_entries} entries, not take {entries}",
    )
    require(
        geometry.slices <= params.max_slices,
        f"output channels must be at most {LANES * params.max_slices}, not {LANES * geometry.slices}",
    )
