"""Tiles of rows, for maps that do not fit a bank."""

from __future__ import annotations

from cdgate.errors import CompileError
from gen.layer.protocol import Layer
from gen.layer.shape_rules import measure
from hw.params import HwParams

__all__ = ["fits_whole", "tile_rows"]


def fits_whole(layer: Layer, params: HwParams, in_rows: int, in_cols: int) -> bool:
    """Tell whether a layer can be computed in one piece: it has no more rows than the engine counts, maps fit a bank.

    Raises
    ------
    CompileError
        If the layer breaks the shape rule or a limit.
    """
    if layer.out_size(in_rows) > params.max_map:
        return False
    geometry = measure(layer, params, 1, in_rows, in_cols)
    return max(geometry.ifmap_words, geometry.ofmap_words) <= params.bank_words


def tile_rows(layer: Layer, params: HwParams, in_rows: int, in_cols: int) -> list[tuple[int, int]]:
    """Cut the rows of a layer's ofmap into tiles, as few and as equal as the banks allow.

    A tile's ofmap and the rows of the ifmap that it needs each fit a bank, and each starts in memory at a multiple of
    the bus width. There are three at least, where there are as many rows: of two the next layer's first tile, which
    needs a row of the second, would wait for the whole of this layer, and for its way to memory and back.

    Parameters
    ----------
    layer
        An `sw_model.integer.network.IntLayer`.
    params
        The engine.
    in_rows, in_cols
        Size of the ifmap.

    Returns
    -------
    list
        First row and row after the last of each tile.

    Raises
    ------
    CompileError
        If not even the least tile fits.
    """
    rows = layer.out_size(in_rows)
    for height in range(min(rows, params.max_map), 0, -1):
        count = -(-rows // height)
        if count > 1 and -(-rows // count) != height:
            continue  # more than the tiles need
        if count == 2 and height > 1:
            continue
        tiles = [(start, min(start + height, rows)) for start in range(0, rows, height)]
        if all(_fits(layer, params, in_rows, in_cols, tile) for tile in tiles):
            return tiles
    raise CompileError(
        f"layer {layer.name}: a row of the ofmap and the rows of the ifmap that it needs must each fit "
        f"a bank of {params.bank_words} words and start at a multiple of {params.axi_bytes} bytes"
    )


def _fits(layer: Layer, params: HwParams, in_rows: int, in_cols: int, tile: tuple[int, int]) -> bool:
    geometry = measure(layer, params, 1, in_rows, in_cols, tile)
    starts = (
        geometry.in_first_row * geometry.in_cols * geometry.in_words,
        geometry.out_first_row * geometry.out_cols * geometry.out_words,
    )
    return max(geometry.ifmap_words, geometry.ofmap_words) <= params.bank_words and not any(
        start * params.in_par % params.axi_bytes for start in starts
    )
