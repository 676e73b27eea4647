"""Synthetic layers and a small network on which the checks cannot be lucky: ties, clamps and ends in every slice.

Photographs meet no saliency that equals its threshold, and hardly a clamp: hardware that is wrong there passes on them.
What is made here has the shape of what a user simulates, and numbers that go to the ends.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cdgate.modes import GateMode
from hw.params import LANES, HwParams
from sim.plan.cases import Case
from sw_model.integer import ops as int_ops
from sw_model.integer.convolution import conv2d
from sw_model.integer.layer import IMAGE, IntLayer, pool_layer
from sw_model.integer.network import IntNetwork
from sw_model.integer.ops import INT32_MAX, INT32_MIN
from sw_model.integer.steps import count_layer

__all__ = ["MOST", "SHARE", "stress_cases", "stress_layer", "stress_network"]

#: Greatest height and width of a stress map.
MOST = 8

#: Steps of a stress map, as a share of those of the layer that it stands beside.
SHARE = 1 / 5

#: Steps of an output code that the spread of a channel's psums takes: most of them leave 0 to 255 on both sides.
_SPREAD = 200


def _seed(name: str) -> int:
    return zlib.crc32(name.encode())


def stress_cases(layer: IntLayer, size: tuple[int, int], images: int, in_par: int, slice_size: int) -> list[Case]:
    """Return synthetic layers with the kernel, stride, grouping and channels of a layer, and what they read.

    A max-pooling has no numbers of its own: it reads random codes. Of others the first has a tie in every slice and
    codes beyond both clamps, the second, on the smallest possible map, numbers at the ends of their widths: see
    `stress_layer`. Of a classifier there is one. Everything random follows from the layer's name.

    Parameters
    ----------
    layer
        The layer.
    size, images
        Of the ifmap that it is simulated with: the maps here are at most `MOST` rows and columns or as large as the
        kernel, and as small as it takes to keep to `SHARE` of its steps.
    in_par
        Input channels of a step.
    slice_size
        Channels that share a decision in a gated layer, 8 or 1.
    """
    rng = torch.Generator().manual_seed(_seed(layer.name))
    if layer.kind == "fc":
        return [_case(layer, size, rng, slice_size, ends=False)]
    if layer.kind == "maxpool":  # its cycles go by pixels, all of which are cheap
        codes = _integers(rng, layer.lo, layer.hi + 1, 1, layer.in_ch, *(min(length, MOST) for length in size))
        return [Case(layer, codes, None)]
    dense = count_layer(layer, size, images, in_par, None).dense
    least = max(1, layer.kernel - 2 * layer.pad)
    fitting = range(max(MOST, least), least - 1, -1)
    first = next(
        (n for n in fitting if count_layer(layer, (n, n), 1, in_par, None).dense <= SHARE * dense), fitting[-1]
    )
    return [
        _case(layer, (first, first), rng, slice_size, ends=False),
        _case(layer, (fitting[-1], fitting[-1]), rng, slice_size, ends=True),
    ]


def _integers(rng: torch.Generator, low: int, high: int, *shape: int) -> Tensor:
    return torch.randint(low, high, shape, generator=rng)


def _case(layer: IntLayer, size: tuple[int, int], rng: torch.Generator, slice_size: int, ends: bool) -> Case:
    ifmap = _integers(rng, 0, 256, 1, layer.in_ch, *size)
    if layer.input != IMAGE:  # as behind ReLU: many codes are 0, some 255
        ifmap *= _integers(rng, 0, 2, *ifmap.shape)
        ifmap[_integers(rng, 0, 16, *ifmap.shape) == 0] = 255
    reach = layer.kernel + layer.stride
    ifmap[:, :, :reach, :reach] = 255  # the greatest code in every tap of a pixel
    residual = None
    if layer.residual is not None:
        low, high = (-128, 128) if layer.residual_signed else (0, 256)
        residual = _integers(rng, low, high, 1, layer.out_ch, layer.out_size(size[0]), layer.out_size(size[1]))
    return Case(stress_layer(layer, ifmap, residual, rng, slice_size, ends), ifmap, residual)


def stress_layer(
    layer: IntLayer, ifmap: Tensor, residual: Tensor | None, rng: torch.Generator, slice_size: int, ends: bool = False
) -> IntLayer:
    """Return a layer of another's shape with numbers that go to the ends on this ifmap.

    Two channels of each slice have weights of 127 and -127 alone, as have some slices in the whole: their psums and
    saliencies are as large as the layer's can be.

    Thresholds are saliencies of pixels, so that there is a tie in every slice (or channel): the middle one, the
    greatest (nothing fires), the least (all but the tie fires), and in every fourth slice the greatest of those pixels
    that have all their taps, beside weights that are negative in the base path: there the borders fire alone. Ofmap
    codes are spread so that both clamps are met; a third of the multipliers are negative, some are the ends of int16,
    and some are 0 with an offset half way between two codes.

    With `ends` thresholds are the ends of int32 by turns, multipliers those of int16, the shift is 40, and offsets go
    as far as the requantiser's 48 bits let them; R0 and Q are large, too.

    Parameters
    ----------
    layer
        Whose kind, shape, stride, groups, sign and sources are taken.
    ifmap
        (N, I, H, W), int64 codes.
    residual
        (N, O, H', W'), int64 codes, or None.
    rng
        Of everything random.
    slice_size
        Channels that share a decision if the layer is gated.
    ends
        Whether thresholds, multipliers and offsets are at the ends of their widths.
    """
    weight = _integers(rng, -127, 128, *layer.weight.shape)
    weight[_integers(rng, 0, 16, *weight.shape) == 0] = 127
    weight[_integers(rng, 0, 16, *weight.shape) == 0] = -127
    weight[1::LANES], weight[4::LANES] = 127, -127
    if layer.kind == "fc":
        offset = _integers(rng, -1_000_000, 1_000_000, layer.out_ch)
        room = 2**31 - 1 - 255 * ifmap.shape[2] * ifmap.shape[3] * weight.abs().sum(1)
        offset[0::LANES], offset[1::LANES], offset[4::LANES] = -room[0::LANES], room[1::LANES], -room[4::LANES]
        return replace(layer, weight=weight.to(torch.int8), B=offset)
    slices = layer.out_ch // LANES
    for number in (2, slices - 1):
        weight[LANES * number : LANES * (number + 1)] = 127
    threshold = None
    if layer.gated:
        # int_ops.split_weight: where the base path has a weight.
        base_part, _ = int_ops.split_weight(torch.ones_like(weight), layer.base_inputs)
        fourth = (_turn(layer.out_ch // slice_size) % 4 == 3).repeat_interleave(slice_size).reshape(-1, 1, 1, 1)
        weight = torch.where(fourth & (base_part > 0), -weight.abs(), weight)
        coded = weight.to(torch.int8)
        base, psum = int_ops.gated_psums(ifmap, coded, layer.stride, layer.pad, layer.base_inputs)
        threshold = _thresholds(layer, base, slice_size, ends, (ifmap.shape[2], ifmap.shape[3]))
    else:
        coded = weight.to(torch.int8)
        psum = conv2d(ifmap, coded, layer.stride, layer.pad, layer.pad_code)
    numbers = psum.to(torch.float64)
    spread = numbers.std(dim=(0, 2, 3), correction=0).clamp(min=1000)
    shift = int(torch.log2(2**14 * spread.min() / _SPREAD).floor().clamp(1, 24))
    channel = torch.arange(layer.out_ch)
    multiplier = (_SPREAD / spread * 2**shift).round().clamp(1, 2**15 - 1)
    multiplier[channel % 3 == 2] *= -1
    for place, value in ((4, 2**15 - 1), (5, -(2**15)), (9, 2**15 - 1), (12, 0)):
        multiplier[channel % 16 == place] = value
    factor, left = (23456 >> max(16 - shift, 0), max(shift - 16, 0)) if residual is not None else (0, 0)
    if ends:
        shift = 40
        factor, left = (2**16 - 3, 21) if residual is not None else (0, 0)
        multiplier = torch.where(_integers(rng, 0, 2, layer.out_ch) == 0, -(2**15), 2**15 - 1).to(torch.float64)
        offset = _offsets(coded, multiplier, shift, 255 * (factor << left), rng)
    middle = 0 if layer.signed else 128
    if not ends:
        offset = (middle * 2**shift - multiplier * numbers.mean(dim=(0, 2, 3))).round().to(torch.int64)
        offset[multiplier == 0] = middle * 2**shift + 2 ** (shift - 1)
    return replace(
        layer,
        weight=coded,
        K=threshold,
        slice_size=slice_size if layer.gated else layer.slice_size,
        M=multiplier.to(torch.int16),
        B=offset,
        S=shift,
        R0=factor,
        Q=left,
    )


def _offsets(weight: Tensor, multiplier: Tensor, shift: int, residual: int, rng: torch.Generator) -> Tensor:
    """Return offsets as far as `sw_model.integer.layer.validate_layer` lets them go, and some that are anywhere."""
    products = 255 * weight.to(torch.int64).abs().flatten(1).sum(1) * multiplier.to(torch.int64).abs()
    room = 2**47 - 1 - products - residual - 2 ** (shift - 1)
    share = torch.rand(len(weight), generator=rng, dtype=torch.float64) * 2 - 1
    offset = (share * room.to(torch.float64)).to(torch.int64)
    offset[0::LANES], offset[1::LANES], offset[4::LANES] = -room[0::LANES], room[1::LANES], -room[4::LANES]
    return offset


def _thresholds(layer: IntLayer, base: Tensor, slice_size: int, ends: bool, size: tuple[int, int]) -> Tensor:
    images, _, rows, cols = base.shape
    deciders = layer.out_ch // slice_size
    turn = _turn(deciders)
    if ends:
        return torch.where(turn % 2 == 0, INT32_MIN, INT32_MAX).to(torch.int32)
    saliency = base.reshape(images, deciders, slice_size, rows, cols).sum(2).transpose(0, 1).flatten(1)
    ordered = saliency.sort(dim=1).values
    middle, greatest, least = ordered[:, (ordered.shape[1] - 1) // 2], ordered[:, -1], ordered[:, 0]
    inner = _all_taps(layer, size).flatten().repeat(images)
    inside = saliency[:, inner].amax(1) if inner.any() and not inner.all() else middle
    chosen = torch.stack([middle, greatest, least, inside])
    return chosen[turn % 4, torch.arange(deciders)].to(torch.int32)


def _turn(deciders: int) -> Tensor:
    """Number what decides, leaving one out after every `LANES`: each lane gets every kind of threshold in its turn."""
    number = torch.arange(deciders)
    return number + number // LANES


def _all_taps(layer: IntLayer, size: tuple[int, int]) -> Tensor:
    """Return which pixels of the ofmap have all their taps within the map, (H', W') bool."""

    def along(length: int) -> Tensor:
        first = torch.arange(layer.out_size(length)) * layer.stride - layer.pad
        return (first >= 0) & (first + layer.kernel <= length)

    return along(size[0])[:, None] & along(size[1])


def stress_network(params: HwParams, like: IntNetwork) -> tuple[IntNetwork, np.ndarray]:
    """Return a small network of stress layers, and the two 8x8 images that they are made for.

    A stem, a max-pooling, gated layers of stride 1 and 2, a 1x1 convolution beside one, residuals with and without a
    sign, a classifier; the last gated layer's thresholds are the ends of int32.

    Parameters
    ----------
    params
        The engine that it has to fit: a group is as narrow as it may be.
    like
        Whose first gated layer says groups, base path and granularity; 2 groups, branch 1 and slices without one.
    """
    gated = next((layer for layer in like.layers if layer.gated), None)
    groups, branch, slice_size = 2, 1, LANES
    base_groups: tuple[int, ...] = ()
    if gated is not None:
        groups, branch, base_groups, slice_size = gated.groups, gated.branch, gated.base_groups, gated.slice_size
    width = groups * max(LANES, params.in_par)
    rng = torch.Generator().manual_seed(_seed("network"))
    images = _integers(rng, 0, 256, 2, MOST, MOST, 3).to(torch.uint8)
    images[0, :3, :3] = 255
    maps = {IMAGE: images.permute(0, 3, 1, 2).to(torch.int64)}
    layers: list[IntLayer] = []

    def add(name: str, source: str, kernel: int = 3, *, stride: int = 1, residual: str = "", relu: bool = True,
            ends: bool = False) -> None:  # fmt: skip
        decides = name.startswith("gated")
        ifmap, added = maps[source], maps[residual] if residual else None
        template = IntLayer(
            name=name,
            kind="conv",
            weight=torch.zeros(width, ifmap.shape[1], kernel, kernel, dtype=torch.int8),
            stride=stride,
            pad=kernel // 2,
            pad_code=(125, 122, 114) if source == IMAGE else (),
            groups=groups if decides else 1,
            branch=branch if decides else 1,
            base_groups=base_groups if decides else (),
            gated=decides,
            slice_size=slice_size if decides else LANES,
            K=torch.zeros(width // slice_size, dtype=torch.int32) if decides else None,
            M=torch.ones(width, dtype=torch.int16),
            B=torch.zeros(width, dtype=torch.int64),
            S=1,
            lo=0 if relu else -128,
            hi=255 if relu else 127,
            input=source,
            residual=residual or None,
            residual_signed=residual == "down",
        )
        layer = stress_layer(template, ifmap, added, rng, template.slice_size, ends)
        layers.append(layer)
        maps[name] = IntNetwork.run_layer(layer, ifmap, added, GateMode.GATED).ofmap

    add("stem", IMAGE)
    layers.append(pool_layer("pool", width, 3, 1, 1, "stem"))
    maps["pool"] = IntNetwork.run_layer(layers[-1], maps["stem"], None, GateMode.GATED).ofmap
    add("gated1", "pool")
    add("gated2", "gated1", stride=2)
    add("down", "gated1", 1, stride=2, relu=False)
    add("gated3", "gated2", residual="down")
    add("gated4", "gated3", residual="gated3", ends=True)
    template = IntLayer(
        name="fc", kind="fc", weight=torch.zeros(10, width, dtype=torch.int8), M=torch.ones(10, dtype=torch.int16),
        B=torch.zeros(10, dtype=torch.int64), S=0, lo=INT32_MIN, hi=INT32_MAX, input="gated4",
    )  # fmt: skip
    layers.append(stress_layer(template, maps["gated4"], None, rng, LANES))
    return IntNetwork(tuple(layers)), images.numpy()
