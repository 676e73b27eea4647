"""CIFAR ResNet-18 whose sixteen 3x3 block convolutions are gated.

He et al., "Deep Residual Learning for Image Recognition", 2016, table 1, with the usual changes for 32x32 images: a 3x3
stem of stride 1 and no max-pooling. Stem, 1x1 shortcuts and classifier are not gated.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sw_model.gating import BRANCHES, GatedConv2d

MEAN = (0.4914, 0.4822, 0.4465)  # of the CIFAR-10 training images, RGB, in [0, 1]
STD = (0.2470, 0.2435, 0.2616)
BLOCKS = {10: 1, 18: 2}  # depth: blocks per stage
STAGES = 4


class BasicBlock(nn.Module):
    """Residual block `relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))` with two gated convolutions.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        stride: Stride of `conv1` and of the shortcut.
        groups: Gating groups.
        slice_size: Output channels that share a decision in slice mode.
        gate_mode: "slice", "channel" or "dense".

    Attributes:
        down: 1x1 convolution of the shortcut, or None where the shortcut is the identity.
        down_bn: Its BatchNorm, or None.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, groups: int, slice_size: int, gate_mode: str
    ) -> None:
        super().__init__()
        self.conv1 = GatedConv2d(in_channels, out_channels, 3, stride, 1, groups, slice_size, gate_mode)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = GatedConv2d(out_channels, out_channels, 3, 1, 1, groups, slice_size, gate_mode)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.down: nn.Conv2d | None = None
        self.down_bn: nn.BatchNorm2d | None = None
        if stride != 1 or in_channels != out_channels:
            self.down = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.down_bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, branch: int = 1) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        y = torch.relu(self.bn1(self.conv1(x, branch)))
        y = self.bn2(self.conv2(y, branch))
        if self.down is not None and self.down_bn is not None:
            x = self.down_bn(self.down(x))
        return torch.relu(y + x)


class ResNet(nn.Module):
    """ResNet for small images with gated 3x3 convolutions.

    Args:
        width: Multiplier of the channel counts 64, 128, 256, 512.
        depth: 18, or 10 for one block per stage.
        groups: Gating groups G.
        slice_size: Output channels that share a decision in slice mode.
        gate_mode: "slice", "channel" or "dense".
        num_classes: Outputs of the classifier.

    Attributes:
        mean, std: Normalisation of the colours, (3, 1, 1); done here so that it can be folded into the stem.

    Raises:
        ValueError: An argument is not supported, or the channel counts do not suit the gating.
    """

    def __init__(
        self,
        width: float = 1.0,
        depth: int = 18,
        groups: int = 4,
        slice_size: int = 8,
        gate_mode: str = "slice",
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth must be one of {', '.join(map(str, BLOCKS))}, not {depth}")
        if not width > 0 or (64 * width) % 1:
            raise ValueError(f"width must be positive and make 64 * width a whole number, not {width}")
        if num_classes < 2:
            raise ValueError(f"number of classes must be at least 2, not {num_classes}")
        self.hparams = {
            "width": width,
            "depth": depth,
            "groups": groups,
            "slice_size": slice_size,
            "gate_mode": gate_mode,
            "num_classes": num_classes,
        }
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        ch = int(64 * width)
        self.conv1 = nn.Conv2d(3, ch, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(ch)
        blocks = []
        for stage in range(STAGES):
            for i in range(BLOCKS[depth]):
                out_ch, stride = int(64 * width) << stage, 2 if stage and not i else 1
                blocks.append(BasicBlock(ch, out_ch, stride, groups, slice_size, gate_mode))
                ch = out_ch
        self.blocks = nn.ModuleList(blocks)
        self.fc = nn.Linear(ch, num_classes)
        for module in (self.conv1, *(b.down for b in blocks if b.down is not None)):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor, branch: int = 1) -> Tensor:
        """Pooled features of images in [0, 1].

        Args:
            x: (N, 3, H, W) float, raw colours / 255, not normalised.
            branch: Whose base path gates, 1 or 2.

        Returns:
            (N, 512 * width), the mean over the last map.

        Raises:
            ValueError: The branch is neither 1 nor 2.
        """
        if branch not in BRANCHES:
            raise ValueError(f"branch must be 1 or 2, not {branch}")
        x = torch.relu(self.bn1(self.conv1((x - self.mean) / self.std)))
        for block in self.blocks:
            x = block(x, branch)
        return x.mean((2, 3))

    def forward(self, x: Tensor, branch: int = 1) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, H, W) in [0, 1]."""
        logits: Tensor = self.fc(self.features(x, branch))
        return logits

    def named_convs(self) -> Iterator[tuple[str, nn.Module, nn.BatchNorm2d]]:
        """Yield (layer name, convolution, its BatchNorm) in execution order; a shortcut follows its block's conv2."""
        yield "conv1", self.conv1, self.bn1
        for index, block in enumerate(self.blocks):
            assert isinstance(block, BasicBlock)
            per_stage = BLOCKS[self.hparams["depth"]]  # type: ignore[index]
            stage, first = 2 + index // per_stage, 1 + 2 * (index % per_stage)
            yield f"conv{stage}_{first}", block.conv1, block.bn1
            yield f"conv{stage}_{first + 1}", block.conv2, block.bn2
            if block.down is not None and block.down_bn is not None:
                yield f"down{stage}", block.down, block.down_bn

    def gated_convs(self) -> dict[str, GatedConv2d]:
        """The gated convolutions by layer name, in execution order; empty in dense mode."""
        return {n: c for n, c, _ in self.named_convs() if isinstance(c, GatedConv2d) and c.mode != "dense"}

    def sparsity(self) -> dict[str, float]:
        """Sparsity of the gated layers in the last forward pass.

        Returns:
            "output": share of decisions that are 0, weighted by output activations (as in the CDG paper);
            "mac": weighted by each layer's multiply-accumulates (as the engine's clock sees it).
        """
        totals = {"output": 0.0, "mac": 0.0}
        weights = dict(totals)
        for name, conv in self.gated_convs().items():
            area = 4.0 ** -int(name[4])  # relative pixels of the stage's maps
            for key, weight in (("output", conv.out_channels * area), ("mac", conv.weight.numel() * area)):
                totals[key] += weight * (1 - conv.fire_rate.item())
                weights[key] += weight
        return {key: totals[key] / weights[key] if weights[key] else 0.0 for key in totals}
