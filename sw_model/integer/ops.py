"""Bit-accurate integer operators: the arithmetic that the engine's Verilog has to equal.

Every result is an exact integer. Convolutions are those of `sw_model.integer.convolution`; everything else is
int64. A value that leaves the width which the hardware has for it (int32 psum, int48 requantiser sum) raises
`OverflowError` instead of wrapping.

Shapes are NCHW for maps and OIHW for weights. Activation codes are uint8 values, weight codes int8 in [-127, 127].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sw_model.integer.convolution import CODE_MAX, check_codes, convolve, pad_map

__all__ = [
    "INT32_MAX", "INT32_MIN", "base_psum", "classifier", "decide_channels",
    "decide_slices", "gated_psums", "max_pool", "requantize", "split_weight",
]  # fmt: skip

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
_INT48_LIMIT = 2**47


def _check_groups(weight: Tensor, groups: int) -> None:
    out_ch, in_ch = weight.shape[:2]
    if groups < 1 or out_ch % groups or in_ch % groups:
        raise ValueError(f"groups must divide the channels {in_ch} and {out_ch}, not be {groups}")


def split_weight(weight: Tensor, base_groups: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Split a weight into the base path's and the conditional path's, each of full shape with zeros elsewhere.

    With base groups (0, 1) a weight [[a, b], [c, d]] of blocks becomes [[a, 0], [0, d]] and [[0, b], [c, 0]]; (1, 0)
    swaps the two. With one group everything is base.

    Parameters
    ----------
    weight
        (O, I, kh, kw); O and I divisible by the number of groups.
    base_groups
        For each output group the input group that its base path reads, see `cdgate.base_path.base_input_groups`.

    Returns
    -------
    tuple[Tensor, Tensor]
        Base and conditional weight; their sum is the weight.
    """
    groups = len(base_groups)
    _check_groups(weight, groups)
    out_ch, in_ch = weight.shape[:2]
    base = torch.zeros_like(weight)
    rows, cols = out_ch // groups, in_ch // groups
    for i, j in enumerate(base_groups):
        block = (slice(i * rows, (i + 1) * rows), slice(j * cols, (j + 1) * cols))
        base[block] = weight[block]
    return base, weight - base


def gated_psums(x: Tensor, weight: Tensor, stride: int, pad: int, base_groups: Sequence[int]) -> tuple[Tensor, Tensor]:
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
    base_groups
        As of `split_weight`.

    Returns
    -------
    tuple[Tensor, Tensor]
        Two (N, O, H', W') int64 tensors in int32 range: base psum and base + conditional psum.
    """
    spans = _group_spans(x, weight, base_groups)
    padded = pad_map(x, pad, ())
    groups = len(base_groups)
    bases: list[Tensor] = [torch.empty(0)] * groups
    full: Tensor | None = None
    for group in range(groups):
        inputs = slice(group * x.shape[1] // groups, (group + 1) * x.shape[1] // groups)
        partial = convolve(padded[:, inputs], weight[:, inputs], stride)
        for number, (_, outputs) in enumerate(spans):
            if base_groups[number] == group:
                bases[number] = partial[:, outputs].to(torch.int64)
        full = partial if full is None else full.add_(partial)
    if full is None:
        raise ValueError("groups must be at least 1")
    return torch.cat(bases, 1), full.to(torch.int64)


def base_psum(x: Tensor, weight: Tensor, stride: int, pad: int, base_groups: Sequence[int]) -> Tensor:
    """Return the base psum of `gated_psums` alone, at 1/G of its cost."""
    spans = _group_spans(x, weight, base_groups)
    padded = pad_map(x, pad, ())
    parts = [convolve(padded[:, inputs], weight[outputs, inputs], stride) for inputs, outputs in spans]
    return torch.cat(parts, 1).to(torch.int64)


def _group_spans(x: Tensor, weight: Tensor, base_groups: Sequence[int]) -> list[tuple[slice, slice]]:
    """Check the operands and list, by output group, its base path's input channels and its output channels."""
    check_codes(x, 0, CODE_MAX, "activation codes")
    check_codes(weight, -127, 127, "weight codes")
    groups = len(base_groups)
    _check_groups(weight, groups)
    # Checked over all input channels: _convolve sees one group of them at a time.
    if int(weight.to(torch.int64).abs().sum((1, 2, 3)).max()) * CODE_MAX > INT32_MAX:
        raise OverflowError("psum must fit int32: 255 * sum|weight| of an output channel reaches 2^31")
    rows, cols = weight.shape[0] // groups, weight.shape[1] // groups
    spans = []
    for i, j in enumerate(base_groups):
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
    check_codes(k, INT32_MIN, INT32_MAX, "thresholds")
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
    check_codes(acc, INT32_MIN, INT32_MAX, "acc")
    check_codes(M, -(2**15), 2**15 - 1, "M")
    check_codes(B, -_INT48_LIMIT, _INT48_LIMIT - 1, "B")
    total = acc.to(torch.int64) * M.to(torch.int64).reshape(1, -1, 1, 1)
    total += B.to(torch.int64).reshape(1, -1, 1, 1) + 2 ** (S - 1)
    if residual is not None:
        check_codes(residual, -128, 255, "residual codes")
        total += residual.to(torch.int64) * (R0 << Q)
    least, greatest = total.aminmax()
    if int(least) < -_INT48_LIMIT or int(greatest) >= _INT48_LIMIT:
        raise OverflowError("requantiser sum must fit int48")
    return (total >> S).clamp_(lo, hi)


def max_pool(x: Tensor, window: int, stride: int, pad: int, lo: int = 0, hi: int = 255) -> Tensor:
    """Max-pooling: the greatest code of the taps that lie in the map. Padding never is the greatest, as it is no tap.

    Parameters
    ----------
    x
        (N, C, H, W), integer codes.
    window
        Rows and columns of the window.
    stride
        Step in both directions.
    pad
        Rows and columns by which windows reach beyond the map on every side, less than the window.
    lo
        Least code, 0 or -128.
    hi
        Greatest code, 255 or 127.

    Returns
    -------
    Tensor
        (N, C, H', W'), int64, codes in [lo, hi].

    Raises
    ------
    ValueError
        A code out of range, or a map smaller than the window.
    """
    check_codes(x, lo, hi, "activation codes")
    if min(x.shape[2:]) + 2 * pad < window:
        raise ValueError(f"map must have at least {window - 2 * pad} rows and columns, not {tuple(x.shape[2:])}")
    padded = F.pad(x.to(torch.int64), (pad,) * 4, value=lo - 1)
    return padded.unfold(2, window, stride).unfold(3, window, stride).amax((-2, -1))


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
    check_codes(x, 0, CODE_MAX, "activation codes")
    check_codes(weight, -127, 127, "weight codes")
    positions = x.shape[2] * x.shape[3]
    w, b = weight.to(torch.int64), bias.to(torch.int64)
    if int((CODE_MAX * positions * w.abs().sum(1) + b.abs()).max()) > INT32_MAX:
        raise OverflowError("logits must fit int32: 255 * positions * sum|weight| + |bias| reaches 2^31")
    return x.to(torch.int64).sum((2, 3)) @ w.T + b
