"""Learning-rate factors as functions of the step or the progress, so that no scheduler has a state to resume."""

import math

__all__ = ["half_cosine", "linear_decay", "scaled_rate", "warmup_constant", "warmup_cosine"]


def warmup_constant(step: int, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then 1: factor(0) = 1 / warmup, factor(warmup - 1) = 1."""
    return min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0


def linear_decay(progress: float) -> float:
    """Linear from 1 at progress 0 to 0 at progress 1."""
    return max(0.0, 1.0 - progress)


def half_cosine(progress: float) -> float:
    """Half a cosine from 1 at progress 0 to 0 at progress 1: 1/2 half-way."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Linear warm-up, then half a cosine to 0 after the last step: 1 at step `warmup`, 1/2 half-way, 0 at `total`."""
    return (step + 1) / warmup if step < warmup else half_cosine((step - warmup) / max(1, total - warmup))


def scaled_rate(rate: float, batch: int, larger: int) -> float:
    """The rate that belongs to a larger batch, by the square-root rule: `rate * sqrt(larger / batch)`.

    The rule keeps the size of the gradient noise in a step: Krizhevsky, "One weird trick for parallelizing
    convolutional neural networks", 2014, section 5; Chen et al. (SimCLR, 2020, appendix B.1) find it better than the
    linear rule in short training. The linear rule would give momentum SGD at a batch of 1,024 eight times the rate of
    128, at which the thresholds, which have no normalisation behind them, can run away.
    """
    return rate * math.sqrt(larger / batch)
