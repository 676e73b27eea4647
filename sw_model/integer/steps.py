"""What gating saves in theory: steps, sparsity and theoretical speed-up, counted from the reference's own masks.

A step is one valid (tap, chunk) of one (image, pixel, slice): eight output channels times ``in_par`` input channels of
MACs, one cycle of the engine's array. Taps outside the map are no steps. Two layers are laid out in their own way: the
stem as patches, i.e. a 1x1 convolution of all taps' channels (27 of 3x3x3) whose padded taps do count, and the
classifier as one job per (image, slice of classes) over all positions. A max-pooling multiplies nothing and has no
steps. Nothing here reads the hardware's counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sw_model.integer.layer import IMAGE, IntLayer
from sw_model.integer.network import IntNetwork, Result

__all__ = ["LayerCount", "count_layer", "count_network", "flop_reduction", "total", "valid_taps"]

#: Output channels that a step computes.
LANES = 8


@dataclass(frozen=True, kw_only=True)
class LayerCount:
    """Work of one layer, or the sum over several, on some images.

    Attributes
    ----------
    name
        The layer, or what was summed.
    nominal_macs
        Multiply-accumulates as papers count them: padded taps included, padded channels
        not, and the classifier after the pooling.
    dense
        Steps with every decision 1.
    base
        Steps of the base path; all steps of an ungated layer.
    conditional
        Steps of the conditional path that fired; a slice fires if any of its channels does.
    skipped
        dense - base - conditional.
    lane_steps
        Conditional steps counted per channel that fired, 8 to a step; 8 * conditional in slice mode.
    decisions
        Number of decisions.
    fired
        Decisions that are 1.
    conditional_work
        Steps of the conditional path times channels, with every decision 1.
    """

    name: str
    nominal_macs: int
    dense: int
    base: int
    conditional: int
    skipped: int
    lane_steps: int
    decisions: int
    fired: int
    conditional_work: int

    @property
    def sparsity_output(self) -> float:
        """Share of decisions that are 0, as papers count; 0 in an ungated layer."""
        return 1 - self.fired / self.decisions if self.decisions else 0.0

    @property
    def sparsity_mac(self) -> float:
        """Share of the conditional path's valid MACs that are skipped: what the clock sees; 0 in an ungated layer."""
        return 1 - self.lane_steps / self.conditional_work if self.conditional_work else 0.0

    @property
    def speedup(self) -> float:
        """Theoretical speed-up: dense work / (base work + fired conditional work), per channel; 1 without any work."""
        work = LANES * self.base + self.lane_steps
        return LANES * self.dense / work if work else 1.0


def valid_taps(size: int, kernel: int, stride: int, pad: int) -> Tensor:
    """Count the taps inside the map for every position along one axis.

    A kernel of 3 with pad 1 on 4 positions has (2, 3, 3, 2) taps at stride 1 and (2, 3) at stride 2.

    Parameters
    ----------
    size
        Length of the ifmap's axis.
    kernel
        Taps along the axis.
    stride
        Step.
    pad
        Positions added at both ends.

    Returns
    -------
    Tensor
        (positions of the ofmap,), int64.
    """
    start = torch.arange((size + 2 * pad - kernel) // stride + 1) * stride - pad
    return (start + kernel).clamp(max=size) - start.clamp(min=0)


def count_layer(
    layer: IntLayer,
    in_size: tuple[int, int],
    images: int,
    in_par: int,
    decision: Tensor | None = None,
    rows: tuple[int, int] | None = None,
) -> LayerCount:
    """Count one layer's work, or that of some rows of its ofmap.

    Parameters
    ----------
    layer
        The layer.
    in_size
        Height and width of its ifmap.
    images
        Number of images.
    in_par
        Input channels of a chunk.
    decision
        (images, O / slice_size, H', W'), bool, for a gated layer, of the rows that count; None counts every decision as
        1.
    rows
        First row of the ofmap that counts, and the row after the last; None for all. A classifier has no rows.

    Returns
    -------
    LayerCount
        The counts.

    Raises
    ------
    ValueError
        The chunk does not divide a gated layer's input group, or the decisions have the wrong shape.
    """
    height, width = in_size
    slices = -(-layer.out_ch // LANES)
    if layer.kind == "fc":
        steps = images * slices * height * width * -(-layer.in_ch // in_par)
        return _ungated(layer.name, images * layer.out_ch * layer.in_ch, steps)
    if layer.kind == "maxpool":
        return _ungated(layer.name, 0, 0)
    high, wide = (valid_taps(length, layer.kernel, layer.stride, layer.pad) for length in in_size)
    taps = high[slice(*(rows or (None,))), None] * wide[None, :]
    nominal = images * layer.out_ch * taps.numel() * layer.kernel**2 * layer.in_ch
    if layer.input == IMAGE:
        chunks = -(-(layer.in_ch * layer.kernel**2) // in_par)
        return _ungated(layer.name, nominal, images * slices * taps.numel() * chunks)
    if not layer.gated:
        return _ungated(layer.name, nominal, images * slices * int(taps.sum()) * -(-layer.in_ch // in_par))

    group = layer.in_ch // layer.groups
    if group % in_par:
        raise ValueError(f"layer {layer.name}: input channels per group must be a multiple of {in_par}, not {group}")
    shape = (images, layer.out_ch // layer.slice_size, *taps.shape)
    if decision is None:
        decision = torch.ones(shape, dtype=torch.bool)
    if tuple(decision.shape) != shape:
        raise ValueError(f"layer {layer.name}: decisions must have the shape {shape}, not {tuple(decision.shape)}")
    base_chunks = group // in_par
    conditional_chunks = base_chunks * (layer.groups - 1)
    all_taps = images * slices * int(taps.sum())
    lanes = decision.to(torch.int64).sum((0, 1)) * layer.slice_size  # channels that fire, by pixel
    jobs = decision.reshape(images, slices, LANES // layer.slice_size, *taps.shape).any(2).to(torch.int64).sum((0, 1))
    dense, base = all_taps * base_chunks * layer.groups, all_taps * base_chunks
    conditional = int((jobs * taps).sum()) * conditional_chunks
    return LayerCount(
        name=layer.name, nominal_macs=nominal, dense=dense, base=base, conditional=conditional,
        skipped=dense - base - conditional, lane_steps=int((lanes * taps).sum()) * conditional_chunks,
        decisions=decision.numel(), fired=int(decision.sum()), conditional_work=LANES * (dense - base),
    )  # fmt: skip


def _ungated(name: str, nominal: int, steps: int) -> LayerCount:
    return LayerCount(
        name=name, nominal_macs=nominal, dense=steps, base=steps, conditional=0, skipped=0, lane_steps=0,
        decisions=0, fired=0, conditional_work=0,
    )  # fmt: skip


def count_network(
    net: IntNetwork,
    images: int,
    in_par: int,
    decisions: Result | Mapping[str, Tensor] | None = None,
    in_size: tuple[int, int] = (32, 32),
) -> list[LayerCount]:
    """Count every layer's work, in execution order.

    Parameters
    ----------
    net
        The network.
    images
        Number of images.
    in_par
        Input channels of a chunk.
    decisions
        A run's result with all taps, or decisions by layer name; None counts every decision as 1.
    in_size
        Height and width of the images.

    Returns
    -------
    list[LayerCount]
        One count per layer.
    """
    if isinstance(decisions, Result):
        decisions = {name: tap.decision for name, tap in decisions.taps.items() if tap.decision is not None}
    sizes = {IMAGE: in_size}
    counts = []
    for layer in net.layers:
        size = sizes[layer.input]
        mask = None if decisions is None else decisions.get(layer.name)
        if decisions is not None and layer.gated and mask is None:
            raise ValueError(f"layer {layer.name}: decisions are missing")
        counts.append(count_layer(layer, size, images, in_par, mask))
        sizes[layer.name] = (layer.out_size(size[0]), layer.out_size(size[1]))
    return counts


def total(counts: Iterable[LayerCount], name: str = "total") -> LayerCount:
    """Add up counts, of several layers or of several batches of images."""
    counts = list(counts)
    fields = [field for field in LayerCount.__dataclass_fields__ if field != "name"]
    return LayerCount(name=name, **{field: sum(getattr(count, field) for count in counts) for field in fields})


def flop_reduction(sparsity: float, groups: int) -> float:
    """Return the papers' FLOP reduction ``1 / (1/G + (1 - 1/G) * (1 - s))``; 0.7164 at G = 4 gives 2.16."""
    return 1 / (1 / groups + (1 - 1 / groups) * (1 - sparsity))
