"""What a run is predicted to take, by pass and by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PassCycles", "Prediction"]


@dataclass(frozen=True, kw_only=True)
class PassCycles:
    """A pass: its layer, the cycle of its first step and the cycles until the next pass's steps begin."""

    layer: str
    first_step: int
    cycles: int


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
        found: dict[str, int] = {}
        for timed in self.passes:
            found[timed.layer] = found.get(timed.layer, 0) + timed.cycles
        return found
