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

from cdgate.errors import UserError

GRANULARITIES = ("slice", "channel", "dense")
BRANCHES = (1, 2)
ALPHA = 2.0  # steepness of the surrogate's sigmoid, as in the CGNet and SCDG code


def base_groups(groups: int, branch: int = 1, overlap: int = 0) -> tuple[int, ...]:
    """Input group that the base path of each output group reads.

    Branch 1 takes the diagonal. Branch 2 shares the first `groups * overlap / 100` blocks with it and takes the others
    in reverse order, so that none of them is on the diagonal. CDG proper has an overlap of 0 (the inverse diagonal); at
    100 both branches are CGNet's. For G = 4: 0 % (3, 2, 1, 0), 50 % (0, 1, 3, 2), 75 % (0, 1, 2, 0). The poster's table
    1 names the overlaps and not the maps; at 75 % no permutation exists, so one input group serves twice.

    Parameters
    ----------
    groups
        G, at least 2.
    branch
        1 or 2.
    overlap
        Share of base blocks that both branches have, in percent.

    Returns
    -------
    tuple[int, ...]
        `groups` indices of input groups.

    Raises
    ------
    UserError
        The overlap is no whole number of blocks, or the blocks to be reversed are odd in number: the middle
        one would stay where it is.
    """
    if not 0 <= overlap <= 100 or groups * overlap % 100:
        raise UserError(f"overlap must be a percentage that makes a whole number of {groups} groups, not {overlap}")
    shared = groups * overlap // 100
    other = groups - shared
    if other % 2 and other > 1:
        raise UserError(
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
        grad_decision = _slice_sum((full - base).mul_(grad), z.shape[1]).to(z.dtype)
        s = (ALPHA * z).sigmoid_()
        slope = s.addcmul_(s, s, value=-1)
        return grad_full, grad - grad_full, torch.addcmul(z.new_zeros(()), slope, grad_decision, value=ALPHA), None


class _SliceMean(torch.autograd.Function):
    """Mean over each slice, (N, C, H, W) to (N, units, H, W), in float32 at least.

    Its gradient is made in the psums' type and layout: autograd's own has another layout, and adding the two gradients
    of a base psum takes several times longer then.
    """

    @staticmethod
    def forward(ctx: Any, psum: Tensor, units: int) -> Tensor:
        ctx.save_for_backward(psum)
        exact = psum.to(torch.promote_types(psum.dtype, torch.float32))
        return _slice_sum(exact, units).mul_(units / psum.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (psum,) = ctx.saved_tensors
        return _spread((grad / (psum.shape[1] // grad.shape[1])).to(psum.dtype), psum), None


class _Paths(torch.autograd.Function):
    """The weight as it is, and the base blocks of it as the weight of a grouped convolution.

    Forward: (O, I, k, k) to itself and (O, I / G, k, k). Backward: the gradient of the base blocks is added in place to
    that of the whole weight, which nothing else holds.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, order: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        ctx.order = order
        return weight.view_as(weight), torch.cat(_blocks(weight, order))

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_base: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        for block, part in zip(_blocks(grad, ctx.order), grad_base.chunk(len(ctx.order)), strict=True):
            block.add_(part)
        return grad, None


def _blocks(weight: Tensor, order: tuple[int, ...]) -> list[Tensor]:
    """Views of the blocks (output group, its base input group) of a weight."""
    g = len(order)
    return [rows.chunk(g, dim=1)[j] for rows, j in zip(weight.chunk(g), order, strict=True)]


def _members(units: int, ch: int, like: Tensor) -> Tensor:
    """1 where a channel belongs to a slice, else 0; (units, ch) of the type of `like`."""
    return torch.eye(units, dtype=like.dtype, device=like.device).repeat_interleave(ch // units, 1)


def _slice_sum(psum: Tensor, units: int) -> Tensor:
    """Sum over each slice, (N, C, H, W) to (N, units, H, W), in the psums' type; channels last in memory.

    A product with a matrix of 0 and 1 takes a third of the time of a reduction over eight neighbours.
    """
    if psum.shape[1] == units:
        return psum
    with torch.autocast(psum.device.type, enabled=False):
        last = psum.permute(0, 2, 3, 1) @ _members(units, psum.shape[1], psum).T
    return last.permute(0, 3, 1, 2)


def _spread(unit: Tensor, like: Tensor) -> Tensor:
    """Repeat (N, units, H, W) along the channels to the shape of `like`, (N, C, H, W), channels last in memory.

    The layout matters: where it differs from the psums', every operation that follows is several times slower. A
    product with a matrix of 0 and 1 is exact here, as each sum has one term, and faster than a copy.
    """
    if unit.shape[1] == like.shape[1]:
        return unit
    with torch.autocast(unit.device.type, enabled=False):
        last = unit.permute(0, 2, 3, 1) @ _members(unit.shape[1], like.shape[1], unit)
    return last.permute(0, 3, 1, 2)


class GatedConv2d(nn.Module):
    """Convolution without bias whose conditional path is switched per pixel and slice (or channel).

    Parameters
    ----------
    in_channels
        Input channels, a multiple of `groups_gating`.
    out_channels
        Output channels; with slices a multiple of `groups_gating * slice_size`, so that no slice
        straddles two output groups.
    kernel_size
        Kernel height and width.
    stride
        Stride in both directions.
    padding
        Zero padding on every side.
    groups_gating
        G, the number of gating groups.
    slice_size
        Consecutive output channels that share a decision in slices.
    granularity
        What a decision is for: "slice" (SCDG), "channel" (CDG, CGNet), or "dense" (an ordinary convolution).
    overlap
        Base blocks that both branches have, in percent, see `base_groups`.

    Attributes
    ----------
    weight
        (out_channels, in_channels, kernel_size, kernel_size), shared by both branches.
    tau
        Learnable threshold, one per slice or channel, initially 0; absent if dense.
    norm
        BatchNorm without affine over the saliency, one per branch (index `branch - 1`), because the two branches
        have different base psums.
    fire_rate
        Share of decisions that fired in the last forward pass, a scalar buffer for the log.

    Raises
    ------
    UserError
        An argument is outside the limits above.
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
        granularity: str = "slice",
        overlap: int = 0,
    ) -> None:
        super().__init__()
        if granularity not in GRANULARITIES:
            raise UserError(f"granularity must be one of {', '.join(GRANULARITIES)}, not {granularity!r}")
        if groups_gating < 2 or in_channels % groups_gating or out_channels % groups_gating:
            raise UserError(
                f"gating groups must be at least 2 and divide {in_channels} and {out_channels} channels, "
                f"not {groups_gating}"
            )
        if granularity == "slice" and (slice_size < 1 or out_channels // groups_gating % slice_size):
            raise UserError(
                f"slice size must divide the {out_channels // groups_gating} channels of an output group, "
                f"not {slice_size}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.groups_gating, self.granularity = groups_gating, granularity
        if granularity != "dense":
            self.base_groups = {branch: base_groups(groups_gating, branch, overlap) for branch in BRANCHES}
        self.slice_size = slice_size if granularity == "slice" else 1
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.fire_rate: Tensor
        self.register_buffer("fire_rate", torch.ones(()), persistent=False)
        if granularity != "dense":
            units = out_channels // self.slice_size
            self.tau = nn.Parameter(torch.zeros(units))
            self.norm = nn.ModuleList(nn.BatchNorm2d(units, affine=False) for _ in BRANCHES)

    def base_weight(self, branch: int = 1) -> Tensor:
        """The base blocks as the weight of a grouped convolution, (out_channels, in_channels / G, k, k)."""
        return torch.cat(_blocks(self.weight, self.base_groups[branch]))

    def base_mask(self, branch: int = 1) -> Tensor:
        """1 where a weight belongs to the base path, else 0; (out_channels, in_channels, 1, 1), float32."""
        g = self.groups_gating
        blocks = torch.eye(g)[list(self.base_groups[branch])]
        mask = blocks.repeat_interleave(self.out_channels // g, 0).repeat_interleave(self.in_channels // g, 1)
        return mask[:, :, None, None]

    def base(self, x: Tensor, branch: int = 1, weight: Tensor | None = None) -> Tensor:
        """The base psums of (N, in_channels, H, W), computed as a grouped convolution; (N, out_channels, H', W').

        `weight` is `base_weight` if it is there already.
        """
        g = self.groups_gating
        weight = self.base_weight(branch) if weight is None else weight
        order = self.base_groups[branch]
        if order != tuple(range(g)):
            chunks = x.chunk(g, dim=1)
            x = torch.cat([chunks[j] for j in order], dim=1)
        return F.conv2d(x, weight, stride=self.stride, padding=self.padding, groups=g)

    def margin(self, base: Tensor, branch: int = 1) -> Tensor:
        """`z = norm(saliency) - tau`, the quantity whose sign decides; (N, units, H', W').

        A mean over a slice is taken in float32 at least; a single psum keeps its type, because under autocast to
        bfloat16 it has no more digits than that.
        """
        if self.slice_size > 1:
            base = _SliceMean.apply(base, len(self.tau))
        saliency = self.norm[branch - 1](base)
        # Added, not subtracted: so it is a vector that the gradient of tau negates, and no map.
        return saliency + (-self.tau).to(saliency.dtype)[:, None, None]

    def forward(self, x: Tensor, branch: int = 1) -> Tensor:
        """Convolve (N, in_channels, H, W) through the base path of `branch`; returns (N, out_channels, H', W')."""
        if self.granularity == "dense":
            return F.conv2d(x, self.weight, stride=self.stride, padding=self.padding)
        weight, base_weight = _Paths.apply(self.weight, self.base_groups[branch])
        full = F.conv2d(x, weight, stride=self.stride, padding=self.padding)
        base = self.base(x, branch, base_weight)
        z = self.margin(base, branch)
        with torch.no_grad():
            decision = z > 0
            self.fire_rate.copy_(decision.count_nonzero() / decision.numel())
        merged: Tensor = _Merge.apply(full, base, z, decision)
        return merged

    def extra_repr(self) -> str:
        """The arguments, for `print(model)`."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, groups_gating={self.groups_gating}, slice_size={self.slice_size}, "
            f"granularity={self.granularity}"
        )
