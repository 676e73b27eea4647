"""From real-valued layers to integer ones: scales, thresholds and requantiser parameters, calibrated layer by layer.

`build_network` walks through the layers in execution order. It quantises a layer's weights, runs the integer layer on
the calibration images, chooses the ofmap's scale from the greatest value seen, and goes on with the codes so obtained:
every scale is chosen on what the integer network really computes. Real arithmetic is float64 and ends here; what counts
later are the integers (see `sw_model.integer.network`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cdgate.base_path import base_input_groups
from sw_model.integer import ops as int_ops
from sw_model.integer.convolution import conv2d
from sw_model.integer.layer import IMAGE, IntLayer, pool_layer
from sw_model.integer.network import IntNetwork
from sw_model.quantisation.real_layer import RealLayer, RealPool

__all__ = ["build_network", "integer_thresholds", "quantize_weight", "requantizer_parameters"]

_M_MAX = 2**15 - 1
_SUM_LIMIT = 2**47


def quantize_weight(weight: Tensor, slice_size: int = 8) -> tuple[Tensor, Tensor]:
    """Quantise weights with one scale per slice of output channels: ``code = round(w / scale)``, scale = max|w| / 127.

    Halves round to even: with scale 1, (0.5, 1.5, -0.5, 127) gives (0, 2, 0, 127).

    Parameters
    ----------
    weight
        (O, ...), float.
    slice_size
        Output channels that share a scale; the last slice may be shorter.

    Returns
    -------
    tuple[Tensor, Tensor]
        int8 codes in [-127, 127], same shape, and the scale of every output channel, (O,) float64. A slice of zeros
        has the scale 1.
    """
    flat = weight.to(torch.float64).flatten(1)
    peak = flat.abs().amax(1)
    scale = torch.cat([part.max().expand(len(part)) for part in peak.split(slice_size)]) / 127
    scale = torch.where(scale > 0, scale, 1.0)
    code = (flat / scale[:, None]).round().clamp_(-127, 127)
    return code.to(torch.int8).reshape(weight.shape), scale


def integer_thresholds(threshold: Tensor, unit: Tensor, slice_size: int) -> Tensor:
    """Turn thresholds on the mean of a slice into int32 ones on the integer sum: ``K = floor(size * t / unit)``.

    Flooring is exact: an integer exceeds t exactly if it exceeds floor(t). K saturates at int32.

    Parameters
    ----------
    threshold
        (slices,), real.
    unit
        (slices,), real value of one unit of the psum, s_x * s_w.
    slice_size
        Output channels of a slice.

    Returns
    -------
    Tensor
        (slices,), int32.
    """
    k = torch.floor(slice_size * threshold.to(torch.float64) / unit)
    k = torch.nan_to_num(k, nan=float(int_ops.INT32_MAX), posinf=float(int_ops.INT32_MAX),
                         neginf=float(int_ops.INT32_MIN))  # fmt: skip
    return k.clamp(int_ops.INT32_MIN, int_ops.INT32_MAX).to(torch.int32)


def requantizer_parameters(
    weight: Tensor, gain: Tensor, offset: Tensor, residual_gain: float
) -> tuple[Tensor, Tensor, int, int, int]:
    """Choose M, B, S, R0, Q for ``code = gain * acc + offset + residual_gain * r`` with the greatest S that fits.

    S is the largest of 1 to 40 for which every ``|round(gain * 2^S)|`` fits int16, R fits uint16 << 31, and the bound
    of the sum stays below 2^47.

    Parameters
    ----------
    weight
        (O, ...), int8 codes.
    gain
        (O,), codes of the ofmap per unit of psum.
    offset
        (O,), codes of the ofmap.
    residual_gain
        Codes of the ofmap per code of the residual; 0 without one.

    Returns
    -------
    tuple[Tensor, Tensor, int, int, int]
        M (O,) int16, B (O,) int64, S, R0, Q.

    Raises
    ------
    ValueError
        No shift fits.
    """
    magnitude = weight.to(torch.int64).abs().flatten(1).sum(1) * 255
    for shift in range(40, 0, -1):
        m, b, r = gain * 2**shift, offset * 2**shift, residual_gain * 2**shift
        if float(m.abs().max()) > _M_MAX or float(b.abs().max()) >= _SUM_LIMIT:
            continue
        q = max(0, math.ceil(math.log2(r / 0xFFFF))) if r > 0 else 0
        r0 = round(r / 2**q)
        if q > 31 or r0 > 0xFFFF:
            continue
        M, B = m.round().to(torch.int16), b.round().to(torch.int64)
        bound = int((magnitude * M.to(torch.int64).abs() + B.abs()).max()) + 255 * (r0 << q) + 2 ** (shift - 1)
        if bound < _SUM_LIMIT:
            return M, B, shift, r0, q
    raise ValueError("requantiser must fit int16 multipliers and an int48 sum: the gain or the offset is too large")


class _Calibration:
    """The calibration images' way through the network: codes of the maps still needed, and scales."""

    def __init__(self, images: Tensor, batch: int) -> None:
        self.batch = batch
        self.codes = {IMAGE: images.permute(0, 3, 1, 2).contiguous()}
        self.scale = {IMAGE: 1.0}

    def batches(self, name: str) -> Sequence[Tensor]:
        return [part.to(torch.int64) for part in self.codes[name].split(self.batch)]


def _stem_offset(layer: RealLayer, weight: Tensor, unit: Tensor) -> Tensor:
    """Offset of the stem: what the code of zero contributes, from the weights as quantised."""
    if layer.zero is None:
        return layer.offset
    taps = weight.to(torch.float64).sum((2, 3))  # (O, I)
    return layer.offset - layer.gain * unit * (taps @ layer.zero.to(torch.float64))


def _standardized(layer: RealLayer, sums: Sequence[Tensor], unit: Tensor) -> tuple[Tensor, Tensor]:
    values = torch.cat(list(sums)).to(torch.float64) * unit.reshape(1, -1, 1, 1)
    deviation, mean = torch.std_mean(values, (0, 2, 3), correction=0)
    gain = layer.gain / (deviation**2 + 1e-5).sqrt()
    return gain, layer.offset - gain * mean


def _quantile_thresholds(layer: RealLayer, base: Sequence[Tensor]) -> Tensor:
    """Thresholds that give each slice its wanted share of zeros on the calibration images."""
    if layer.sparsity is None:
        raise ValueError(f"layer {layer.name}: threshold or sparsity must be given")
    saliency = torch.cat([b.reshape(len(b), -1, layer.slice_size, *b.shape[2:]).sum(2) for b in base])
    ordered = saliency.transpose(0, 1).flatten(1).sort(1).values
    count = ordered.shape[1]
    rank = (layer.sparsity * count).long().clamp(1, count) - 1
    return ordered.gather(1, rank[:, None])[:, 0].clamp(int_ops.INT32_MIN, int_ops.INT32_MAX).to(torch.int32)


def _psums(layer: RealLayer, weight: Tensor, pad_code: tuple[int, ...], unit: Tensor,
           state: _Calibration) -> tuple[list[Tensor], Tensor | None]:  # fmt: skip
    """Run the integer convolution and the decisions over the calibration images; psums are kept as int32."""
    batches = state.batches(layer.input)
    if layer.groups == 1:
        return [conv2d(x, weight, layer.stride, layer.pad, pad_code).to(torch.int32) for x in batches], None
    base_groups = base_input_groups(layer.groups, layer.branch, layer.base_groups)
    pairs = [int_ops.gated_psums(x, weight, layer.stride, layer.pad, base_groups) for x in batches]
    if layer.threshold is None:
        K = _quantile_thresholds(layer, [base for base, _ in pairs])
    else:
        K = integer_thresholds(layer.threshold, unit[:: layer.slice_size], layer.slice_size)
    sums = []
    for base, full in pairs:
        fire = int_ops.decide_slices(base, K, layer.slice_size).repeat_interleave(layer.slice_size, 1)
        sums.append(torch.where(fire, full, base).to(torch.int32))
    return sums, K


def _build_conv(layer: RealLayer, state: _Calibration) -> tuple[IntLayer, Tensor]:
    weight, scale = quantize_weight(layer.weight)
    unit = scale * state.scale[layer.input]
    pad_code = () if layer.zero is None else tuple(int(code) for code in layer.zero.round())
    sums, K = _psums(layer, weight, pad_code, unit, state)
    if layer.standardize:
        gain, offset = _standardized(layer, sums, unit)
    else:
        gain, offset = layer.gain, _stem_offset(layer, weight, unit)

    shape = (1, -1, 1, 1)
    peak = 0.0
    residuals = [None] * len(sums) if layer.residual is None else state.batches(layer.residual)
    for acc, r in zip(sums, residuals, strict=True):
        y = acc * (gain * unit).reshape(shape) + offset.reshape(shape)
        if r is not None and layer.residual is not None:
            y = y + r * state.scale[layer.residual]
        peak = max(peak, float(y.max() if layer.relu else y.abs().max()))
    out_scale = peak / (255 if layer.relu else 127) or 1.0
    residual_gain = 0.0 if layer.residual is None else state.scale[layer.residual] / out_scale
    M, B, S, R0, Q = requantizer_parameters(weight, gain * unit / out_scale, offset / out_scale, residual_gain)
    lo, hi = (0, 255) if layer.relu else (-128, 127)
    integer = IntLayer(
        name=layer.name, kind="conv", weight=weight, stride=layer.stride, pad=layer.pad, pad_code=pad_code,
        groups=layer.groups, branch=layer.branch, base_groups=layer.base_groups, gated=layer.groups > 1,
        slice_size=layer.slice_size, K=K,
        M=M, B=B, S=S, R0=R0, Q=Q, lo=lo, hi=hi, input=layer.input, residual=layer.residual,
        residual_signed=layer.residual is not None and state.codes[layer.residual].dtype == torch.int8,
    )  # fmt: skip
    ofmaps = [
        int_ops.requantize(acc.to(torch.int64), M, B, S, r, R0, Q, lo, hi)
        for acc, r in zip(sums, residuals, strict=True)
    ]
    state.codes[layer.name] = torch.cat([codes.to(torch.uint8 if layer.relu else torch.int8) for codes in ofmaps])
    state.scale[layer.name] = out_scale
    return integer, scale


def _build_classifier(layer: RealLayer, state: _Calibration) -> tuple[IntLayer, Tensor]:
    classes = layer.weight.shape[0]
    weight, scale = quantize_weight(layer.weight, slice_size=classes)
    positions = state.codes[layer.input].shape[2] * state.codes[layer.input].shape[3]
    bias = (positions * layer.offset / (scale * state.scale[layer.input])).round().to(torch.int64)
    # The logit is `positions` times the mean's, so bounds that hold for the sum hold for every smaller map as well.
    bound = int((255 * positions * weight.to(torch.int64).abs().sum(1) + bias.abs()).max())
    if bound >= 2**31:
        raise ValueError(f"layer {layer.name}: logits must stay below 2^31, but their bound is {bound}")
    integer = IntLayer(
        name=layer.name, kind="fc", weight=weight, M=torch.ones(classes, dtype=torch.int16), B=bias, S=0,
        lo=int_ops.INT32_MIN, hi=int_ops.INT32_MAX, input=layer.input,
    )  # fmt: skip
    return integer, scale


def _build_pool(layer: RealPool, state: _Calibration) -> IntLayer:
    codes = state.codes[layer.input]
    integer = pool_layer(layer.name, codes.shape[1], layer.window, layer.stride, layer.pad, layer.input,
                         signed=codes.dtype == torch.int8)  # fmt: skip
    ofmaps = [
        int_ops.max_pool(x, layer.window, layer.stride, layer.pad, integer.lo, integer.hi)
        for x in state.batches(layer.input)
    ]
    state.codes[layer.name] = torch.cat([ofmap.to(codes.dtype) for ofmap in ofmaps])
    state.scale[layer.name] = state.scale[layer.input]
    return integer


@torch.no_grad()
def build_network(
    layers: Sequence[RealLayer | RealPool],
    images: Any,
    meta: dict[str, Any] | None = None,
    batch: int = 64,
    progress: Callable[[str], None] | None = None,
) -> IntNetwork:
    """Quantise a network of real-valued layers on calibration images.

    Parameters
    ----------
    layers
        In execution order, the classifier (a 2-D weight) last.
    images
        (N, H, W, 3), uint8 RGB.
    meta
        Goes into the network's; "scales" (real value of one code of every map) is added.
    batch
        Images computed at a time.
    progress
        Called with every layer's name.

    Returns
    -------
    IntNetwork
        The integer network; ``training`` holds ``scale.<layer>``, (O,) float32, the real value of one weight code, of
        each layer with weights.
    """
    state = _Calibration(torch.as_tensor(images), batch)
    built: list[IntLayer] = []
    scales: dict[str, Tensor] = {}
    for i, layer in enumerate(layers):
        if progress is not None:
            progress(layer.name)
        if isinstance(layer, RealPool):
            built.append(_build_pool(layer, state))
        else:
            integer, scale = (_build_conv if layer.weight.ndim == 4 else _build_classifier)(layer, state)
            built.append(integer)
            scales[f"scale.{layer.name}"] = scale.to(torch.float32)
        needed = {name for later in layers[i + 1 :] for name in (later.input, later.residual)}
        for name in set(state.codes) - needed:
            del state.codes[name]
    return IntNetwork(tuple(built), dict(meta or {}, scales=state.scale), scales)
