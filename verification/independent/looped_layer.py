"""A layer by slow loops, to compare the golden operators with."""

from __future__ import annotations

from typing import Any

import torch

from sim.plan.cases import Case as LayerCase
from verification.independent.loops import base_group_of, loop_conv, loop_max_pool, loop_requantize

__all__ = ["looped"]


def looped(made: LayerCase, mode: str, masks: torch.Tensor | None) -> tuple[list[Any], list[Any] | None]:
    """Compute a layer over Python integers; return its ofmap (or logits) and its decisions by channel, flat lists."""
    layer, x = made.layer, made.ifmap.tolist()
    if layer.kind == "fc":
        sums = [[sum(sum(row) for row in plane) for plane in image] for image in x]
        weight, bias = layer.weight.tolist(), layer.B.tolist()
        return [sum(map(int.__mul__, sums_, w)) + b for sums_ in sums for w, b in zip(weight, bias, strict=True)], None
    if layer.kind == "maxpool":
        pooled = loop_max_pool(x, layer.kernel, layer.stride, layer.pad)
        return [code for image in pooled for plane in image for row in plane for code in row], None
    weight, size = layer.weight.tolist(), layer.in_ch // layer.groups
    geometry = (layer.stride, layer.pad, list(layer.pad_code))
    whole = loop_conv(x, weight, *geometry)
    base = whole
    if layer.gated:
        part = []
        for o, kernel in enumerate(weight):
            group = o // (layer.out_ch // layer.groups)
            group = base_group_of(layer, group)
            zero = [[0] * layer.kernel for _ in range(layer.kernel)]
            part.append([plane if i // size == group else zero for i, plane in enumerate(kernel)])
        base = loop_conv(x, part, *geometry)
    ofmap, decisions = [], []
    for n, maps in enumerate(base):
        for o, plane in enumerate(maps):
            first = o // layer.slice_size * layer.slice_size
            for y, row in enumerate(plane):
                for z, psum in enumerate(row):
                    fires = True
                    if layer.K is not None:
                        saliency = sum(maps[first + k][y][z] for k in range(layer.slice_size))
                        fires = {
                            "dense": True,
                            "base": False,
                            "gated": saliency > int(layer.K[first // layer.slice_size]),
                            "forced": masks is not None and bool(masks[n, first // layer.slice_size, y, z]),
                        }[mode]
                        decisions.append(fires)
                    total = whole[n][o][y][z] if fires else psum
                    added = 0 if made.residual is None else int(made.residual[n, o, y, z])
                    scale = (int(layer.M[o]), int(layer.B[o]), layer.S, added, layer.R0, layer.Q, layer.lo, layer.hi)
                    ofmap.append(loop_requantize(total, *scale))
    return ofmap, decisions if layer.gated else None
