"""Losses of the contrastive phase and of the thresholds."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(z1: Tensor, z2: Tensor, temperature: float = 0.5) -> Tensor:
    """Normalised temperature-scaled cross entropy of two views.

    Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", 2020, Eq. 1: over the 2N
    vectors of both views, with s the cosine similarity and i' the other view of i,

        loss = mean over i of  -log( exp(s(i, i') / t) / sum over k != i of exp(s(i, k) / t) ).

    Args:
        z1: (N, D) projections of view 1.
        z2: (N, D) projections of view 2, in the same order.
        temperature: t > 0.

    Returns:
        Scalar, float32.
    """
    n = len(z1)
    z = F.normalize(torch.cat([z1, z2]).float(), dim=1)
    logits = (z @ z.T / temperature).masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), float("-inf"))
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(logits, partner)


def threshold_penalty(thresholds: Iterable[Tensor], target: float, weight: float = 1e-2) -> Tensor:
    """Pull of every threshold towards the target: `weight * sum (tau - target)^2` over all layers and slices.

    The form is CGNet's. Its weight of 1e-4 suits long runs; 1e-2 settles within 200 steps. Where the normalised
    saliency is about Gaussian, the sparsity is Phi(target): 0.72 for 0.57.
    """
    total = torch.zeros(())
    for tau in thresholds:
        total = total + (tau - target).square().sum()
    return weight * total
