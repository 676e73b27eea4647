"""Bit-accurate integer operators: the arithmetic that the engine's Verilog has to equal.

Every result is an exact integer. Convolutions run on the float units of the CPU, in pieces small enough that no
rounding can happen (see `conv2d`); everything else is int64. A value that leaves the width which the hardware has for
it (int32 psum, int48 requantiser sum) raises `OverflowError` instead of wrapping.

Shapes are NCHW for maps and OIHW for weights. Activation codes are uint8 values, weight codes int8 in [-127, 127].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from cdgate.base_path import base_input_group

__all__ = [
    "INT32_MAX", "INT32_MIN", "base_psum", "classifier", "conv2d", "decide_channels",
    "decide_slices", "gated_psums", "requantize", "split_weight",
]  # fmt: skip

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
_INT48_LIMIT = 2**47
#: Integers up to this magnitude, and hence sums that stay below it, are exact in float32.
_FLOAT32_LIMIT = 2**24
_CODE_MAX = 255


def _check_codes(x: Tensor, lo: int, hi: int, what: str) -> None:
    if x.is_floating_point():
        raise TypeError(f"{what} must be integer codes, not {x.dtype}")
    if x.numel():
        least, greatest = (int(v) for v in x.aminmax())
        if least < lo or greatest > hi:
            raise ValueError(f"{what} must be in [{lo}, {hi}], not in [{least}, {greatest}]")


@cache
def _float32_convolution_is_exact() -> bool:
    """Compare float32 convolutions at the limit of exactness with int64 sums, once per process.

    A guard against a torch build that would convolve by Winograd or FFT or in a reduced precision: with those this
    check fails and `conv2d` falls back to float64 matrix products.
    """
    generator = torch.Generator().manual_seed(1)
    for in_ch, size, stride in ((56, 8, 1), (56, 9, 2), (16, 16, 1)):
        x = torch.randint(0, _CODE_MAX + 1, (2, in_ch, size, size), generator=generator)
        weight = torch.randint(-127, 128, (16, in_ch, 3, 3), generator=generator)
        x[0], weight[0] = _CODE_MAX, 127
        columns = F.unfold(x.double(), 3, stride=stride).long()
        expected = (weight.reshape(16, -1) @ columns).reshape(2, 16, *((x.shape[-1] - 3) // stride + 1,) * 2)
        if not torch.equal(_convolve_float32(x.float(), weight.float(), stride).long(), expected):
            return False
    return True


def _convolve_float32(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    # NNPACK convolves by Winograd and FFT, which round; autocast and TF32-like modes shorten the operands.
    with torch.autocast("cpu", enabled=False), torch.backends.nnpack.flags(enabled=False):
        return F.conv2d(x, weight, stride=stride)


def _convolve_float64(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    kernel = weight.shape[-2:]
    height, width = ((size - k) // stride + 1 for size, k in zip(x.shape[-2:], kernel, strict=True))
    columns = F.unfold(x.double(), kernel, stride=stride)
    return (weight.double().flatten(1) @ columns).reshape(x.shape[0], weight.shape[0], height, width)


def _pad(x: Tensor, pad: int, pad_code: Sequence[int]) -> Tensor:
    """Return float32 codes, padded on all four sides with each channel's code."""
    x = x.to(torch.float32)
    if pad == 0:
        return x
    if not any(pad_code):
        return F.pad(x, (pad,) * 4)
    n, channels, height, width = x.shape
    padded = torch.empty(n, channels, height + 2 * pad, width + 2 * pad)
    padded[:] = torch.tensor(pad_code, dtype=torch.float32).reshape(1, -1, 1, 1)
    padded[:, :, pad:-pad, pad:-pad] = x
    return padded


def _convolve(padded: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve float32 codes by int8 codes exactly, in pieces of the input channels; int32 sums."""
    in_ch = weight.shape[1]
    magnitude = weight.to(torch.int64).abs().sum((2, 3))  # (O, I)
    if int(magnitude.sum(1).max()) * _CODE_MAX > INT32_MAX:
        raise OverflowError("psum must fit int32: 255 * sum|weight| of an output channel reaches 2^31")
    kernels = weight.to(torch.float32)
    psum: Tensor | None = None
    start = 0
    while start < in_ch:
        # The longest run of channels whose partial sums all stay exact in float32, whatever the order of addition.
        running = magnitude[:, start:].cumsum(1).amax(0) * _CODE_MAX
        length = max(1, int((running <= _FLOAT32_LIMIT).sum()))
        piece, part = padded[:, start : start + length], kernels[:, start : start + length]
        if int(running[length - 1]) <= _FLOAT32_LIMIT and _float32_convolution_is_exact():
            result = _convolve_float32(piece, part, stride)
        else:
            result = _convolve_float64(piece, part, stride)
        psum = result.to(torch.int32) if psum is None else psum.add_(result.to(torch.int32))
        start += length
    if psum is None:
        raise ValueError("weight must have at least one input channel")
    return psum


def conv2d(x: Tensor, weight: Tensor, stride: int = 1, pad: int = 0, pad_code: Sequence[int] = ()) -> Tensor:
    """Convolve codes exactly: ``psum[n,o,y,x] = sum over i,ky,kx of code[n,i,...] * weight[o,i,ky,kx]``.

    Exactness: the input channels are cut into runs for which ``255 * sum|weight| <= 2^24`` in every output channel. All
    partial sums of such a run are integers of at most 24 bits, which float32 holds exactly, so neither the order of
    addition nor fused operations can round; the runs are added in int32. A run that does not fit (one input channel of
    a kernel larger than 22x22) is computed in float64, which is exact to 2^53.

    Parameters
    ----------
    x
        (N, I, H, W), integer dtype, codes 0 to 255.
    weight
        (O, I, kh, kw), int8, codes -127 to 127.
    stride
        Step in both directions.
    pad
        Rows and columns added on every side.
    pad_code
        Code of the padding, one per input channel; empty means 0.

    Returns
    -------
    Tensor
        (N, O, H', W'), int64, values in int32 range.

    Raises
    ------
    ValueError
        A code out of range.
    OverflowError
        255 * sum|weight| of an output channel reaches 2^31.
    """
    _check_codes(x, 0, _CODE_MAX, "activation codes")
    _check_codes(weight, -127, 127, "weight codes")
    return _convolve(_pad(x, pad, pad_code), weight, stride).to(torch.int64)


def _check_groups(weight: Tensor, groups: int) -> None:
    out_ch, in_ch = weight.shape[:2]
    if groups < 1 or out_ch % groups or in_ch % groups:
        raise ValueError(f"groups must divide the channels {in_ch} and {out_ch}, not be {groups}")


def split_weight(weight: Tensor, groups: int, branch: int) -> tuple[Tensor, Tensor]:
    """Split a weight into the base path's and the conditional path's, each of full shape with zeros elsewhere.

    With two groups and branch 1, a weight [[a, b], [c, d]] of blocks becomes [[a, 0], [0, d]] and [[0, b], [c, 0]];
    branch 2 swaps the two. With one group everything is base.

    Parameters
    ----------
    weight
        (O, I, kh, kw); O and I divisible by groups.
    groups
        Gating groups G.
    branch
        1 (diagonal) or 2 (inverse diagonal).

    Returns
    -------
    tuple[Tensor, Tensor]
        Base and conditional weight; their sum is the weight.
    """
    _check_groups(weight, groups)
    out_ch, in_ch = weight.shape[:2]
    base = torch.zeros_like(weight)
    rows, cols = out_ch // groups, in_ch // groups
    for i in range(groups):
        j = base_input_group(i, groups, branch)
        block = (slice(i * rows, (i + 1) * rows), slice(j * cols, (j + 1) * cols))
        base[block] = weight[block]
    return base, weight - base


def gated_psums(x: Tensor, weight: Tensor, stride: int, pad: int, groups: int, branch: int) -> tuple[Tensor, Tensor]:
    """Return the base psum and the full psum of a gated layer at the cost of one dense convolution.

    Equal to ``conv2d(x, base)`` and ``conv2d(x, base + conditional)`` of `split_weight`'s parts: the sums of the G
    input groups are computed apart, and each output group's base sum is one of them. Padding is code 0.

    Parameters
    ----------
    x
        (N, I, H, W), codes 0 to 255.
    weight
        (O, I, kh, kw), int8 codes.
    stride
        Step in both directions.
    pad
        Rows and columns of zeros on every side.
    groups
        Gating groups G.
    branch
        1 or 2.

    Returns
    -------
    tuple[Tensor, Tensor]
        Two (N, O, H', W') int64 tensors in int32 range: base psum and base + conditional psum.
    """
    spans = _group_spans(x, weight, groups, branch)
    padded = _pad(x, pad, ())
    bases: list[Tensor] = []
    full: Tensor | None = None
    for inputs, outputs in spans:
        partial = _convolve(padded[:, inputs], weight[:, inputs], stride)
        bases.append(partial[:, outputs].to(torch.int64))
        full = partial if full is None else full.add_(partial)
    if full is None:
        raise ValueError("groups must be at least 1")
    return torch.cat(bases, 1), full.to(torch.int64)


def base_psum(x: Tensor, weight: Tensor, stride: int, pad: int, groups: int, branch: int) -> Tensor:
    """Return the base psum of `gated_psums` alone, at 1/G of its cost."""
    spans = _group_spans(x, weight, groups, branch)
    padded = _pad(x, pad, ())
    parts = [_convolve(padded[:, inputs], weight[outputs, inputs], stride) for inputs, outputs in spans]
    return torch.cat(parts, 1).to(torch.int64)


def _group_spans(x: Tensor, weight: Tensor, groups: int, branch: int) -> list[tuple[slice, slice]]:
    """Check the operands and list, by output group, its base path's input channels and its output channels."""
    _check_codes(x, 0, _CODE_MAX, "activation codes")
    _check_codes(weight, -127, 127, "weight codes")
    _check_groups(weight, groups)
    # Checked over all input channels: _convolve sees one group of them at a time.
    if int(weight.to(torch.int64).abs().sum((1, 2, 3)).max()) * _CODE_MAX > INT32_MAX:
        raise OverflowError("psum must fit int32: 255 * sum|weight| of an output channel reaches 2^31")
    rows, cols = weight.shape[0] // groups, weight.shape[1] // groups
    spans = []
    for i in range(groups):
        j = base_input_group(i, groups, branch)
        spans.append((slice(j * cols, (j + 1) * cols), slice(i * rows, (i + 1) * rows)))
    return spans


def _fires(saliency: Tensor, threshold: Tensor) -> Tensor:
    # Symmetric limits: a saliency of -2^31 itself would break the promise that K = -2^31 always fires.
    least, greatest = saliency.aminmax()
    if int(least) <= INT32_MIN or int(greatest) > INT32_MAX:
        raise OverflowError("saliency must fit int32")
    k = threshold.to(torch.int64)
    if k.numel() != saliency.shape[1]:
        raise ValueError(f"thresholds must be one per saliency ({saliency.shape[1]}), not {k.numel()}")
    _check_codes(k, INT32_MIN, INT32_MAX, "thresholds")
    return saliency > k.reshape(1, -1, 1, 1)


def decide_slices(psum_base: Tensor, threshold: Tensor, slice_size: int = 8) -> Tensor:
    """Decide per slice: fire where the slice's sum of base psums is greater than its threshold.

    A tie does not fire: sums (4, 5, 6) against K = 5 give (0, 0, 1). K = -2^31 always fires, K = 2^31 - 1 never.

    Parameters
    ----------
    psum_base
        (N, O, H, W), int64.
    threshold
        (O / slice_size,), int32 values: K.
    slice_size
        Output channels of a slice.

    Returns
    -------
    Tensor
        (N, O / slice_size, H, W), bool.
    """
    n, out_ch, height, width = psum_base.shape
    if out_ch % slice_size:
        raise ValueError(f"output channels must be a multiple of the slice size {slice_size}, not {out_ch}")
    return _fires(psum_base.reshape(n, out_ch // slice_size, slice_size, height, width).sum(2), threshold)


def decide_channels(psum_base: Tensor, threshold: Tensor) -> Tensor:
    """Decide per channel: fire where a channel's base psum is greater than its threshold; a tie does not fire.

    Parameters
    ----------
    psum_base
        (N, O, H, W), int64.
    threshold
        (O,), int32 values.

    Returns
    -------
    Tensor
        (N, O, H, W), bool.
    """
    return _fires(psum_base, threshold)


def requantize(
    acc: Tensor,
    M: Tensor,
    B: Tensor,
    S: int,
    residual: Tensor | None = None,
    R0: int = 0,
    Q: int = 0,
    lo: int = 0,
    hi: int = 255,
) -> Tensor:
    """Turn psums into ofmap codes: ``clamp((acc * M + B + r * (R0 * 2^Q) + 2^(S-1)) >> S, lo, hi)``.

    The shift is arithmetic, so a half rounds up for both signs: with M = 1, B = 0, S = 1 and lo = -128, acc
    (-3, -1, 1, 3) gives (-1, 0, 1, 2).

    Parameters
    ----------
    acc
        (N, O, H, W), int64 in int32 range.
    M
        (O,), int16 values, the multiplier of each channel (negative where BatchNorm's gamma is).
    B
        (O,), int48 values.
    S
        Right shift, 1 to 40.
    residual
        (N, O, H, W), codes -128 to 255, or None.
    R0
        uint16 factor of the residual.
    Q
        Left shift of that factor, 0 to 31.
    lo
        Least code, 0 with ReLU and -128 without.
    hi
        Greatest code, 255 with ReLU and 127 without.

    Returns
    -------
    Tensor
        (N, O, H, W), int64, codes in [lo, hi].

    Raises
    ------
    ValueError
        A parameter out of range.
    OverflowError
        The sum does not fit int48.
    """
    if not 1 <= S <= 40:
        raise ValueError(f"S must be 1 to 40, not {S}")
    if not 0 <= R0 < 2**16 or not 0 <= Q < 32:
        raise ValueError(f"R0 must be uint16 and Q 0 to 31, not {R0} and {Q}")
    if (lo, hi) not in ((0, 255), (-128, 127)):
        raise ValueError(f"(lo, hi) must be (0, 255) or (-128, 127), not ({lo}, {hi})")
    _check_codes(acc, INT32_MIN, INT32_MAX, "acc")
    _check_codes(M, -(2**15), 2**15 - 1, "M")
    _check_codes(B, -_INT48_LIMIT, _INT48_LIMIT - 1, "B")
    total = acc.to(torch.int64) * M.to(torch.int64).reshape(1, -1, 1, 1)
    total += B.to(torch.int64).reshape(1, -1, 1, 1) + 2 ** (S - 1)
    if residual is not None:
        _check_codes(residual, -128, 255, "residual codes")
        total += residual.to(torch.int64) * (R0 << Q)
    least, greatest = total.aminmax()
    if int(least) < -_INT48_LIMIT or int(greatest) >= _INT48_LIMIT:
        raise OverflowError("requantiser sum must fit int48")
    return (total >> S).clamp_(lo, hi)


def classifier(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Average pooling and the fully connected layer: ``logit[k] = sum over p,c of x[p,c] * weight[k,c] + bias[k]``.

    The division by the number of positions is part of the logits' scale, so nothing is rounded.

    Parameters
    ----------
    x
        (N, C, H, W), codes 0 to 255.
    weight
        (classes, C), int8 codes, one scale for all classes.
    bias
        (classes,), int32 values.

    Returns
    -------
    Tensor
        (N, classes), int64 in int32 range.

    Raises
    ------
    OverflowError
        ``255 * H * W * sum|weight| + |bias|`` of a class reaches 2^31.
    """
    _check_codes(x, 0, _CODE_MAX, "activation codes")
    _check_codes(weight, -127, 127, "weight codes")
    positions = x.shape[2] * x.shape[3]
    w, b = weight.to(torch.int64), bias.to(torch.int64)
    if int((_CODE_MAX * positions * w.abs().sum(1) + b.abs()).max()) > INT32_MAX:
        raise OverflowError("logits must fit int32: 255 * positions * sum|weight| + |bias| reaches 2^31")
    return x.to(torch.int64).sum((2, 3)) @ w.T + b
