"""Learning-rate factors as functions of the step, so that a resumed or re-planned run needs no scheduler state."""

import math


def warmup_constant(step: int, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then 1: factor(0) = 1 / warmup, factor(warmup - 1) = 1."""
    return min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0


def linear_decay(step: int, total: int) -> float:
    """Linear from 1 at step 0 towards 0, which is reached after the last step: factor(step) = 1 - step / total."""
    return max(0.0, 1.0 - step / total)


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Linear warm-up, then half a cosine to 0 after the last step: 1 at step `warmup`, 1/2 half-way, 0 at `total`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))
