"""From a trained float network to the real-valued layers that the builder turns into integers, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cdgate.base_path import base_input_groups
from cdgate.errors import UserError
from sw_model.integer import checkpoint
from sw_model.integer.layer import IMAGE
from sw_model.integer.network import IntNetwork
from sw_model.integer.steps import LANES
from sw_model.network.gating import GatedConv2d
from sw_model.network.resnet import ResNet, current_arguments
from sw_model.network.weights import check_finite
from sw_model.quantisation.builder import build_network
from sw_model.quantisation.plan import resnet_plan
from sw_model.quantisation.real_layer import RealLayer, RealPool

__all__ = ["obstacle", "quantize", "real_layers", "restore_model"]


def _folded(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return gain and offset of a BatchNorm in eval mode, (channels,) float64 each."""
    if bn.running_var is None or bn.running_mean is None:
        raise UserError("BatchNorm must keep running statistics")
    gain = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    return gain, bn.bias.double() - gain * bn.running_mean.double()


def _threshold(conv: GatedConv2d, branch: int) -> Tensor:
    """Return the real threshold of the saliency: ``mean + tau * sqrt(var + eps)``, (units,) float64."""
    norm = conv.norm[branch - 1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    return norm.running_mean.double() + conv.tau.double() * (norm.running_var.double() + norm.eps).sqrt()


def obstacle(model: ResNet) -> str | None:
    """Return why the engine cannot run a network of this kind, or None if it can."""
    granularity, size = (model.hparams[key] for key in ("granularity", "slice_size"))
    if granularity in ("fbs", "dgc"):
        return f"network to quantise must be dense or gated by slice or channel, not {granularity}"
    if granularity == "slice" and size not in (1, LANES):
        return f"network to quantise must have slices of 1 or {LANES} channels, not {size}"
    return None


@torch.no_grad()
def real_layers(model: ResNet, branch: int = 1) -> list[RealLayer | RealPool]:
    """List a float network's layers with BatchNorm folded, in the engine's order.

    Parameters
    ----------
    model
        In eval mode; its running statistics are those of the branch.
    branch
        Whose base path gates, 1 or 2.

    Returns
    -------
    list[RealLayer | RealPool]
        Layers for `sw_model.quantisation.builder.build_network`.

    Raises
    ------
    UserError
        The engine has no such layers.
    CheckpointError
        A tensor of the network is not finite.
    """
    if reason := obstacle(model):
        raise UserError(reason)
    check_finite(model.state_dict(), "network to quantise")
    modules = {name: (conv, bn) for name, conv, bn in model.named_convs()}
    layers: list[RealLayer | RealPool] = []
    for entry in resnet_plan(1.0, model.stage_blocks, model.stage_channels, model.hparams["stem"]):
        if "window" in entry:
            layers.append(RealPool(**entry))
            continue
        conv, bn = modules[entry["name"]]
        assert isinstance(conv, nn.Conv2d | GatedConv2d) and isinstance(bn, nn.BatchNorm2d)
        gain, offset = _folded(bn)
        weight, zero = conv.weight.double(), None
        if entry["input"] == IMAGE:
            weight = weight / (255 * model.std.double().reshape(1, -1, 1, 1))
            zero = 255 * model.mean.double().flatten()
        gate: dict[str, Any] = {}
        if isinstance(conv, GatedConv2d) and conv.granularity != "dense":
            gate = dict(groups=conv.groups_gating, branch=branch, slice_size=conv.slice_size,
                        threshold=_threshold(conv, branch))  # fmt: skip
            if conv.base_groups[branch] != base_input_groups(conv.groups_gating, branch):  # where branches overlap
                gate["base_groups"] = conv.base_groups[branch]
        layers.append(RealLayer(
            name=entry["name"], weight=weight, gain=gain, offset=offset, stride=entry["stride"],
            pad=entry["kernel"] // 2, relu=entry["relu"], input=entry["input"], residual=entry["residual"], zero=zero,
            **gate,
        ))  # fmt: skip
    ones = torch.ones(model.fc.out_features, dtype=torch.float64)
    layers.append(RealLayer(name="fc", weight=model.fc.weight.double(), gain=ones, offset=model.fc.bias.double(),
                            input=layers[-1].name))  # fmt: skip
    return layers


def _weight_names(model: ResNet) -> dict[str, str]:
    """Return the name in the model's state of every layer's weight."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {name: names[id(conv.weight)] for name, conv, _ in model.named_convs()}
    return dict(found, fc="fc.weight")


@torch.no_grad()
def quantize(
    model: ResNet,
    calibration_images: Any,
    branch: int = 1,
    classes: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> IntNetwork:
    """Quantise a network to int8; its running statistics are taken as they are.

    Parameters
    ----------
    model
        The float network.
    calibration_images
        (N, H, W, 3), uint8: clean training images, at least 512 for a network in earnest.
    branch
        Whose base path gates, 1 or 2.
    classes
        Their names; numbers if not given.
    progress
        Called with every layer's name.

    Returns
    -------
    IntNetwork
        The integer network, with all that `restore_model` needs.

    Raises
    ------
    UserError
        See `real_layers`.
    """
    weights = _weight_names(model)
    meta = {
        "network": dict(model.hparams),
        "width": model.hparams["width"],
        "groups": model.hparams["groups"],
        "granularity": model.hparams["granularity"],
        "branch": branch,
        "classes": [str(name) for name in (classes or range(model.fc.out_features))],
        "mean": model.mean.flatten().tolist(),
        "std": model.std.flatten().tolist(),
        "weight_names": weights,
        "trained": True,
    }
    net = build_network(real_layers(model, branch), calibration_images, meta, progress=progress)
    kept = set(weights.values())
    state = {name: value for name, value in model.state_dict().items() if name not in kept}
    return IntNetwork(net.layers, net.meta, net.training | state)


def restore_model(net: IntNetwork) -> ResNet:
    """Return the float network of a checkpoint, with the weights as quantised, to train on or compare with.

    Raises
    ------
    CheckpointError
        The checkpoint carries no training state.
    """
    state = checkpoint.float_state(net)
    model = ResNet(**current_arguments(net.meta["network"]))
    model.load_state_dict(state)
    return model.eval()
