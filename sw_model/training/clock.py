"""How far a phase of training is: by its steps, by its time, or by whichever is farther."""

import math
import time

__all__ = ["Clock"]


class Clock:
    """Training time of a phase over all its launches, and its progress.

    Parameters
    ----------
    steps
        Of the whole phase; infinite where only the time counts.
    seconds
        Of the whole phase; infinite where only the steps count.

    Attributes
    ----------
    before
        Seconds of earlier launches, up to the save that this one goes on from.
    """

    def __init__(self, steps: float = math.inf, seconds: float = math.inf) -> None:
        self.steps, self.seconds = steps, seconds
        self.before, self.start = 0.0, time.monotonic()

    @property
    def timed(self) -> bool:
        """Whether the time has a say; processes that train together must then ask one clock."""
        return math.isfinite(self.seconds)

    def elapsed(self) -> float:
        """Seconds of this launch and of those before it."""
        return self.before + time.monotonic() - self.start

    def progress(self, step: int) -> float:
        """Share of the phase that is done after so many steps, 0 to 1."""
        return min(1.0, max(step / self.steps, self.elapsed() / self.seconds))

    def left(self, step: int, rate: float) -> float:
        """Seconds that are left, at so many steps a second."""
        return max(0.0, min((self.steps - step) / rate, self.seconds - self.elapsed()))
