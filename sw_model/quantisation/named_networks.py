"""Networks that a user can ask for by name: untrained ones, made when they are wanted, the same on every machine.

Weights are drawn from a seed, and thresholds are set for `SPARSITY` on the photographs, so cycles and exactness can be
seen on shapes that nobody has trained here. Their logits mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from cdgate.errors import UserError
from sw_model.data.photographs import photographs
from sw_model.integer.checkpoint import DEFAULT_CHECKPOINT, load
from sw_model.integer.network import IntNetwork
from sw_model.quantisation.plan import Plan, lenet5_plan, resnet_plan, vgg11_plan
from sw_model.quantisation.random_network import random_network

__all__ = ["NAMED", "SPARSITY", "NamedNetwork", "build_named", "chosen_network"]

#: Share of decisions that are 0 on the photographs: what the poster has for SCDG on ImageNet-100.
SPARSITY = 0.4552


@dataclass(frozen=True, kw_only=True)
class NamedNetwork:
    """What a name stands for.

    Attributes
    ----------
    title
        In words.
    plan
        Makes the list of its layers, see `sw_model.quantisation.plan`.
    classes
        Of its classifier.
    size
        Rows and columns of its images.
    channels
        Of its images, 3 or 1.
    photographs
        On which it is calibrated, from the first on.
    """

    title: str
    plan: Callable[[], Plan]
    classes: int = 10
    size: tuple[int, int] = (32, 32)
    channels: int = 3
    photographs: int = 8


#: The networks by name.
NAMED: Mapping[str, NamedNetwork] = MappingProxyType(
    {
        "lenet5": NamedNetwork(
            title="LeNet-5 for grey images of 28x28, without gates", plan=lenet5_plan, size=(28, 28), channels=1
        ),
        "vgg11": NamedNetwork(title="VGG-11 with BatchNorm for images of 32x32, SCDG", plan=vgg11_plan),
        "resnet20x4": NamedNetwork(
            title="ResNet-20 of four times the width for images of 32x32, SCDG",
            plan=lambda: resnet_plan(4, 3, (16, 32, 64)),
        ),
        "resnet34": NamedNetwork(
            title="ResNet-34 for images of 32x32, SCDG", plan=lambda: resnet_plan(1, (3, 4, 6, 3))
        ),
        "resnet18-imagenet100": NamedNetwork(
            title="ResNet-18 for images of 224x224 and 100 classes, SCDG",
            plan=lambda: resnet_plan(stem="large"),
            classes=100,
            size=(224, 224),
            photographs=2,
        ),
    }
)


def build_named(name: str) -> IntNetwork:
    """Return the network of a name.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    if name not in NAMED:
        raise UserError(f"network must be one of {', '.join(NAMED)}, not {name!r}")
    named = NAMED[name]
    network = random_network(
        plan=named.plan(),
        sparsity=SPARSITY,
        classes=named.classes,
        images=photographs(named.photographs, named.size, named.channels),
    )
    return replace(network, meta={**network.meta, "name": name, "title": named.title, "image_size": list(named.size)})


def chosen_network(checkpoint: str | Path | None, name: str | None) -> IntNetwork:
    """Return what a command's user asks for: a checkpoint, a named network, or the shipped one if neither is given.

    Raises
    ------
    UserError
        If both are given, or there is no such network.
    """
    if name is None:
        return load(DEFAULT_CHECKPOINT if checkpoint is None else checkpoint)
    if checkpoint is not None:
        raise UserError(f"network must be a checkpoint or one by name, not both: {checkpoint} and {name}")
    return build_named(name)
