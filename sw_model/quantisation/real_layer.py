"""Layers before quantisation: real-valued weights, BatchNorm folded into gain and offset."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RealLayer", "RealPool", "average_pool"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RealLayer:
    """A layer before quantisation: ``y = act(gain * conv(x, weight) + offset + residual)``.

    Attributes
    ----------
    name
        Name of the layer.
    weight
        (O, I, kh, kw) float64; (classes, C) for the classifier.
    gain
        (O,) float64, BatchNorm's gamma / sqrt(var + eps); ones in the classifier.
    offset
        (O,) float64, BatchNorm's beta - gain * mean; the bias in the classifier.
    stride
        Step in both directions.
    pad
        Rows and columns added on every side.
    relu
        Whether the ofmap is unsigned.
    groups
        Gating groups; 1 where ungated.
    branch
        1 or 2.
    base_groups
        Input group of each output group's base path, where it is another than the branch says; else empty.
    slice_size
        Output channels of a decision.
    threshold
        (O / slice_size,), real threshold of the mean saliency, m + tau * sqrt(var + eps); None if ungated.
    sparsity
        Instead of threshold: share of decisions that shall be 0 on the calibration images, per slice.
    standardize
        gain and offset are those of a BatchNorm whose statistics the calibration gives.
    input
        Name of the layer read.
    residual
        Name of the layer added, or None.
    zero
        (I,) real codes that stand for zero (255 * mean colour), for the stem alone.
    """

    name: str
    weight: Tensor
    gain: Tensor
    offset: Tensor
    stride: int = 1
    pad: int = 0
    relu: bool = True
    groups: int = 1
    branch: int = 1
    base_groups: tuple[int, ...] = ()
    slice_size: int = 8
    threshold: Tensor | None = None
    sparsity: Tensor | None = None
    standardize: bool = False
    input: str
    residual: str | None = None
    zero: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class RealPool:
    """A max-pooling, which is the same before quantisation and after: its codes keep their scale.

    Attributes
    ----------
    name
        Name of the layer.
    window
        Rows and columns of the window.
    stride
        Step in both directions.
    pad
        Rows and columns by which windows reach beyond the map on every side.
    input
        Name of the layer read.
    """

    name: str
    window: int
    stride: int
    pad: int = 0
    input: str

    @property
    def residual(self) -> None:
        """Nothing is added."""


def average_pool(name: str, channels: int, window: int, source: str) -> RealLayer:
    """Return an average pooling as a convolution whose kernel is diagonal: nothing but the engine's own arithmetic.

    Windows do not overlap. It takes the steps of a convolution of as many channels.

    Parameters
    ----------
    name
        Its name.
    channels
        Of the map.
    window
        Rows and columns of the window, which is also the step.
    source
        Name of the layer read.
    """
    weight = torch.eye(channels, dtype=torch.float64)[:, :, None, None].expand(-1, -1, window, window) / window**2
    return RealLayer(
        name=name,
        weight=weight,
        gain=torch.ones(channels, dtype=torch.float64),
        offset=torch.zeros(channels, dtype=torch.float64),
        stride=window,
        input=source,
    )
