"""Losses of the contrastive phase and of the thresholds."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.5) -> Tensor:
    """Normalised temperature-scaled cross entropy of two views.

    Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", 2020, Eq. 1: over the 2N
    vectors of both views, with s the cosine similarity and i' the other view of i,

        loss = mean over i of  -log( exp(s(i, i') / t) / sum over k != i of exp(s(i, k) / t) ).

    Parameters
    ----------
    z1
        (N, D) projections of view 1.
    z2
        (N, D) projections of view 2, in the same order.
    temperature
        t > 0.

    Returns
    -------
    Tensor
        Scalar, at least float32.
    """
    n = len(z1)
    z = torch.cat([z1, z2])
    z = F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=1)
    logits = (z @ z.T / temperature).masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), float("-inf"))
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(logits, partner)


class _AllGather(torch.autograd.Function):
    """Concatenation over the processes. torch's own, with gradients, is deprecated in favour of a private module."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        parts = [torch.empty_like(z) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, z.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def gather_batch(z: Tensor) -> Tensor:
    """Concatenate what all processes hold, (n, D) each, in the order of their ranks; alone, z itself.

    Gradients flow back to every process's own part, summed over the processes. A loss of the joint batch that every
    process computes so has, after the averaging of data-parallel training, the gradients of one process alone.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return z
    gathered: Tensor = _AllGather.apply(z)
    return gathered


def threshold_penalty(thresholds: Iterable[Tensor], target: float | Tensor, weight: float = 1e-2) -> Tensor:
    """Pull of every threshold towards the target: `weight * sum (tau - target)^2` over all layers and slices.

    The form is CGNet's. Its weight of 1e-4 suits long runs; 1e-2 settles within 200 steps. Where the normalised
    saliency is about Gaussian, the sparsity is Phi(target): 0.72 for 0.57.
    """
    return weight * torch.stack([(tau - target).square().sum() for tau in thresholds]).sum()
