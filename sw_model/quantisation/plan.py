"""The layers of the CIFAR ResNet: names, shapes and connections, in the order in which the engine runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sw_model.integer.layer import IMAGE

__all__ = ["resnet_plan"]


def resnet_plan(
    width: float = 1.0, blocks: int | Sequence[int] = 2, channels: Sequence[int] = (64, 128, 256, 512)
) -> list[dict[str, Any]]:
    """List the convolutions of the CIFAR ResNet in execution order, each with its shape and connections.

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

    Returns
    -------
    list[dict[str, Any]]
        Dicts with name, in_ch, out_ch, kernel, stride, relu, gated, input and residual.
    """
    channels = [int(c * width) for c in channels]
    blocks = [blocks] * len(channels) if isinstance(blocks, int) else blocks
    plan: list[dict[str, Any]] = [
        dict(name="conv1", in_ch=3, out_ch=channels[0], kernel=3, stride=1, relu=True, gated=False, input=IMAGE,
             residual=None)
    ]  # fmt: skip
    source, in_ch = "conv1", channels[0]
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
