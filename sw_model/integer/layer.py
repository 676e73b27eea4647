"""One layer of the engine in integers, and the proof that none of its sums overflows, whatever the image."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from cdgate.base_path import base_input_groups
from sw_model.integer import ops as int_ops

__all__ = ["IMAGE", "SCALAR_FIELDS", "IntLayer", "check_name", "pool_layer", "validate_layer"]

#: Name of the network's input where a layer's `input` is meant.
IMAGE = "image"

#: Names that no layer can have: reports lie in folders that are called as the layers, beside those of all together.
RESERVED = frozenset({IMAGE, "all", "network", ".", ".."})

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

#: Greatest stride and padding: beyond it no map has a second pixel.
MOST = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class IntLayer:
    """One layer of the engine, in integers.

    Attributes
    ----------
    name
        Name of the layer and of its ofmap, as ``conv3_2``.
    kind
        "conv", "maxpool" for max-pooling, or "fc" for average pooling and classifier in one.
    weight
        int8 in [-127, 127]; (O, I, kh, kw), for "fc" (classes, C). A max-pooling has none: (C, 0, rows, columns of the
        window), without an element.
    stride
        Step in both directions.
    pad
        Rows and columns added on every side.
    pad_code
        Code of the padding, one per input channel; 0 but for the stem.
    groups
        Gating groups G; 1 in an ungated layer.
    branch
        1 (base path diagonal) or 2 (inverse diagonal).
    base_groups
        For each output group the input group of its base path, where it is another than the branch says; else empty.
    gated
        Whether the conditional path depends on a decision.
    slice_size
        Output channels that share a decision: 8, or 1 for a decision per channel.
    K
        (O / slice_size,), int32 thresholds, or None in an ungated layer.
    M
        (O,), int16 multipliers; ones in "fc", none in "maxpool".
    B
        (O,), int64 holding int48 offsets; in "fc" the int32 bias; none in "maxpool".
    S
        Right shift, 1 to 40; 0 in "fc" and "maxpool", which do not requantise.
    R0
        uint16 factor of the residual, 0 without one.
    Q
        Left shift of R0, 0 to 31.
    lo
        Least ofmap code: 0 with ReLU, -128 without; in "fc" -2^31, in "maxpool" the ifmap's.
    hi
        Greatest ofmap code: 255 with ReLU, 127 without; in "fc" 2^31 - 1, in "maxpool" the ifmap's.
    input
        Name of the layer whose ofmap is the ifmap, or `IMAGE`.
    residual
        Name of the layer whose ofmap is added before ReLU, or None.
    residual_signed
        Whether the residual's codes are int8 instead of uint8.

    Raises
    ------
    ValueError
        An attribute out of range; the message names the layer.
    """

    name: str
    kind: str
    weight: Tensor
    stride: int = 1
    pad: int = 0
    pad_code: tuple[int, ...] = ()
    groups: int = 1
    branch: int = 1
    base_groups: tuple[int, ...] = ()
    gated: bool = False
    slice_size: int = 8
    K: Tensor | None = None
    M: Tensor
    B: Tensor
    S: int
    R0: int = 0
    Q: int = 0
    lo: int = 0
    hi: int = 255
    input: str
    residual: str | None = None
    residual_signed: bool = False

    def __post_init__(self) -> None:
        if not self.pad_code:
            object.__setattr__(self, "pad_code", (0,) * self.in_ch)
        validate_layer(self)

    @property
    def out_ch(self) -> int:
        """Output channels, or classes."""
        return int(self.weight.shape[0])

    @property
    def in_ch(self) -> int:
        """Input channels."""
        if self.kind == "maxpool":
            return self.out_ch
        return int(self.weight.shape[1]) if self.weight.ndim > 1 else 0

    @property
    def kernel(self) -> int:
        """Height and width of the kernel, or of the window of "maxpool"; 1 in "fc"."""
        return int(self.weight.shape[2]) if self.weight.ndim == 4 else 1

    @property
    def base_inputs(self) -> tuple[int, ...]:
        """For each output group the input group that its base path reads."""
        return base_input_groups(self.groups, self.branch, self.base_groups)

    @property
    def signed(self) -> bool:
        """Whether the ofmap's codes are int8 (no ReLU)."""
        return self.lo < 0

    def ungated(self) -> IntLayer:
        """Return the layer without its gate, which computes what it does in dense mode."""
        return replace(self, gated=False, groups=1, branch=1, base_groups=(), K=None)

    def out_size(self, size: int) -> int:
        """Return the ofmap's height for an ifmap's height, or its width for a width."""
        return (size + 2 * self.pad - self.kernel) // self.stride + 1


def pool_layer(
    name: str, channels: int, window: int, stride: int, pad: int, source: str, *, signed: bool = False
) -> IntLayer:
    """Return a max-pooling.

    Parameters
    ----------
    name
        Its name.
    channels
        Of the map.
    window, stride, pad
        Rows and columns of the window, step, and rows and columns by which windows reach beyond the map on every side.
    source
        Name of the layer whose ofmap it reads, or `IMAGE`.
    signed
        Whether that has int8 codes.
    """
    lo, hi = (-128, 127) if signed else (0, 255)
    return IntLayer(
        name=name, kind="maxpool", weight=torch.zeros(channels, 0, window, window, dtype=torch.int8), stride=stride,
        pad=pad, M=torch.zeros(0, dtype=torch.int16), B=torch.zeros(0, dtype=torch.int64), S=0, lo=lo, hi=hi,
        input=source,
    )  # fmt: skip


def check_name(name: object) -> None:
    """Refuse what no layer can be called: a name becomes a folder of reports.

    Raises
    ------
    ValueError
        If it is no such name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in RESERVED:
        raise ValueError(
            "name of a layer must be 1 to 64 letters, digits and _ . -, and none of "
            f"{', '.join(sorted(RESERVED))}, not {ascii(name)[:80]}"
        )


def validate_layer(layer: IntLayer) -> None:
    """Check types, shapes, ranges and the overflow bounds of one layer.

    The bounds, for every channel c with sum|w| over its weights:
    ``255 * sum|w| < 2^31``, the same over a gated slice, and
    ``max_c(255 * sum|w| * |M[c]| + |B[c]|) + 255 * R0 * 2^Q + 2^(S-1) < 2^47``; for "fc"
    ``255 * sum|w| + |B[c]| < 2^31`` per position (`int_ops.classifier` checks it with the positions). A max-pooling
    adds nothing up.

    Raises
    ------
    ValueError
        What is wrong, with the layer's name first.
    """
    check_name(layer.name)
    require = _Require(layer.name)
    conv = layer.kind == "conv"
    require(layer.kind in ("conv", "maxpool", "fc"), f"kind must be conv, maxpool or fc, not {layer.kind}")
    require(layer.weight.dtype == torch.int8, f"weight must be int8, not {layer.weight.dtype}")
    if layer.kind == "maxpool":
        _validate_pool(layer, require)
        return
    dims, shape = (4 if conv else 2), tuple(layer.weight.shape)
    require(len(shape) == dims and layer.weight.numel() > 0, f"weight must have {dims} dimensions, not shape {shape}")
    require(int(layer.weight.min()) >= -127, "weight codes must be in [-127, 127], not -128")
    require(not conv or shape[2] == shape[3], "kernel must be square")
    require(1 <= layer.stride <= MOST, f"stride must be 1 to {MOST}, not {layer.stride}")
    require(0 <= layer.pad <= MOST, f"pad must be 0 to {MOST}, not {layer.pad}")
    codes_fit = len(layer.pad_code) == layer.in_ch and all(0 <= code <= 255 for code in layer.pad_code)
    require(codes_fit, "pad_code must hold one code of 0 to 255 per input channel")
    for name, tensor, dtype in (("M", layer.M, torch.int16), ("B", layer.B, torch.int64)):
        require.tensor(name, tensor, dtype, layer.out_ch)
    require(0 <= layer.R0 < 2**16, f"R0 must be uint16, not {layer.R0}")
    require(0 <= layer.Q < 32, f"Q must be 0 to 31, not {layer.Q}")
    require(layer.residual is not None or layer.R0 == 0, "R0 must be 0 without a residual")
    _validate_gate(layer, require)

    magnitude = layer.weight.to(torch.int64).abs().flatten(1).sum(1) * 255
    require(int(layer.B.max()) < 2**47 and int(layer.B.min()) >= -(2**47), "B must fit int48")
    if not conv:
        require(layer.S == 0 and bool((layer.M == 1).all()), "M must be 1 and S 0 in a classifier")
        require(int((magnitude + layer.B.abs()).max()) < 2**31, "logits must stay below 2^31")
        return
    require(1 <= layer.S <= 40, f"S must be 1 to 40, not {layer.S}")
    limits = (layer.lo, layer.hi)
    require(limits in ((0, 255), (-128, 127)), f"(lo, hi) must be (0, 255) or (-128, 127), not {limits}")
    require(int(magnitude.max()) < 2**31, "psum must stay below 2^31: 255 * sum|weight| is too large")
    bound = int((magnitude * layer.M.to(torch.int64).abs() + layer.B.abs()).max())
    bound += 255 * (layer.R0 << layer.Q) + 2 ** (layer.S - 1)
    require(bound < 2**47, f"requantiser sum must stay below 2^47, but its bound is {bound}")


def _validate_pool(layer: IntLayer, require: _Require) -> None:
    shape = tuple(layer.weight.shape)
    square = len(shape) == 4 and shape[2] == shape[3]
    require(square and shape[0] > 0 and shape[1] == 0, f"weight must be of shape (C, 0, window, window), not {shape}")
    require(1 <= layer.kernel <= MOST, f"window must be 1 to {MOST}, not {layer.kernel}")
    require(1 <= layer.stride <= MOST, f"stride must be 1 to {MOST}, not {layer.stride}")
    # Then every window has a tap in the map.
    require(
        0 <= layer.pad < layer.kernel, f"pad must be 0 to {layer.kernel - 1}, less than the window, not {layer.pad}"
    )
    require(not any(layer.pad_code), "pad_code must be 0 in a max-pooling, whose padding never counts")
    for name, tensor, dtype in (("M", layer.M, torch.int16), ("B", layer.B, torch.int64)):
        require.tensor(name, tensor, dtype, 0)
    factors = (layer.S, layer.R0, layer.Q, layer.residual)
    require(factors == (0, 0, 0, None), "S, R0 and Q must be 0 in a max-pooling, which adds no residual")
    limits = (layer.lo, layer.hi)
    require(limits in ((0, 255), (-128, 127)), f"(lo, hi) must be (0, 255) or (-128, 127), not {limits}")
    require(not layer.gated and layer.K is None and layer.groups == 1, "a max-pooling must not be gated")


class _Require:
    """Raises ValueError with the layer's name where a condition does not hold."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, condition: bool, text: str) -> None:
        if not condition:
            raise ValueError(f"layer {self.name}: {text}")

    def tensor(self, name: str, tensor: Tensor, dtype: torch.dtype, length: int) -> None:
        fits = tensor.dtype == dtype and tuple(tensor.shape) == (length,)
        self(fits, f"{name} must be {dtype} of shape ({length},), not {tensor.dtype} of {tuple(tensor.shape)}")


def _validate_gate(layer: IntLayer, require: _Require) -> None:
    groups, size = layer.groups, layer.slice_size
    require(layer.branch in (1, 2), f"branch must be 1 or 2, not {layer.branch}")
    if not layer.gated:
        absent = layer.K is None and groups == 1 and not layer.base_groups
        require(absent, "K and groups must be absent in an ungated layer")
        return
    require(layer.kind == "conv", "a classifier must not be gated")
    require(not any(layer.pad_code), "pad_code must be 0 in a gated layer")
    require(size in (1, 8), f"slice_size must be 8 or 1, not {size}")
    divides = groups >= 2 and layer.in_ch % groups == 0 and layer.out_ch % groups == 0
    require(divides, f"groups must divide the channels {layer.in_ch} and {layer.out_ch}, not be {groups}")
    per_group = layer.out_ch // groups
    require(per_group % size == 0, f"output channels per group must be a multiple of {size}, not {per_group}")
    slices = layer.out_ch // size
    if layer.K is None:
        raise ValueError(f"layer {layer.name}: K must be given in a gated layer")
    require.tensor("K", layer.K, torch.int32, slices)
    chosen = [number for number in layer.base_groups if type(number) is int and 0 <= number < groups]
    require(
        len(layer.base_groups) == len(chosen) in (0, groups),
        f"base_groups must be {groups} numbers of 0 to {groups - 1} or none, not {list(layer.base_groups)}",
    )
    base, _ = int_ops.split_weight(layer.weight, layer.base_inputs)
    saliency = base.to(torch.int64).abs().reshape(slices, -1).sum(1) * 255
    require(int(saliency.max()) < 2**31, "saliency must stay below 2^31: 255 * sum|base weight| is too large")


#: Scalar attributes of a layer, in the order in which a checkpoint lists them.
SCALAR_FIELDS = tuple(f.name for f in fields(IntLayer) if f.name not in ("weight", "K", "M", "B"))
