"""The layer compiler: one layer of the integer golden model and its feature maps become a program for the engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from cdgate import modes
from cdgate.errors import CompileError
from gen.layer.geometry import Geometry
from gen.layer.pass_program import Program
from gen.layer.patches import patch_map, patch_weight
from gen.layer.places import MapPlace, Placement
from gen.layer.protocol import Layer
from gen.layer.registers import base_chunk, layer_registers
from gen.layer.shape_rules import measure
from hw.interface.layouts import GateMode
from hw.params import LANES, HwParams

__all__ = [
    "MODES",
    "CompileError",
    "Placement",
    "Program",
    "channel_parameters",
    "compile_layer",
    "gate_mode",
    "place_map",
    "weight_entries",
]

#: Modes in which a layer can be compiled, and what they mean to the engine. Layers without a gate are always `BASE`.
MODES: dict[str, Any] = {mode: getattr(GateMode, mode.name) for mode in modes.GOLDEN_MODES}

#: Where the maps lie if nothing else is wanted.
IFMAP, RESIDUAL, OFMAP = Placement(bank=0), Placement(bank=1), Placement(bank=2)


def compile_layer(
    layer: Layer,
    ifmap: Any,
    residual: Any,
    params: HwParams,
    mode: str = modes.GateMode.GATED,
    *,
    ifmap_at: Placement = IFMAP,
    residual_at: Placement = RESIDUAL,
    ofmap_at: Placement = OFMAP,
    rows: tuple[int, int] | None = None,
    masks: Any = None,
) -> Program:
    """Compile one pass of one layer.

    Parameters
    ----------
    layer
        An `sw_model.integer.network.IntLayer`.
    ifmap
        (N, I, H, W) codes 0 to 255, of a max-pooling maybe -128 to 127: tensor or array of integers. All N images are
        computed in one pass.
    residual
        (N, O, H', W') codes, or None if the layer has no residual. Always of the whole ofmap, even with ``rows``.
    params
        The engine.
    mode
        "gated" (by slice or by channel, as the layer's slice_size says), "dense", "base" or "forced".
    ifmap_at, residual_at, ofmap_at
        Where the maps are wanted. The residual may lie exactly on the ofmap.
    masks
        In mode "forced" the decisions: (N, O / slice_size, H', W') bool, always of the whole ofmap.
    rows
        First row of the ofmap to compute and the row after the last: a row tile, for which only those rows of the ifmap
        and residual are loaded that it needs. None computes all.

    Raises
    ------
    CompileError
        If the layer breaks the shape rule, or does not fit the engine.
    """
    if mode not in MODES:
        raise CompileError(f"layer {layer.name}: mode must be one of {', '.join(MODES)}, not {mode}")
    if (layer.residual is None) != (residual is None):
        raise CompileError(f"layer {layer.name}: residual must be given exactly where the layer has one")
    if (
        (mode != modes.GateMode.FORCED and masks is not None)
        or mode == modes.GateMode.FORCED
        and layer.gated
        and masks is None
    ):
        raise CompileError(f"layer {layer.name}: masks must be given exactly in mode forced")
    codes = np.asarray(ifmap)
    images, _, in_rows, in_cols = codes.shape
    geometry = measure(layer, params, images, in_rows, in_cols, rows)
    if geometry.patches:
        codes = patch_map(layer, codes)
    codes = codes[:, :, geometry.in_first_row : geometry.in_first_row + geometry.in_rows]

    source = place_map(
        layer, "ifmap", ifmap_at, geometry.in_rows, geometry.in_cols, geometry.in_words, geometry, params
    )
    maps = [(source, codes)]
    target = added = None
    if layer.kind != "fc":
        sizes = (geometry.out_rows, geometry.out_cols, geometry.out_words, geometry, params)
        target = place_map(layer, "ofmap", ofmap_at, *sizes)
        _check_apart(layer, source, target, "ofmap")
        if residual is not None:
            added = place_map(layer, "residual", residual_at, *sizes)
            _check_apart(layer, source, added, "residual")
            if added.bank == target.bank and added != target and added.base < target.stop and target.base < added.stop:
                raise CompileError(f"layer {layer.name}: residual must lie exactly on the ofmap or apart from it")
            first = geometry.out_first_row
            maps.append((added, np.asarray(residual)[:, :, first : first + geometry.out_rows]))
    words = [place.to_words(values, params.in_par).reshape(-1, params.in_par) for place, values in maps]
    addresses = [place.addresses().reshape(-1) for place, _ in maps]
    banks = [np.full(len(part), place.bank) for part, (place, _) in zip(addresses, maps, strict=True)]
    gate = gate_mode(layer, mode)
    parameters, count = _parameters(layer, geometry, params)
    return Program(
        layer=layer.name,
        params=params,
        geometry=geometry,
        registers=layer_registers(layer, geometry, params, gate, source, added, target),
        load_bank=np.concatenate(banks),
        load_addr=np.concatenate(addresses),
        load_words=np.concatenate(words),
        parameters=parameters,
        parameter_count=count,
        masks=_mask_records(layer, geometry, masks) if gate is GateMode.FORCED else None,
        weights=weight_entries(layer, geometry, params, conditional=gate is not GateMode.BASE),
        ofmap=target,
        channels=layer.out_ch,
        signed=layer.signed,
    )


def gate_mode(layer: Layer, mode: str) -> Any:
    """Return a layer's `hw.interface.layouts.GateMode` in one of `MODES`, of which gated is by slice or by channel."""
    gate = MODES[mode] if layer.gated else GateMode.BASE
    return GateMode.CHANNEL if gate is GateMode.GATED and layer.slice_size == 1 else gate


def place_map(
    layer: Layer, what: str, wanted: Placement, rows: int, cols: int, words: int, geometry: Geometry, params: HwParams
) -> MapPlace:
    """Place a map of ``rows`` x ``cols`` pixels of ``words`` each, as many images as the pass has.

    Raises
    ------
    CompileError
        If it does not fit the bank.
    """
    size = rows * cols * words
    step = size if wanted.image_step is None else wanted.image_step
    place = MapPlace(
        bank=wanted.bank, base=wanted.base, image_step=step, images=geometry.images, rows=rows, cols=cols, words=words
    )
    if not 0 <= wanted.bank < 4 or wanted.base < 0 or step < size:
        raise CompileError(
            f"layer {layer.name}: {what} must be in bank 0 to 3, at a base of at least 0, its images at "
            f"least {size} words apart, not in bank {wanted.bank} at {wanted.base}, {step} apart"
        )
    if place.stop > params.bank_words:
        raise CompileError(
            f"layer {layer.name}: {what} must fit a bank of {params.bank_words} words, but "
            f"{geometry.images} image(s) of {rows}x{cols} pixels x {words} words from address "
            f"{wanted.base} end at {place.stop}"
        )
    return place


def _check_apart(layer: Layer, source: MapPlace, other: MapPlace, what: str) -> None:
    if source.bank == other.bank:
        raise CompileError(
            f"layer {layer.name}: {what} must be in another bank than the ifmap's, not in bank {other.bank}"
        )


def weight_entries(layer: Layer, geometry: Geometry, params: HwParams, conditional: bool) -> np.ndarray:
    """Order a layer's weights for the ring.

    For each slice its base entries, by tap row, tap column and ascending chunk, then (if wanted) its conditional
    entries, alike. Byte ``lane * in_par + k`` of an entry is the weight of output channel ``8 * slice + lane`` and
    input channel ``in_par * chunk + k``; padding channels have weight 0.

    Returns
    -------
    numpy.ndarray
        (entries, 8 * in_par) uint8, the int8 codes' bits; none of a max-pooling.
    """
    entry = LANES * params.in_par
    if geometry.pool:
        return np.zeros((0, entry), dtype=np.uint8)
    weight = np.asarray(layer.weight)
    if weight.ndim == 2:
        weight = weight[:, :, None, None]
    if geometry.patches:
        weight = patch_weight(weight)
    slices, chunks, taps = geometry.slices, geometry.chunks, geometry.weight_taps
    padding = (slices * LANES - weight.shape[0], chunks * params.in_par - weight.shape[1])
    weight = np.pad(weight, ((0, padding[0]), (0, padding[1]), (0, 0), (0, 0)))
    tiles = weight.reshape(slices, LANES, chunks, params.in_par, taps).transpose(0, 4, 2, 1, 3)
    parts = []
    for group in range(slices // geometry.group_slices):
        block = tiles[group * geometry.group_slices : (group + 1) * geometry.group_slices]
        first = base_chunk(layer, geometry, group)
        stop = first + geometry.group_chunks
        paths = [block[:, :, first:stop]]
        if conditional:
            paths.append(np.concatenate((block[:, :, :first], block[:, :, stop:]), axis=2))
        parts.append(np.concatenate([path.reshape(len(block), -1, entry) for path in paths], axis=1).reshape(-1, entry))
    return np.ascontiguousarray(np.concatenate(parts)).view(np.uint8)


def _mask_records(layer: Layer, geometry: Geometry, masks: Any) -> dict[str, np.ndarray]:
    """Put forced decisions into job order: slice, image, row, column; one bit for each channel of the slice."""
    first = geometry.out_first_row
    decisions = np.asarray(masks)[:, :, first : first + geometry.out_rows]
    bits = np.repeat(decisions, layer.slice_size, axis=1)
    images, _, rows, cols = bits.shape
    bits = bits.reshape(images, geometry.slices, LANES, rows, cols).transpose(1, 0, 3, 4, 2)
    places = np.meshgrid(*(np.arange(size) for size in bits.shape[:4]), indexing="ij")
    fields = dict(zip(("slice", "image", "row", "col"), (place.reshape(-1) for place in places), strict=True))
    return {"fire": np.packbits(bits.reshape(-1, LANES), axis=1, bitorder="little")[:, 0], **fields}


def channel_parameters(layer: Layer, geometry: Geometry) -> dict[str, np.ndarray]:
    """Return multiplier, offset (with the rounding term) and threshold of every channel, padding included: int64.

    A max-pooling has none.
    """
    channels = 0 if geometry.pool else geometry.slices * LANES
    multiplier, offset = np.zeros(channels, dtype=np.int64), np.zeros(channels, dtype=np.int64)
    multiplier[: layer.out_ch] = np.asarray(layer.M)
    offset[: layer.out_ch] = np.asarray(layer.B)
    if layer.kind == "conv":
        offset += 1 << (layer.S - 1)
    threshold = np.zeros(channels, dtype=np.int64)
    if layer.K is not None:
        threshold[: layer.out_ch] = np.repeat(np.asarray(layer.K), layer.slice_size)
    return {"multiplier": multiplier, "offset": offset, "threshold": threshold}


def _parameters(layer: Layer, geometry: Geometry, params: HwParams) -> tuple[dict[str, Any], int]:
    words = {name: values.reshape(-1, params.rq_lanes) for name, values in channel_parameters(layer, geometry).items()}
    count = len(words["threshold"])
    return {
        "scales": {"multiplier": words["multiplier"], "offset": words["offset"]},
        "thresholds": words["threshold"],
        "address": np.arange(count),
    }, count
