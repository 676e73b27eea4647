"""An untrained network in integers, calibrated on the default photographs: for bring-up and fast tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sw_model.data.photographs import PHOTOGRAPHS, photographs
from sw_model.integer.layer import IMAGE
from sw_model.integer.network import IntNetwork
from sw_model.quantisation.builder import build_network
from sw_model.quantisation.plan import resnet_plan
from sw_model.quantisation.real_layer import RealLayer, RealPool, average_pool

__all__ = ["random_network"]

#: Codes of the images' mean, by the number of colours.
_ZERO = {1: (255 * 0.48,), 3: tuple(255 * mean for mean in (0.49, 0.48, 0.45))}


def random_network(
    width: float = 1.0,
    seed: int = 0,
    groups: int = 4,
    branch: int = 1,
    slice_size: int = 8,
    sparsity: float = 0.7,
    classes: int = 10,
    blocks: int | Sequence[int] = 2,
    images: Any = None,
    plan: Sequence[Mapping[str, Any]] | None = None,
    base_groups: Sequence[int] = (),
) -> IntNetwork:
    """Build an untrained ResNet-18 with lively maps, for bring-up and fast tests.

    Weights, gammas (one in ten negative) and betas are random; BatchNorm's statistics and the thresholds come from the
    calibration images, so that maps are neither saturated nor empty and slices have sparsities around the wanted one.

    Parameters
    ----------
    width
        Factor on the channels.
    seed
        Seed of everything random.
    groups
        Gating groups G.
    branch
        1 or 2.
    slice_size
        8, or 1 for decisions per channel.
    sparsity
        Mean over the slices of a layer of the wanted share of decisions that are 0; slices spread by 0.2.
    classes
        Number of classes.
    blocks
        Blocks per stage, 2 in ResNet-18; or of each stage, (3, 4, 6, 3) in ResNet-34.
    images
        (N, H, W, 3) uint8 calibration images; default: all photographs of `sw_model.data.photographs`.
    plan
        Convolutions as `sw_model.quantisation.plan.resnet_plan` lists them, for another network than a ResNet;
        width and blocks are of no effect then. A ``pad`` is half of the kernel if it is not given. A max-pooling has
        ``window``, ``stride``, ``pad``, ``name`` and ``input``, an average pooling ``average`` (its window), ``name``
        and ``input``. The channels of the images are those that the first convolution reads.
    base_groups
        Input group of each output group's base path, where it is another than the branch says.

    Returns
    -------
    IntNetwork
        The network.
    """
    plan = resnet_plan(width, blocks) if plan is None else plan
    colours = next((conv["in_ch"] for conv in plan if conv["input"] == IMAGE and "in_ch" in conv), 3)
    if images is None:
        images = photographs(len(PHOTOGRAPHS), channels=colours)
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    layers: list[RealLayer | RealPool] = []
    channels = {IMAGE: colours}  # of the maps
    for conv in plan:
        if "window" in conv:
            layers.append(RealPool(**conv))
            channels[conv["name"]] = channels[conv["input"]]
            continue
        if "average" in conv:
            layers.append(average_pool(conv["name"], channels[conv["input"]], conv["average"], conv["input"]))
            channels[conv["name"]] = channels[conv["input"]]
            continue
        out_ch, in_ch, kernel, gated = conv["out_ch"], conv["in_ch"], conv["kernel"], conv["gated"]
        channels[conv["name"]] = out_ch
        sign = torch.where(torch.rand(out_ch, generator=rng) < 0.1, -1.0, 1.0).to(torch.float64)
        slices = out_ch // slice_size
        spread = (torch.rand(slices, generator=rng, dtype=torch.float64) - 0.5) * 0.4
        layers.append(RealLayer(
            name=conv["name"], weight=normal(out_ch, in_ch, kernel, kernel) * normal(out_ch, 1, 1, 1).abs().add(0.5),
            gain=sign * (0.7 + 0.2 * normal(out_ch).abs()), offset=0.3 * normal(out_ch),
            stride=conv["stride"], pad=conv.get("pad", kernel // 2), relu=conv["relu"],
            groups=groups if gated else 1, branch=branch, base_groups=tuple(base_groups) if gated else (),
            slice_size=slice_size, sparsity=(sparsity + spread).clamp(0.02, 0.98) if gated else None,
            standardize=True, input=conv["input"], residual=conv["residual"],
            zero=torch.tensor(_ZERO[colours], dtype=torch.float64) if conv["input"] == IMAGE else None,
        ))  # fmt: skip
    final = layers[-1].name
    layers.append(RealLayer(
        name="fc", weight=normal(classes, channels[final]) * 0.05, gain=torch.ones(classes, dtype=torch.float64),
        offset=normal(classes) * 0.1, input=final,
    ))  # fmt: skip
    meta = {
        "width": width,
        "groups": groups,
        "branch": branch,
        "granularity": "slice" if slice_size == 8 else "channel",
        "classes": [str(i) for i in range(classes)],
        "trained": False,
        "seed": seed,
        "image_size": list(images.shape[1:3]),
    }
    return build_network(layers, images, meta)
