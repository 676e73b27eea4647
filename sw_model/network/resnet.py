"""Residual networks for small and large images whose 3x3 block convolutions are gated.

He et al., "Deep Residual Learning for Image Recognition", 2016: ResNet-18 and -34 of table 1 (and -10, with one block
per stage), and ResNet-20 of section 4.2 with 1x1 convolutions as its shortcuts. For images of 32x32 the stem is a 3x3
convolution of stride 1 without max-pooling, as usual; for 224x224 it is the paper's. In CDG, SCDG and CGNet the stem,
the 1x1 shortcuts and the classifier are not gated; FBS replaces every convolution, DGC all but the stem.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cdgate.errors import UserError
from sw_model.data.dataset import CIFAR_MEAN, CIFAR_STD
from sw_model.network.dgc import DGCConv2d
from sw_model.network.fbs import FBSConv2d
from sw_model.network.gating import BRANCHES, GRANULARITIES, GatedConv2d

#: Depth: channels of the first stage, blocks of each stage.
STAGES = {10: (64, (1, 1, 1, 1)), 18: (64, (2, 2, 2, 2)), 20: (16, (3, 3, 3)), 34: (64, (3, 4, 6, 3))}
STEMS = ("small", "large")
METHOD_GRANULARITIES = (*GRANULARITIES, "fbs", "dgc")
#: Channels of the last stage at most: beyond it a single weight takes gigabytes.
MOST_CHANNELS = 4096


def current_arguments(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Give the arguments of a `ResNet` as a file has them their present names.

    Files from before the granularity had its name call it gate_mode, which elsewhere is what decides in a run.
    """
    return {"granularity" if name == "gate_mode" else name: value for name, value in stored.items()}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """How the convolutions of a network are gated; see `ResNet`."""

    groups: int
    slice_size: int
    granularity: str
    overlap: int
    density: float | None

    def block_conv(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        """A 3x3 convolution of a residual block."""
        if self.granularity in ("fbs", "dgc"):
            return self.channel_conv(in_channels, out_channels, 3, stride)
        return GatedConv2d(
            in_channels, out_channels, 3, stride, 1, self.groups, self.slice_size, self.granularity, self.overlap
        )

    def other_conv(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Module:
        """The stem (three input channels) or a 1x1 shortcut."""
        if self.granularity == "fbs" or (self.granularity == "dgc" and kernel == 1):
            return self.channel_conv(in_channels, out_channels, kernel, stride)
        return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)

    def channel_conv(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Module:
        """A convolution of FBS or DGC."""
        options = {} if self.density is None else {"density": self.density}
        kind = FBSConv2d if self.granularity == "fbs" else DGCConv2d
        return kind(in_channels, out_channels, kernel, stride, kernel // 2, **options)

    def norm(self, conv: nn.Module, channels: int) -> nn.Module:
        """The BatchNorm behind a convolution; none behind FBS, which has its own."""
        return nn.Identity() if isinstance(conv, FBSConv2d) else nn.BatchNorm2d(channels)


class BasicBlock(nn.Module):
    """Residual block `relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))` with two gated convolutions.

    Parameters
    ----------
    in_channels
        Input channels.
    out_channels
        Output channels.
    stride
        Stride of `conv1` and of the shortcut.
    gate
        How the convolutions are gated.

    Attributes
    ----------
    down
        1x1 convolution of the shortcut, or None where the shortcut is the identity.
    down_bn
        Its BatchNorm, or None.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, gate: Gate) -> None:
        super().__init__()
        self.conv1 = gate.block_conv(in_channels, out_channels, stride)
        self.bn1 = gate.norm(self.conv1, out_channels)
        self.conv2 = gate.block_conv(out_channels, out_channels, 1)
        self.bn2 = gate.norm(self.conv2, out_channels)
        self.down: nn.Module | None = None
        self.down_bn: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.down = gate.other_conv(in_channels, out_channels, 1, stride)
            self.down_bn = gate.norm(self.down, out_channels)

    def forward(self, x: Tensor, branch: int = 1) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        y = torch.relu(self.bn1(self.conv1(x, branch)))
        y = self.bn2(self.conv2(y, branch))
        if self.down is not None and self.down_bn is not None:
            x = self.down_bn(self.down(x))
        return torch.relu(y + x)


class ResNet(nn.Module):
    """ResNet whose convolutions are gated.

    Parameters
    ----------
    width
        Multiplier of the channel counts, 64, 128, 256, 512 or, at depth 20, 16, 32, 64.
    depth
        10, 18, 20 or 34.
    groups
        Gating groups G.
    slice_size
        Output channels that share a decision in slices.
    granularity
        What a decision is for: "slice" (SCDG), "channel" (CDG and CGNet), "dense", "fbs" or "dgc".
    num_classes
        Outputs of the classifier.
    overlap
        Base blocks that both branches have, in percent: 0 in CDG and SCDG, 100 in CGNet.
    density
        Share of channels kept by FBS (default 0.62) and DGC (0.47); without effect elsewhere.
    stem
        "small" for images of about 32x32, "large" (7x7, max-pooling) for about 224x224.

    Attributes
    ----------
    mean, std
        Normalisation of the colours, (3, 1, 1), CIFAR-10's until replaced; done here so that it can be
        folded into the stem.
    hparams
        The arguments, by name.

    Raises
    ------
    UserError
        An argument is not supported, or the channel counts do not suit the gating.
    """

    def __init__(
        self,
        width: float = 1.0,
        depth: int = 18,
        groups: int = 4,
        slice_size: int = 8,
        granularity: str = "slice",
        num_classes: int = 10,
        overlap: int = 0,
        density: float | None = None,
        stem: str = "small",
    ) -> None:
        super().__init__()
        if depth not in STAGES:
            raise UserError(f"depth must be one of {', '.join(map(str, STAGES))}, not {depth}")
        first, self.stage_blocks = STAGES[depth]
        widest = MOST_CHANNELS >> (len(self.stage_blocks) - 1)
        if not 0 < first * width <= widest or (first * width) % 1:
            raise UserError(f"width must make {first} * width a whole number from 1 to {widest}, not {width}")
        if num_classes < 2:
            raise UserError(f"number of classes must be at least 2, not {num_classes}")
        if granularity not in METHOD_GRANULARITIES:
            raise UserError(f"granularity must be one of {', '.join(METHOD_GRANULARITIES)}, not {granularity!r}")
        if stem not in STEMS:
            raise UserError(f"stem must be one of {', '.join(STEMS)}, not {stem!r}")
        self.hparams: dict[str, Any] = dict(
            width=width, depth=depth, groups=groups, slice_size=slice_size, granularity=granularity,
            num_classes=num_classes, overlap=overlap, density=density, stem=stem,
        )  # fmt: skip
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(CIFAR_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(CIFAR_STD).view(3, 1, 1))
        gate = Gate(groups=groups, slice_size=slice_size, granularity=granularity, overlap=overlap, density=density)
        self.stage_channels = tuple(int(first * width) << i for i in range(len(self.stage_blocks)))
        ch = self.stage_channels[0]
        self.conv1 = gate.other_conv(3, ch, *((3, 1) if stem == "small" else (7, 2)))
        self.bn1 = gate.norm(self.conv1, ch)
        self.pool = nn.Identity() if stem == "small" else nn.MaxPool2d(3, 2, 1)
        blocks = []
        for stage, (count, out_ch) in enumerate(zip(self.stage_blocks, self.stage_channels, strict=True)):
            for i in range(count):
                blocks.append(BasicBlock(ch, out_ch, 2 if stage and not i else 1, gate))
                ch = out_ch
        self.blocks = nn.ModuleList(blocks)
        self.fc = nn.Linear(ch, num_classes)
        self._shares: dict[torch.device, Tensor] = {}  # of the gated layers in the sparsities
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def clone(self) -> "ResNet":
        """An independent network with the same parameters and statistics, on the same device, as far on DGC's ramp."""
        other = ResNet(**self.hparams).to(self.mean.device)
        other.load_state_dict(self.state_dict())
        for name, conv in self.channel_convs().items():
            if isinstance(conv, DGCConv2d):
                other.channel_convs()[name].progress = conv.progress
        return other

    def features(self, x: Tensor, branch: int = 1) -> Tensor:
        """Pooled features of images in [0, 1].

        Parameters
        ----------
        x
            (N, 3, H, W) float, raw colours / 255, not normalised.
        branch
            Whose base path gates, 1 or 2.

        Returns
        -------
        Tensor
            (N, 512 * width), the mean over the last map.

        Raises
        ------
        ValueError
            The branch is neither 1 nor 2.
        """
        if branch not in BRANCHES:
            raise ValueError(f"branch must be 1 or 2, not {branch}")
        x = self.pool(torch.relu(self.bn1(self.conv1((x - self.mean) / self.std))))
        for block in self.blocks:
            x = block(x, branch)
        return x.mean((2, 3))

    def forward(self, x: Tensor, branch: int = 1) -> Tensor:
        """Logits (N, num_classes) of images (N, 3, H, W) in [0, 1]."""
        logits: Tensor = self.fc(self.features(x, branch))
        return logits

    def named_convs(self) -> Iterator[tuple[str, nn.Module, nn.Module]]:
        """Yield (layer name, convolution, its BatchNorm) in execution order; a shortcut follows its block's conv2."""
        yield "conv1", self.conv1, self.bn1
        blocks = iter(self.blocks)
        for stage, count in enumerate(self.stage_blocks, start=2):
            for first in range(1, 2 * count, 2):
                block = next(blocks)
                assert isinstance(block, BasicBlock)
                yield f"conv{stage}_{first}", block.conv1, block.bn1
                yield f"conv{stage}_{first + 1}", block.conv2, block.bn2
                if block.down is not None and block.down_bn is not None:
                    yield f"down{stage}", block.down, block.down_bn

    def gated_convs(self) -> dict[str, GatedConv2d]:
        """The gated convolutions by layer name, in execution order; empty in a dense network."""
        return {n: c for n, c, _ in self.named_convs() if isinstance(c, GatedConv2d) and c.granularity != "dense"}

    def channel_convs(self) -> dict[str, FBSConv2d | DGCConv2d]:
        """The convolutions of FBS or DGC by layer name, in execution order; empty elsewhere."""
        return {n: c for n, c, _ in self.named_convs() if isinstance(c, FBSConv2d | DGCConv2d)}

    def sparsity(self) -> dict[str, float]:
        """Sparsity of the gated layers in the last forward pass.

        Returns
        -------
        dict[str, float]
            "output": share of decisions that are 0, weighted by output activations (as in the CDG paper);
            "mac": weighted by each layer's multiply-accumulates (as the engine's clock sees it).
        """
        output, mac = self.sparsities().tolist()
        return {"output": output, "mac": mac}

    def sparsities(self) -> Tensor:
        """The same, output- and MAC-weighted, (2,) float64 on the network's device, which is not waited for."""
        convs = self.gated_convs()
        device = self.mean.device
        if not convs:
            return torch.zeros(2, dtype=torch.float64, device=device)
        if device not in self._shares:
            weights = []
            for name, conv in convs.items():
                area = 4.0 ** -int(name[4])  # relative pixels of the stage's maps
                weights.append((conv.out_channels * area, conv.weight.numel() * area))
            shares = torch.tensor(weights, dtype=torch.float64)
            self._shares[device] = (shares / shares.sum(0)).to(device)
        rates = torch.stack([conv.fire_rate for conv in convs.values()]).to(torch.float64)
        return (1 - rates) @ self._shares[device]
