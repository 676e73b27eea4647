"""The layers of networks: names, shapes and connections, in the order in which the engine runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sw_model.integer.layer import IMAGE

__all__ = ["Plan", "lenet5_plan", "resnet_plan", "vgg11_plan"]

#: Layers as dicts; see `resnet_plan` of convolutions, `_pool` of a max-pooling.
Plan = list[dict[str, Any]]


def resnet_plan(
    width: float = 1.0,
    blocks: int | Sequence[int] = 2,
    channels: Sequence[int] = (64, 128, 256, 512),
    stem: str = "small",
) -> Plan:
    """List the layers of a ResNet but its classifier in execution order, each with its shape and connections.

    Layers are named as in the ResNet paper: convM_N is the N-th 3x3 convolution of stage M, downM a stage's 1x1
    shortcut. The shortcut runs between the two convolutions of its block.

    Parameters
    ----------
    width
        Factor on the channels.
    blocks
        Blocks of each stage, or of all of them: 2 in ResNet-18 and 1 in ResNet-10.
    channels
        Of the stages.
    stem
        "small" for images of 32x32: a 3x3 convolution. "large" for 224x224: 7x7 with stride 2, and a max-pooling.

    Returns
    -------
    list[dict[str, Any]]
        Dicts with name, in_ch, out_ch, kernel, stride, relu, gated, input and residual; of a max-pooling with name,
        window, stride, pad and input.
    """
    channels = [int(c * width) for c in channels]
    blocks = [blocks] * len(channels) if isinstance(blocks, int) else blocks
    kernel, stride = (3, 1) if stem == "small" else (7, 2)
    plan = [_conv("conv1", IMAGE, 3, channels[0], kernel, kernel // 2, stride=stride)]
    source, in_ch = "conv1", channels[0]
    if stem != "small":
        plan.append(_pool("pool1", source, 3, 2, 1))
        source = "pool1"
    for stage, (out_ch, count) in enumerate(zip(channels, blocks, strict=True), start=2):
        for block in range(count):
            first, second = f"conv{stage}_{2 * block + 1}", f"conv{stage}_{2 * block + 2}"
            stride = 2 if stage > 2 and block == 0 else 1
            shortcut = source
            conv = dict(kernel=3, relu=True, gated=True)
            plan.append(dict(conv, name=first, in_ch=in_ch, out_ch=out_ch, stride=stride, input=source, residual=None))
            if stride != 1 or in_ch != out_ch:
                shortcut = f"down{stage}"
                plan.append(dict(name=shortcut, in_ch=in_ch, out_ch=out_ch, kernel=1, stride=stride, relu=False,
                                 gated=False, input=source, residual=None))  # fmt: skip
            plan.append(dict(conv, name=second, in_ch=out_ch, out_ch=out_ch, stride=1, input=first, residual=shortcut))
            source, in_ch = second, out_ch
    return plan


def lenet5_plan() -> Plan:
    """List the layers of LeNet-5 on grey images of 28x28 but its last Linear layer, the classifier.

    Two unpadded 5x5 convolutions, each with a max-pooling behind it, and two Linear layers: the first is a convolution
    as large as its map, the second one of 1x1. ReLU is everywhere.
    """
    return [
        _conv("conv1", IMAGE, 1, 6, 5),
        _pool("pool1", "conv1"),
        _conv("conv2", "pool1", 6, 16, 5),
        _pool("pool2", "conv2"),
        _conv("fc1", "pool2", 16, 120, 4),
        _conv("fc2", "fc1", 120, 84, 1),
    ]


def vgg11_plan(width: float = 1.0) -> Plan:
    """List the layers of VGG-11 with BatchNorm for images of 32x32 but its only Linear layer, the classifier.

    Parameters
    ----------
    width
        Factor on the channels.
    """
    plan: Plan = []
    source, in_ch = IMAGE, 3
    for stage, widths in enumerate(((64,), (128,), (256, 256), (512, 512), (512, 512)), start=1):
        for number, channels in enumerate(widths, start=1):
            name, out_ch = f"conv{stage}_{number}", int(channels * width)
            plan.append(_conv(name, source, in_ch, out_ch, 3, 1, gated=source != IMAGE))
            source, in_ch = name, out_ch
        plan.append(_pool(f"pool{stage}", source))
        source = f"pool{stage}"
    return plan


def _conv(
    name: str, source: str, in_ch: int, out_ch: int, kernel: int, pad: int = 0, *, stride: int = 1, gated: bool = False
) -> dict[str, Any]:
    return dict(
        name=name, in_ch=in_ch, out_ch=out_ch, kernel=kernel, stride=stride, pad=pad, relu=True, gated=gated,
        input=source, residual=None,
    )  # fmt: skip


def _pool(name: str, source: str, window: int = 2, stride: int = 2, pad: int = 0) -> dict[str, Any]:
    return dict(name=name, window=window, stride=stride, pad=pad, input=source)
