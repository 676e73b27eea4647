"""Random numbers and batches that are functions of (seed, step)."""

import functools

import numpy as np
import torch
from torch import Tensor

__all__ = ["batch_indices", "bring", "step_generator"]


def step_generator(seed: int, step: int, stream: int = 0) -> torch.Generator:
    """Random generator that depends on (seed, step, stream) only, so that a resumed run draws the same numbers."""
    state = np.random.SeedSequence((seed, step, stream)).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


def bring(values: Tensor, device: torch.device) -> Tensor:
    """Copy what was drawn on the CPU to a device without waiting for it."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, size: int) -> Tensor:
    """The permutation of an epoch; not to be changed."""
    return torch.randperm(size, generator=step_generator(seed, epoch, stream=1))


def batch_indices(seed: int, step: int, batch_size: int, size: int) -> Tensor:
    """Indices of the images of one step, (batch_size,) int64.

    The steps walk through one random permutation of all images after another, without a gap: a batch at an epoch's end
    takes the rest of its permutation and the beginning of the next.
    """
    first = step * batch_size
    epochs = range(first // size, (first + batch_size - 1) // size + 1)
    order = torch.cat([_order(seed, epoch, size) for epoch in epochs])
    start = first - epochs[0] * size
    return order[start : start + batch_size]
