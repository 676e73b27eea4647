"""Gated 3x3 convolutions: base path, decision, conditional path (CGNet, CDG and SCDG).

A gated convolution cuts its input and output channels into G consecutive groups. The base path of output group i reads
one input group (branch 1: group i, branch 2: group G-1-i, or what the overlap of the branches makes of it, see
`base_groups`) and is always computed; the conditional path reads the other G-1 and is computed only where the decision
fires:

    ofmap = base + decision * (full - base),      decision = 1[norm(saliency) > tau]

The saliency is the mean of the base psums of a slice of 8 output channels at one pixel (SCDG, one bit per slice), or a
single base psum (CDG, CGNet). Both paths are computed densely in software; only the hardware saves the work.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MODES = ("slice", "channel", "dense")
BRANCHES = (1, 2)
ALPHA = 2.0  # steepness of the surrogate's sigmoid, as in the CGNet and SCDG code


def base_groups(groups: int, branch: int = 1, overlap: int = 0) -> tuple[int, ...]:
    """Input group that the base path of each output group reads.

    Branch 1 takes the diagonal. Branch 2 shares the first `groups * overlap / 100` blocks with it and takes the others
    in reverse order, so that none of them is on the diagonal. CDG proper has an overlap of 0 (the inverse diagonal); at
    100 both branches are CGNet's. For G = 4: 0 % (3, 2, 1, 0), 50 % (0, 1, 3, 2), 75 % (0, 1, 2, 0). The poster's table
    1 names the overlaps and not the maps; at 75 % no permutation exists, so one input group serves twice.

    Args:
        groups: G, at least 2.
        branch: 1 or 2.
        overlap: Share of base blocks that both branches have, in percent.

    Returns:
        `groups` indices of input groups.

    Raises:
        ValueError: The overlap is no whole number of blocks, or the blocks to be reversed are odd in number: the middle
            one would stay where it is.
    """
    if not 0 <= overlap <= 100 or groups * overlap % 100:
        raise ValueError(f"overlap must be a percentage that makes a whole number of {groups} groups, not {overlap}")
    shared = groups * overlap // 100
    other = groups - shared
    if other % 2 and other > 1:
        raise ValueError(
            "groups outside the overlap must be even in number, or the middle one is on the diagonal of both branches; "
            f"there are {other} with {groups} gating groups and overlap {overlap}"
        )
    if branch == 1:
        return tuple(range(groups))
    rest = (0,) if other == 1 else tuple(reversed(range(shared, groups)))
    return (*range(shared), *rest)


class _Merge(torch.autograd.Function):
    """Selection of the full or the base psum, with the sigmoid's derivative in place of the step's.

    Forward: `full where z > 0 else base`. Backward, with d the decision, g the incoming gradient and s = sigmoid(2 z):
    `d g` to full, `(1 - d) g` to base and `2 s (1 - s) * sum over the slice of g (full - base)` to z.

    The maps are large, and memory is what takes the time: decisions are 0 or 1 in the psums' own type, because
    interpolating between two maps and multiplying, both exact with 0 and 1, are ten times faster on a CPU than `where`;
    what nothing else holds is changed in place.
    """

    @staticmethod
    def forward(ctx: Any, full: Tensor, base: Tensor, z: Tensor, decision: Tensor) -> Tensor:
        decision = _spread(decision.to(full.dtype), full)
        ctx.save_for_backward(full, base, z, decision)
        return torch.lerp(base, full, decision)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        full, base, z, decision = ctx.saved_tensors
        grad_full = grad * decision
        change = _gather((full - base).mul_(grad), z.shape[1])
        grad_decision = change.to(z.dtype).sum(2) if change.shape[2] > 1 else change.squeeze(2).to(z.dtype)
        s = torch.sigmoid(ALPHA * z)
        slope = s.addcmul_(s, s, value=-1).mul_(ALPHA)
        return grad_full, grad - grad_full, slope.mul_(grad_decision), None


def _gather(psum: Tensor, units: int) -> Tensor:
    """View (N, C, H, W) as (N, units, C / units, H, W)."""
    n, ch, h, w = psum.shape
    return psum.view(n, units, ch // units, h, w)


def _spread(unit: Tensor, like: Tensor) -> Tensor:
    """Repeat (N, units, H, W) along the channels to the shape of `like`, (N, C, H, W), channels last in memory.

    The layout matters: where it differs from the psums', every operation that follows is several times slower.
    """
    size = like.shape[1] // unit.shape[1]
    last = unit.permute(0, 2, 3, 1)
    return last[..., None].expand(*last.shape, size).flatten(3).permute(0, 3, 1, 2)


class GatedConv2d(nn.Module):
    """Convolution without bias whose conditional path is switched per pixel and slice (or channel).

    Args:
        in_channels: Input channels, a multiple of `groups_gating`.
        out_channels: Output channels; in slice mode a multiple of `groups_gating * slice_size`, so that no slice
            straddles two output groups.
        kernel_size: Kernel height and width.
        stride: Stride in both directions.
        padding: Zero padding on every side.
        groups_gating: G, the number of gating groups.
        slice_size: Consecutive output channels that share a decision in slice mode.
        mode: "slice" (SCDG), "channel" (CDG, CGNet) or "dense" (an ordinary convolution).
        overlap: Base blocks that both branches have, in percent, see `base_groups`.

    Attributes:
        weight: (out_channels, in_channels, kernel_size, kernel_size), shared by both branches.
        tau: Learnable threshold, one per slice or channel, initially 0; absent in dense mode.
        norm: BatchNorm without affine over the saliency, one per branch (index `branch - 1`), because the two branches
            have different base psums.
        fire_rate: Share of decisions that fired in the last forward pass, a scalar buffer for the log.

    Raises:
        ValueError: An argument is outside the limits above.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        groups_gating: int = 4,
        slice_size: int = 8,
        mode: str = "slice",
        overlap: int = 0,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"gate mode must be one of {', '.join(MODES)}, not {mode!r}")
        if groups_gating < 2 or in_channels % groups_gating or out_channels % groups_gating:
            raise ValueError(
                f"gating groups must be at least 2 and divide {in_channels} and {out_channels} channels, "
                f"not {groups_gating}"
            )
        if mode == "slice" and (slice_size < 1 or out_channels // groups_gating % slice_size):
            raise ValueError(
                f"slice size must divide the {out_channels // groups_gating} channels of an output group, "
                f"not {slice_size}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.groups_gating, self.mode = groups_gating, mode
        if mode != "dense":
            self.base_groups = {branch: base_groups(groups_gating, branch, overlap) for branch in BRANCHES}
        self.slice_size = slice_size if mode == "slice" else 1
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.fire_rate: Tensor
        self.register_buffer("fire_rate", torch.ones(()), persistent=False)
        if mode != "dense":
            units = out_channels // self.slice_size
            self.tau = nn.Parameter(torch.zeros(units))
            self.norm = nn.ModuleList(nn.BatchNorm2d(units, affine=False) for _ in BRANCHES)

    def base_weight(self, branch: int = 1) -> Tensor:
        """The base blocks as the weight of a grouped convolution, (out_channels, in_channels / G, k, k)."""
        g, k = self.groups_gating, self.kernel_size
        blocks = self.weight.view(g, self.out_channels // g, g, self.in_channels // g, k, k)
        # One indexing of all blocks: its gradient is one tensor of the weight's size, not one for each block.
        chosen = blocks[torch.arange(g), :, torch.tensor(self.base_groups[branch])]
        return chosen.flatten(0, 1)

    def base_mask(self, branch: int = 1) -> Tensor:
        """1 where a weight belongs to the base path, else 0; (out_channels, in_channels, 1, 1), float32."""
        g = self.groups_gating
        blocks = torch.eye(g)[list(self.base_groups[branch])]
        mask = blocks.repeat_interleave(self.out_channels // g, 0).repeat_interleave(self.in_channels // g, 1)
        return mask[:, :, None, None]

    def base(self, x: Tensor, branch: int = 1) -> Tensor:
        """The base psums of (N, in_channels, H, W), computed as a grouped convolution; (N, out_channels, H', W')."""
        g = self.groups_gating
        order = self.base_groups[branch]
        if order != tuple(range(g)):
            chunks = x.chunk(g, dim=1)
            x = torch.cat([chunks[j] for j in order], dim=1)
        return F.conv2d(x, self.base_weight(branch), stride=self.stride, padding=self.padding, groups=g)

    def margin(self, base: Tensor, branch: int = 1) -> Tensor:
        """`z = norm(saliency) - tau`, the quantity whose sign decides; (N, units, H', W').

        A mean over a slice is taken in float32 at least; a single psum keeps its type, because under autocast to
        bfloat16 it has no more digits than that.
        """
        if self.slice_size > 1:
            base = _gather(base.to(torch.promote_types(base.dtype, torch.float32)), len(self.tau)).mean(2)
        saliency = self.norm[branch - 1](base)
        return saliency - self.tau.to(saliency.dtype)[:, None, None]

    def forward(self, x: Tensor, branch: int = 1) -> Tensor:
        """Convolve (N, in_channels, H, W) through the base path of `branch`; returns (N, out_channels, H', W')."""
        full = F.conv2d(x, self.weight, stride=self.stride, padding=self.padding)
        if self.mode == "dense":
            return full
        base = self.base(x, branch)
        z = self.margin(base, branch)
        with torch.no_grad():
            decision = z.sign().clamp_(min=0)
            self.fire_rate.copy_(decision.mean(dtype=torch.float32))
        merged: Tensor = _Merge.apply(full, base, z, decision)
        return merged

    def extra_repr(self) -> str:
        """The arguments, for `print(model)`."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, groups_gating={self.groups_gating}, slice_size={self.slice_size}, "
            f"mode={self.mode}"
        )
