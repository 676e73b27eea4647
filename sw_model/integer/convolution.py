"""Exact integer convolutions on the float units of the CPU, in pieces small enough that no rounding can happen.

Maps are (N, C, rows, columns) codes 0 to 255, weights (O, I, rows, columns) codes -127 to 127.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CODE_MAX", "check_codes", "conv2d", "convolve", "pad_map"]

#: Greatest activation code.
CODE_MAX = 255

#: Integers up to this magnitude, and hence sums that stay below it, are exact in float32.
FLOAT32_LIMIT = 2**24


def check_codes(x: Tensor, lo: int, hi: int, what: str) -> None:
    """Refuse what are no integer codes from `lo` to `hi`; `what` names them in the message.

    Raises
    ------
    TypeError
        If they are floating-point numbers.
    ValueError
        If one is out of range.
    """
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
        x = torch.randint(0, CODE_MAX + 1, (2, in_ch, size, size), generator=generator)
        weight = torch.randint(-127, 128, (16, in_ch, 3, 3), generator=generator)
        x[0], weight[0] = CODE_MAX, 127
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


def pad_map(x: Tensor, pad: int, pad_code: Sequence[int]) -> Tensor:
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


def convolve(padded: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve float32 codes by int8 codes exactly, in pieces of the input channels; int32 sums."""
    in_ch = weight.shape[1]
    magnitude = weight.to(torch.int64).abs().sum((2, 3))  # (O, I)
    if int(magnitude.sum(1).max()) * CODE_MAX >= 2**31:
        raise OverflowError("psum must fit int32: 255 * sum|weight| of an output channel reaches 2^31")
    kernels = weight.to(torch.float32)
    psum: Tensor | None = None
    start = 0
    while start < in_ch:
        # The longest run of channels whose partial sums all stay exact in float32, whatever the order of addition.
        running = magnitude[:, start:].cumsum(1).amax(0) * CODE_MAX
        length = max(1, int((running <= FLOAT32_LIMIT).sum()))
        piece, part = padded[:, start : start + length], kernels[:, start : start + length]
        if int(running[length - 1]) <= FLOAT32_LIMIT and _float32_convolution_is_exact():
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
    check_codes(x, 0, CODE_MAX, "activation codes")
    check_codes(weight, -127, 127, "weight codes")
    return convolve(pad_map(x, pad, pad_code), weight, stride).to(torch.int64)
