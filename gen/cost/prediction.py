"""What a run is predicted to take, by pass and by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PassCycles", "Prediction"]


@dataclass(frozen=True, kw_only=True)
class PassCycles:
    """A pass: its layer, the cycle of its first step, the cycles until the next pass's steps begin.

    ``waits`` are those in which the array waits for weights.
    """

    layer: str
    first_step: int
    cycles: int
    waits: int


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a run takes.

    Attributes
    ----------
    cycles
        From the start bit to the end of the last instruction.
    passes
        By pass; their cycles add up to all.
    """

    cycles: int
    passes: Sequence[PassCycles]

    def layers(self) -> dict[str, int]:
        """Return cycles by layer, as reports count them: from its first step to the next layer's."""
        return self._sums("cycles")

    def waits(self) -> dict[str, int]:
        """Return by layer the cycles in which the array waits for weights."""
        return self._sums("waits")

    def _sums(self, name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for timed in self.passes:
            found[timed.layer] = found.get(timed.layer, 0) + getattr(timed, name)
        return found
