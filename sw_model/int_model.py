"""The integer golden model: a whole quantised network on the exact operators, with a tap at every layer.

An `IntNetwork` is a list of `IntLayer` in execution order. Every number a layer needs is an integer stored in it; how
the integers were found is the business of `sw_model.quantize`. Validation here proves that no sum of the hardware
overflows, whatever the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from . import int_ops

__all__ = ["IMAGE", "MODES", "IntLayer", "IntNetwork", "Result", "Tap", "random_network"]

#: Name of the network's input where a layer's `input` is meant.
IMAGE = "image"
#: gated: decisions by threshold; dense: always fire; base: never fire; forced: masks are given.
MODES = ("gated", "dense", "base", "forced")


@dataclass(frozen=True, kw_only=True, eq=False)
class IntLayer:
    """One layer of the engine, in integers.

    Attributes:
        name: Name of the layer and of its ofmap, as ``conv3_2``.
        kind: "conv", or "fc" for average pooling and classifier in one.
        weight: int8 in [-127, 127]; (O, I, kh, kw), for "fc" (classes, C).
        stride: Step in both directions.
        pad: Rows and columns added on every side.
        pad_code: Code of the padding, one per input channel; 0 but for the stem.
        groups: Gating groups G; 1 in an ungated layer.
        branch: 1 (base path diagonal) or 2 (inverse diagonal).
        gated: Whether the conditional path depends on a decision.
        slice_size: Output channels that share a decision: 8, or 1 for a decision per channel.
        K: (O / slice_size,), int32 thresholds, or None in an ungated layer.
        M: (O,), int16 multipliers; ones in "fc".
        B: (O,), int64 holding int48 offsets; in "fc" the int32 bias.
        S: Right shift, 1 to 40; 0 in "fc", which does not requantise.
        R0: uint16 factor of the residual, 0 without one.
        Q: Left shift of R0, 0 to 31.
        lo: Least ofmap code: 0 with ReLU, -128 without; in "fc" -2^31.
        hi: Greatest ofmap code: 255 with ReLU, 127 without; in "fc" 2^31 - 1.
        input: Name of the layer whose ofmap is the ifmap, or `IMAGE`.
        residual: Name of the layer whose ofmap is added before ReLU, or None.
        residual_signed: Whether the residual's codes are int8 instead of uint8.

    Raises:
        ValueError: An attribute out of range; the message names the layer.
    """

    name: str
    kind: str
    weight: Tensor
    stride: int = 1
    pad: int = 0
    pad_code: tuple[int, ...] = ()
    groups: int = 1
    branch: int = 1
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
        return int(self.weight.shape[1]) if self.weight.ndim > 1 else 0

    @property
    def kernel(self) -> int:
        """Height and width of the kernel; 1 in "fc"."""
        return int(self.weight.shape[2]) if self.weight.ndim == 4 else 1

    @property
    def signed(self) -> bool:
        """Whether the ofmap's codes are int8 (no ReLU)."""
        return self.lo < 0

    def out_size(self, size: int) -> int:
        """Return the ofmap's height for an ifmap's height, or its width for a width."""
        return (size + 2 * self.pad - self.kernel) // self.stride + 1


def validate_layer(layer: IntLayer) -> None:
    """Check types, shapes, ranges and the overflow bounds of one layer.

    The bounds, for every channel c with sum|w| over its weights:
    ``255 * sum|w| < 2^31``, the same over a gated slice, and
    ``max_c(255 * sum|w| * |M[c]| + |B[c]|) + 255 * R0 * 2^Q + 2^(S-1) < 2^47``; for "fc"
    ``255 * sum|w| + |B[c]| < 2^31`` per position (`int_ops.classifier` checks it with the positions).

    Raises:
        ValueError: What is wrong, with the layer's name first.
    """
    require = _Require(layer.name)
    conv = layer.kind == "conv"
    require(layer.kind in ("conv", "fc"), f"kind must be conv or fc, not {layer.kind}")
    require(layer.weight.dtype == torch.int8, f"weight must be int8, not {layer.weight.dtype}")
    dims, shape = (4 if conv else 2), tuple(layer.weight.shape)
    require(len(shape) == dims and layer.weight.numel() > 0, f"weight must have {dims} dimensions, not shape {shape}")
    require(int(layer.weight.min()) >= -127, "weight codes must be in [-127, 127], not -128")
    require(not conv or shape[2] == shape[3], "kernel must be square")
    require(layer.stride >= 1, f"stride must be at least 1, not {layer.stride}")
    require(layer.pad >= 0, f"pad must not be negative, not {layer.pad}")
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
        require(layer.K is None and groups == 1, "K and groups must be absent in an ungated layer")
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
    base, _ = int_ops.split_weight(layer.weight, groups, layer.branch)
    saliency = base.to(torch.int64).abs().reshape(slices, -1).sum(1) * 255
    require(int(saliency.max()) < 2**31, "saliency must stay below 2^31: 255 * sum|base weight| is too large")


@dataclass(frozen=True, eq=False)
class Tap:
    """What one layer read, computed and wrote.

    Attributes:
        ifmap: (N, I, H, W), int64 codes.
        residual: (N, O, H', W'), int64 codes, or None.
        psum_base: (N, O, H', W'), int64: base psum; the whole psum in an ungated layer. (N, classes) in "fc".
        psum: Like psum_base: acc = base + fire * conditional psum, before bias and requantisation.
        decision: (N, O / slice_size, H', W'), bool, 1 = fire, or None in an ungated layer.
        ofmap: (N, O, H', W'), int64 codes; in "fc" the logits (N, classes).
    """

    ifmap: Tensor
    residual: Tensor | None
    psum_base: Tensor
    psum: Tensor
    decision: Tensor | None
    ofmap: Tensor


@dataclass(frozen=True, eq=False)
class Result:
    """Logits (N, classes), int64, and the taps by layer name."""

    logits: Tensor
    taps: dict[str, Tap]

    def classes(self) -> Tensor:
        """Return the predicted classes (N,), int64; a tie goes to the lowest class."""
        best = self.logits.amax(1, keepdim=True)
        return (self.logits == best).to(torch.int64).argmax(1)


@dataclass(frozen=True, eq=False)
class IntNetwork:
    """Layers in execution order and what describes them.

    Attributes:
        layers: Every layer after the ones it reads.
        meta: What JSON can hold: width, groups, gate_mode, classes, mean, std, scales, training facts.
        training: Float tensors from which training can be continued, see `sw_model.checkpoint`; may be empty.

    Raises:
        ValueError: A layer reads something that no earlier layer wrote, or shapes do not fit.
    """

    layers: tuple[IntLayer, ...]
    meta: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen: dict[str, IntLayer] = {}
        for layer in self.layers:
            if layer.name in seen or layer.name == IMAGE:
                raise ValueError(f"layer {layer.name}: name must be unique")
            source = seen.get(layer.input)
            if source is None and layer.input != IMAGE:
                raise ValueError(f"layer {layer.name}: input must be an earlier layer or {IMAGE}, not {layer.input}")
            channels = 3 if source is None else source.out_ch
            if layer.in_ch != channels:
                raise ValueError(f"layer {layer.name}: input channels must be {channels}, not {layer.in_ch}")
            if source is not None and (source.signed or source.kind == "fc"):
                raise ValueError(f"layer {layer.name}: input must have unsigned codes, unlike {source.name}")
            if layer.residual is not None:
                added = seen.get(layer.residual)
                if added is None or added.out_ch != layer.out_ch or added.signed != layer.residual_signed:
                    raise ValueError(f"layer {layer.name}: residual must be an earlier layer with {layer.out_ch} "
                                     f"channels and the sign of its flag, not {layer.residual}")  # fmt: skip
            seen[layer.name] = layer
        if not self.layers or self.layers[-1].kind != "fc":
            raise ValueError("last layer must be the classifier")

    @property
    def names(self) -> list[str]:
        """Names of the layers, in execution order."""
        return [layer.name for layer in self.layers]

    def layer(self, name: str) -> IntLayer:
        """Return a layer by name.

        Raises:
            ValueError: No such layer; the message lists those that are.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"layer must be one of {', '.join(self.names)}, not {name}")

    @torch.no_grad()
    def run(
        self,
        images: Any,
        mode: str = "gated",
        masks: Mapping[str, Tensor] | None = None,
        only: Iterable[str] | None = None,
    ) -> Result:
        """Run the network on raw images.

        Args:
            images: (N, H, W, 3), uint8 RGB, a tensor or an array.
            mode: One of `MODES`; ungated layers are dense in all of them.
            masks: For mode "forced": decision of every gated layer, (N, slices, H', W') bool, by name.
            only: Names of the layers whose taps are kept; None keeps all, an empty list none.

        Returns:
            Logits and taps.

        Raises:
            ValueError: Wrong images, mode, masks or names.
        """
        images = torch.as_tensor(images)
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"images must be uint8 of shape (N, H, W, 3), not {images.dtype} of {tuple(images.shape)}")
        wanted = set(self.names if only is None else [self.layer(name).name for name in only])
        last_use = {name: i for i, layer in enumerate(self.layers) for name in (layer.input, layer.residual) if name}
        maps = {IMAGE: images.permute(0, 3, 1, 2).to(torch.int64)}
        taps: dict[str, Tap] = {}
        for i, layer in enumerate(self.layers):
            residual = None if layer.residual is None else maps[layer.residual]
            tap = self.run_layer(layer, maps[layer.input], residual, mode, masks)
            maps[layer.name] = tap.ofmap
            if layer.name in wanted:
                taps[layer.name] = tap
            for name in (layer.input, layer.residual):
                if name and last_use[name] == i:
                    maps.pop(name, None)  # large batches: keep only what is still read
        return Result(maps[self.layers[-1].name], taps)

    @staticmethod
    @torch.no_grad()
    def run_layer(
        layer: IntLayer,
        ifmap: Tensor,
        residual: Tensor | None = None,
        mode: str = "gated",
        masks: Mapping[str, Tensor] | Tensor | None = None,
    ) -> Tap:
        """Run one layer on a given ifmap.

        Args:
            layer: The layer.
            ifmap: (N, I, H, W), integer codes 0 to 255.
            residual: (N, O, H', W') codes where the layer has one.
            mode: One of `MODES`.
            masks: For mode "forced": the decisions, or a mapping from layer name to them.

        Returns:
            The tap. In dense and base mode the decision of a gated layer is all 1 or all 0.

        Raises:
            ValueError: Wrong mode, masks or residual.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode}")
        if (layer.residual is None) != (residual is None):
            raise ValueError(f"layer {layer.name}: residual must be given exactly where the layer has one")
        ifmap = ifmap.to(torch.int64)
        if layer.kind == "fc":
            logits = int_ops.classifier(ifmap, layer.weight, layer.B)
            psum = logits - layer.B
            return Tap(ifmap, None, psum, psum, None, logits)
        decision: Tensor | None = None
        if layer.gated:
            base, psum = int_ops.gated_psums(ifmap, layer.weight, layer.stride, layer.pad, layer.groups, layer.branch)
            decision = _decide(layer, base, mode, masks)
            if not bool(decision.all()):
                psum = torch.where(decision.repeat_interleave(layer.slice_size, 1), psum, base)
        else:
            base = psum = int_ops.conv2d(ifmap, layer.weight, layer.stride, layer.pad, layer.pad_code)
        if residual is not None:
            residual = residual.to(torch.int64)
            lo, hi = (-128, 127) if layer.residual_signed else (0, 255)
            if residual.shape != psum.shape or int(residual.min()) < lo or int(residual.max()) > hi:
                raise ValueError(f"layer {layer.name}: residual must hold codes of [{lo}, {hi}] in the ofmap's shape")
        ofmap = int_ops.requantize(
            psum, layer.M, layer.B, layer.S, residual, layer.R0, layer.Q, layer.lo, layer.hi
        )  # fmt: skip
        return Tap(ifmap, residual, base, psum, decision, ofmap)


def _decide(layer: IntLayer, base: Tensor, mode: str, masks: Mapping[str, Tensor] | Tensor | None) -> Tensor:
    n, _, height, width = base.shape
    shape = (n, layer.out_ch // layer.slice_size, height, width)
    if mode == "dense":
        return torch.ones(shape, dtype=torch.bool)
    if mode == "base":
        return torch.zeros(shape, dtype=torch.bool)
    if mode == "forced":
        mask = masks if isinstance(masks, Tensor) or masks is None else masks.get(layer.name)
        if mask is None or mask.dtype != torch.bool or tuple(mask.shape) != shape:
            raise ValueError(f"layer {layer.name}: mask must be bool of shape {shape} in mode forced")
        return mask
    if layer.K is None:
        raise ValueError(f"layer {layer.name}: K must be given in a gated layer")
    if layer.slice_size == 1:
        return int_ops.decide_channels(base, layer.K)
    return int_ops.decide_slices(base, layer.K, layer.slice_size)


def random_network(width: float = 1.0, seed: int = 0, groups: int = 4, **options: Any) -> IntNetwork:
    """Build an untrained ResNet-18, see `sw_model.random_network.random_network`."""
    from . import random_network as builder  # imported late: it builds on this module

    return builder.random_network(width=width, seed=seed, groups=groups, **options)


#: Scalar attributes of a layer, in the order in which a checkpoint lists them.
SCALAR_FIELDS = tuple(f.name for f in fields(IntLayer) if f.name not in ("weight", "K", "M", "B"))
