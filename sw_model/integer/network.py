"""The integer golden model: a whole quantised network on the exact operators, with a tap at every layer.

An `IntNetwork` is a list of `IntLayer` in execution order. Every number a layer needs is an integer stored in it; how
the integers were found is the business of `sw_model.quantize`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from cdgate.errors import UserError
from cdgate.modes import GOLDEN_MODES, GateMode
from sw_model.integer import ops as int_ops
from sw_model.integer.convolution import conv2d
from sw_model.integer.layer import IMAGE, IntLayer

__all__ = ["IMAGE", "IntLayer", "IntNetwork", "Result", "Tap"]

#: Channels that an image can have: grey or the three colours.
IMAGE_CHANNELS = (1, 3)

#: Rows, and columns, of an image where a network does not tell them.
IMAGE_SIZE = 32


@dataclass(frozen=True, eq=False)
class Tap:
    """What one layer read, computed and wrote.

    Attributes
    ----------
    ifmap
        (N, I, H, W), int64 codes.
    residual
        (N, O, H', W'), int64 codes, or None.
    psum_base
        (N, O, H', W'), int64: base psum; the whole psum in an ungated layer. (N, classes) in "fc"; the ofmap in
        "maxpool", which adds nothing up.
    psum
        Like psum_base: acc = base + fire * conditional psum, before bias and requantisation.
    decision
        (N, O / slice_size, H', W'), bool, 1 = fire, or None in an ungated layer.
    ofmap
        (N, O, H', W'), int64 codes; in "fc" the logits (N, classes).
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

    Attributes
    ----------
    layers
        Every layer after the ones it reads.
    meta
        What JSON can hold: width, groups, granularity, classes, mean, std, scales, training facts; image_size, rows and
        columns of the images that it is made for.
    training
        Float tensors from which training can be continued, see `sw_model.integer.checkpoint`; may be empty.
    digest
        SHA-256 of the file that it was read from, in hexadecimal digits; empty if it was read from none.

    Raises
    ------
    ValueError
        A layer reads something that no earlier layer wrote, or shapes do not fit.
    """

    layers: tuple[IntLayer, ...]
    meta: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Tensor] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        seen: dict[str, IntLayer] = {}
        for layer in self.layers:
            if layer.name in seen:
                raise ValueError(f"layer {layer.name}: name must be unique")
            source = seen.get(layer.input)
            if source is None and layer.input != IMAGE:
                raise ValueError(f"layer {layer.name}: input must be an earlier layer or {IMAGE}, not {layer.input}")
            channels = self.image_channels if source is None else source.out_ch
            if layer.in_ch != channels:
                raise ValueError(f"layer {layer.name}: input channels must be {channels}, not {layer.in_ch}")
            if source is None and channels not in IMAGE_CHANNELS:
                raise ValueError(f"layer {layer.name}: image must have 1 or 3 channels, not {channels}")
            if source is not None and (source.kind == "fc" or (source.signed and layer.kind != "maxpool")):
                raise ValueError(f"layer {layer.name}: input must have unsigned codes, unlike {source.name}")
            if layer.kind == "maxpool" and layer.signed != (source is not None and source.signed):
                raise ValueError(f"layer {layer.name}: (lo, hi) must be those of its input, {layer.input}")
            if layer.residual is not None:
                added = seen.get(layer.residual)
                if added is None or added.out_ch != layer.out_ch or added.signed != layer.residual_signed:
                    raise ValueError(f"layer {layer.name}: residual must be an earlier layer with {layer.out_ch} "
                                     f"channels and the sign of its flag, not {layer.residual}")  # fmt: skip
            seen[layer.name] = layer
        if not self.layers or self.layers[-1].kind != "fc":
            raise ValueError("last layer must be the classifier")
        if not isinstance(self.meta, dict):
            raise ValueError(f"meta must be a dictionary, not {type(self.meta).__name__}")
        classes, count = self.meta.get("classes"), self.layers[-1].out_ch
        if classes is not None:
            named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
            if not named or len(classes) != count:
                raise ValueError(f"meta: classes must be a list of {count} names")
        size = self.meta.get("image_size", IMAGE_SIZE)
        sizes = size if isinstance(size, list) and len(size) == 2 else [size]
        if not all(type(length) is int and length > 0 for length in sizes):
            raise ValueError(
                f"meta: image_size must be rows and columns, or one number for both, not {ascii(size)[:80]}"
            )

    @property
    def image_channels(self) -> int:
        """Channels of an image: 1 in a network of grey images, else 3."""
        return next((layer.in_ch for layer in self.layers if layer.input == IMAGE), 3)

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns of the images that it is made for, by ``meta["image_size"]``; 32 of each if it has none."""
        size = self.meta.get("image_size", IMAGE_SIZE)
        rows, cols = size if isinstance(size, list) else (size, size)
        return rows, cols

    @property
    def names(self) -> list[str]:
        """Names of the layers, in execution order."""
        return [layer.name for layer in self.layers]

    def layer(self, name: str) -> IntLayer:
        """Return a layer by name.

        Raises
        ------
        ValueError
            No such layer; the message lists those that are.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"layer must be one of {', '.join(self.names)}, not {name}")

    def ungated(self) -> Self:
        """Return the network without its gates, which computes what it does in dense mode."""
        return replace(self, layers=tuple(layer.ungated() if layer.gated else layer for layer in self.layers))

    def run(
        self,
        images: Any,
        mode: str = GateMode.GATED,
        masks: Mapping[str, Tensor] | None = None,
        only: Iterable[str] | None = None,
    ) -> Result:
        """Run the network on raw images.

        Parameters
        ----------
        images
            (N, H, W, 3), uint8 RGB, or (N, H, W, 1) where the network is of grey images; a tensor or an array.
        mode
            One of `cdgate.modes.GOLDEN_MODES`; ungated layers are dense in all of them.
        masks
            For mode "forced": decision of every gated layer, (N, slices, H', W') bool, by name.
        only
            Names of the layers whose taps are kept; None keeps all, an empty list none.

        Returns
        -------
        Result
            Logits and taps.

        Raises
        ------
        ValueError
            Wrong images, mode, masks or names; as `UserError` what the network says of images of this size.
        """
        wanted = set(self.names if only is None else [self.layer(name).name for name in only])
        taps: dict[str, Tap] = {}
        for layer, tap in self.walk(images, mode, masks):
            if layer.name in wanted:
                taps[layer.name] = tap
            logits = tap.ofmap
        return Result(logits, taps)

    def walk(
        self, images: Any, mode: str = GateMode.GATED, masks: Mapping[str, Tensor] | None = None
    ) -> Iterator[tuple[IntLayer, Tap]]:
        """Run the network and yield every layer with its tap, holding no map longer than it is read; see `run`."""
        images = torch.as_tensor(images)
        channels = self.image_channels
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != channels:
            raise ValueError(
                f"images must be uint8 of shape (N, H, W, {channels}), not {images.dtype} of {tuple(images.shape)}"
            )
        self.map_sizes(images.shape[1], images.shape[2])
        last_use = {name: i for i, layer in enumerate(self.layers) for name in (layer.input, layer.residual) if name}
        maps = {IMAGE: images.permute(0, 3, 1, 2).to(torch.int64)}
        for i, layer in enumerate(self.layers):
            residual = None if layer.residual is None else maps[layer.residual]
            tap = self.run_layer(layer, maps[layer.input], residual, mode, masks)
            maps[layer.name] = tap.ofmap
            for name in (layer.input, layer.residual):
                if name and last_use[name] == i:
                    maps.pop(name, None)
            yield layer, tap

    def map_sizes(self, rows: int, cols: int) -> dict[str, tuple[int, int]]:
        """Return rows and columns of every ofmap for images of ``rows`` and ``cols``; those of "fc" are left out.

        Raises
        ------
        UserError
            A map is smaller than a kernel, or a residual is not of its ofmap's size.
        """
        sizes = {IMAGE: (rows, cols)}
        for layer in self.layers:
            if layer.kind == "fc":
                continue
            size = sizes[layer.input]
            out = (layer.out_size(size[0]), layer.out_size(size[1]))
            if min(out) < 1:
                raise UserError(f"layer {layer.name}: ifmap must be as large as the kernel, {layer.kernel} pixels, not "
                                f"{size[0]}x{size[1]} with a padding of {layer.pad}")  # fmt: skip
            if layer.residual is not None and sizes[layer.residual] != out:
                added = sizes[layer.residual]
                raise UserError(f"layer {layer.name}: residual must have the ofmap's {out[0]}x{out[1]} pixels, not "
                                f"{added[0]}x{added[1]}")  # fmt: skip
            sizes[layer.name] = out
        return sizes

    @staticmethod
    @torch.no_grad()
    def run_layer(
        layer: IntLayer,
        ifmap: Tensor,
        residual: Tensor | None = None,
        mode: str = GateMode.GATED,
        masks: Mapping[str, Tensor] | Tensor | None = None,
    ) -> Tap:
        """Run one layer on a given ifmap.

        Parameters
        ----------
        layer
            The layer.
        ifmap
            (N, I, H, W), integer codes 0 to 255; of a max-pooling in the range of its ofmap's.
        residual
            (N, O, H', W') codes where the layer has one.
        mode
            One of `cdgate.modes.GOLDEN_MODES`.
        masks
            For mode "forced": the decisions, or a mapping from layer name to them.

        Returns
        -------
        Tap
            The tap. In dense and base mode the decision of a gated layer is all 1 or all 0.

        Raises
        ------
        ValueError
            Wrong mode, masks or residual.
        """
        if mode not in GOLDEN_MODES:
            raise ValueError(f"mode must be one of {', '.join(GOLDEN_MODES)}, not {mode}")
        if (layer.residual is None) != (residual is None):
            raise ValueError(f"layer {layer.name}: residual must be given exactly where the layer has one")
        ifmap = ifmap.to(torch.int64)
        if layer.kind == "fc":
            try:
                logits = int_ops.classifier(ifmap, layer.weight, layer.B)
            except OverflowError as error:
                raise UserError(f"layer {layer.name}: {error}") from None
            psum = logits - layer.B
            return Tap(ifmap, None, psum, psum, None, logits)
        if layer.kind == "maxpool":
            greatest = int_ops.max_pool(ifmap, layer.kernel, layer.stride, layer.pad, layer.lo, layer.hi)
            return Tap(ifmap, None, greatest, greatest, None, greatest)
        decision: Tensor | None = None
        if not layer.gated:
            base = psum = conv2d(ifmap, layer.weight, layer.stride, layer.pad, layer.pad_code)
        else:
            geometry = (layer.stride, layer.pad, layer.base_inputs)
            if mode == GateMode.BASE:
                base = psum = int_ops.base_psum(ifmap, layer.weight, *geometry)
            else:
                base, psum = int_ops.gated_psums(ifmap, layer.weight, *geometry)
            decision = _decide(layer, base, mode, masks)
            if mode != GateMode.BASE and not bool(decision.all()):
                psum = torch.where(decision.repeat_interleave(layer.slice_size, 1), psum, base)
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
    if mode == GateMode.DENSE:
        return torch.ones(shape, dtype=torch.bool)
    if mode == GateMode.BASE:
        return torch.zeros(shape, dtype=torch.bool)
    if mode == GateMode.FORCED:
        mask = masks if isinstance(masks, Tensor) or masks is None else masks.get(layer.name)
        if mask is None or mask.dtype != torch.bool or tuple(mask.shape) != shape:
            raise ValueError(f"layer {layer.name}: mask must be bool of shape {shape} in mode forced")
        return mask
    if layer.K is None:
        raise ValueError(f"layer {layer.name}: K must be given in a gated layer")
    if layer.slice_size == 1:
        return int_ops.decide_channels(base, layer.K)
    return int_ops.decide_slices(base, layer.K, layer.slice_size)
