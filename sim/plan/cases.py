"""Small random layers with lively maps: decisions half and half, a tie in every slice, codes that are not saturated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cdgate.base_path import base_input_groups
from sw_model.integer import ops as int_ops
from sw_model.integer.convolution import conv2d
from sw_model.integer.layer import IMAGE, IntLayer, pool_layer
from sw_model.integer.network import IntNetwork, Tap

__all__ = ["Case", "pool_case", "random_case"]


@dataclass(frozen=True, eq=False)
class Case:
    """A layer and what it reads: ifmap (N, I, H, W) and residual (N, O, H', W') or None, int64 codes."""

    layer: IntLayer
    ifmap: Tensor
    residual: Tensor | None

    def golden(self, mode: str, masks: Tensor | None = None) -> Tap:
        """Return what the layer must compute in a mode."""
        return IntNetwork.run_layer(self.layer, self.ifmap, self.residual, mode, masks)


def random_case(
    seed: int,
    *,
    in_ch: int = 64,
    out_ch: int = 64,
    size: tuple[int, int] = (4, 4),
    images: int = 1,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 4,
    branch: int = 1,
    residual: str | None = None,
    relu: bool = True,
    image: bool = False,
    classes: int = 0,
    slice_size: int = 8,
    pad: int | None = None,
    base_groups: tuple[int, ...] = (),
) -> Case:
    """Make a layer from a seed.

    Parameters
    ----------
    seed
        Everything random follows from it.
    in_ch, out_ch, kernel, stride, groups, branch
        Of the layer; ``groups`` = 1 makes an ungated one.
    size
        Height and width of the ifmap.
    images
        Images of the ifmap.
    residual
        None, "unsigned" or "signed".
    relu
        Whether the ofmap is uint8, else int8.
    image
        Whether the layer reads the image, as the stem: padding with codes other than 0.
    slice_size
        Channels that share a decision: 8, or 1.
    classes
        If not 0, a classifier of so many classes instead of a convolution.
    pad
        Rows and columns of padding; half of the kernel if not given.
    base_groups
        Input group of each output group's base path, where it is another than the branch says.
    """
    rng = torch.Generator().manual_seed(seed)

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=rng)

    ifmap = integers(0, 256, images, in_ch, *size)
    if not image:  # as behind ReLU: half of the codes are 0
        ifmap *= integers(0, 2, images, in_ch, *size)
    if classes:
        layer = IntLayer(
            name=f"case{seed}",
            kind="fc",
            weight=integers(-127, 128, classes, in_ch).to(torch.int8),
            M=torch.ones(classes, dtype=torch.int16),
            B=integers(-100000, 100000, classes),
            S=0,
            lo=-(2**31),
            hi=2**31 - 1,
            input="before",
        )
        return Case(layer, ifmap, None)

    weight = integers(-127, 128, out_ch, in_ch, kernel, kernel).to(torch.int8)
    pad = kernel // 2 if pad is None else pad
    pad_code = tuple(integers(1, 256, in_ch).tolist()) if image else ()
    gated = groups > 1
    if gated:
        chosen = base_input_groups(groups, branch, base_groups)
        base, psum = int_ops.gated_psums(ifmap, weight, stride, pad, chosen)
        # The saliency of some pixel in the middle of the ranking, so that there is a tie.
        saliency = base.reshape(images, out_ch // slice_size, slice_size, -1).sum(2).transpose(0, 1).flatten(1)
        threshold = saliency.kthvalue((saliency.shape[1] + 1) // 2, dim=1).values.to(torch.int32)
    else:
        psum, threshold = conv2d(ifmap, weight, stride, pad, pad_code), None
    shift = int(integers(18, 24, 1))
    spread = psum.to(torch.float64).std(dim=(0, 2, 3), correction=0).clamp(min=1000)
    sign = torch.where(integers(0, 10, out_ch) == 0, -1, 1)
    center = psum.to(torch.float64).mean(dim=(0, 2, 3))
    multiplier = (sign * 50 / spread * 2**shift).round().clamp(-(2**15), 2**15 - 1)
    middle = torch.full((out_ch,), 60.0 if relu else 0.0)
    offset = (middle * 2**shift - multiplier * center + integers(0, 1000, out_ch)).round()
    shape = psum.shape
    codes = None
    if residual is not None:
        codes = integers(0, 256, *shape) if residual == "unsigned" else integers(-128, 128, *shape)
    layer = IntLayer(
        name=f"case{seed}",
        kind="conv",
        weight=weight,
        stride=stride,
        pad=pad,
        pad_code=pad_code,
        groups=groups,
        branch=branch,
        base_groups=base_groups,
        gated=gated,
        slice_size=slice_size,
        K=threshold,
        M=multiplier.to(torch.int16),
        B=offset.to(torch.int64),
        S=shift,
        R0=0 if residual is None else 23456,
        Q=0 if residual is None else shift - 16,
        lo=0 if relu else -128,
        hi=255 if relu else 127,
        input=IMAGE if image else "before",
        residual=None if residual is None else "added",
        residual_signed=residual == "signed",
    )
    return Case(layer, ifmap, codes)


def pool_case(
    seed: int,
    *,
    channels: int = 64,
    size: tuple[int, int] = (4, 4),
    images: int = 1,
    window: int = 2,
    stride: int = 2,
    pad: int = 0,
    signed: bool = False,
) -> Case:
    """Make a max-pooling from a seed: a third of the codes are the least or the greatest one.

    Parameters
    ----------
    seed
        Everything random follows from it.
    channels, window, stride, pad
        Of the layer.
    size
        Height and width of the ifmap.
    images
        Images of the ifmap.
    signed
        Whether codes are int8, else uint8.
    """
    rng = torch.Generator().manual_seed(seed)
    layer = pool_layer(f"case{seed}", channels, window, stride, pad, "before", signed=signed)
    ifmap = torch.randint(0, 256, (images, channels, *size), generator=rng)
    corner = torch.randint(0, 6, ifmap.shape, generator=rng)
    ifmap = torch.where(corner == 0, 0, torch.where(corner == 1, 255, ifmap)) + layer.lo
    return Case(layer, ifmap, None)
