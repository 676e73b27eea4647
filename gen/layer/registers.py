"""The registers of a pass."""

from __future__ import annotations

from typing import Any

from gen.layer.geometry import Geometry
from gen.layer.places import MapPlace
from gen.layer.protocol import Layer
from hw.interface.layouts import GateMode
from hw.params import MAX_GROUPS, HwParams

__all__ = ["base_chunk", "layer_registers"]

#: What a pooling pass looks at.
_POOLING = frozenset(
    "mode image_last slice_last row_last col_last tap_row_last tap_col_last pad_top pad_bottom pad_left pad_right "
    "ifmap_bank ofmap_bank ifmap_base ofmap_base ifmap_image_step ofmap_image_step tap_col_step tap_row_step "
    "ifmap_col_step ifmap_row_step ofmap_col_step signed_output pool".split()
)


def base_chunk(layer: Layer, geometry: Geometry, group: int) -> int:
    """Return the first base chunk of an output group."""
    return geometry.group_chunks * layer.base_inputs[group] if geometry.chunks > geometry.group_chunks else 0


def layer_registers(
    layer: Layer,
    geometry: Geometry,
    params: HwParams,
    gate: Any,
    source: MapPlace,
    added: MapPlace | None,
    target: MapPlace | None,
    param_half: int = 0,
) -> dict[str, int]:
    """Return the values of `hw.interface.layouts.LayerRegisters` for one pass, by the fields' names.

    Of a max-pooling fields that mean nothing to it are 0.

    Parameters
    ----------
    layer, geometry, params
        The layer, its sizes in this pass, the engine.
    gate
        From `gate_mode`.
    source, added, target
        Where ifmap, residual (if any) and ofmap (if any) lie.
    param_half
        Half of the parameter memory that holds the layer's parameters.
    """
    space = 1 << params.bank_addr_bits
    g = geometry
    col_step, row_step = g.in_words, g.in_cols * g.in_words
    none = MapPlace(bank=0, base=0, image_step=0, images=1, rows=1, cols=1, words=0)
    target = target or none
    added_place = added or none
    groups = g.slices // g.group_slices
    conditional = g.chunks - g.group_chunks if gate is not GateMode.BASE else 0
    held_rows = g.tap_cols if not g.hold else 1
    addresses = {
        "ifmap_base": source.base - g.pad_top * row_step - g.pad_left * col_step,
        "residual_base": added_place.base,
        "ofmap_base": target.base,
        "ifmap_image_step": source.image_step,
        "residual_image_step": added_place.image_step,
        "ofmap_image_step": target.image_step,
        "tap_col_step": col_step,
        "tap_row_step": row_step,
        "ifmap_col_step": g.stride * col_step,
        "ifmap_row_step": g.stride * row_step,
        "ofmap_col_step": target.words,
    }
    registers = {
        "mode": gate.value,
        "image_last": g.images - 1,
        "slice_last": g.slices - 1,
        "row_last": g.out_rows - 1,
        "col_last": g.out_cols - 1,
        "tap_row_last": g.tap_rows - 1,
        "tap_col_last": g.tap_cols - 1,
        "pad_top": int(g.pad_top),
        "pad_bottom": int(g.pad_bottom),
        "pad_left": int(g.pad_left),
        "pad_right": int(g.pad_right),
        "ifmap_bank": source.bank,
        "residual_bank": added_place.bank,
        "ofmap_bank": target.bank,
        **{name: address % space for name, address in addresses.items()},
        "base_chunk_last": g.group_chunks - 1,
        **{f"base_first_{n}": base_chunk(layer, g, n) if n < groups else 0 for n in range(MAX_GROUPS)},
        "group_slice_last": g.group_slices - 1,
        "base_entries": g.base_entries,
        "cond_entries": g.weight_taps * conditional,
        "base_tap_entries": g.group_chunks,
        "cond_tap_entries": conditional,
        "base_row_entries": held_rows * g.group_chunks,
        "cond_row_entries": held_rows * conditional,
        "weight_hold": int(g.hold),
        "param_half": param_half,
        "residual_enable": int(added is not None),
        "residual_signed": int(layer.residual_signed),
        "residual_scale": layer.R0,
        "residual_shift": layer.Q,
        "shift": layer.S,
        "signed_output": int(layer.signed),
        "logits": int(layer.kind == "fc"),
        "pool": int(g.pool),
    }
    return {name: value if not g.pool or name in _POOLING else 0 for name, value in registers.items()}
