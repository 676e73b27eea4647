"""What a comparison found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["KEPT", "Mismatch", "Verdict"]

#: Mismatches that are kept one by one; the others are counted.
KEPT = 20


@dataclass(frozen=True)
class Mismatch:
    """One output or decision that differs.

    Attributes
    ----------
    what
        "ofmap", "trace" (of a code that the bank holds right), "logit" or "decision"; of memory "stored map".
    layer, image, row, col, channel
        Where; a slice's decision is named by its first channel, a logit's channel is its class.
    expected
        The golden model's value.
    got
        The engine's, or None if it did not come, or out of its turn.
    cycle
        In which the engine wrote it, or None.
    """

    what: str
    layer: str
    image: int
    row: int
    col: int
    channel: int
    expected: int
    got: int | None
    cycle: int | None

    def __str__(self) -> str:
        got = "nothing" if self.got is None else str(self.got)
        when = "never" if self.cycle is None else f"in cycle {self.cycle}"
        return (
            f"{self.what} mismatch: layer {self.layer}, image {self.image}, row {self.row}, column {self.col}, "
            f"channel {self.channel}: expected {self.expected}, got {got}, written {when}"
        )


@dataclass
class Verdict:
    """What a comparison found; those of several passes add up.

    Attributes
    ----------
    outputs_checked, decisions_checked
        Numbers compared.
    mismatches
        How many of them differ or are not where they belong, and records that nobody asked for.
    first
        The first few of those.
    broken
        Laws that do not hold, a sentence each.
    clock
        Those of them that say that the engine's cycles are not those of the testbench's clock.
    model
        Where the cycle model is farther off than it may be, a sentence each.
    nonzero
        Outputs of the engine other than 0.
    stress
        What was found in stress passes, apart from all of the above; None if none were run.
    """

    outputs_checked: int = 0
    decisions_checked: int = 0
    mismatches: int = 0
    first: list[Mismatch] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    clock: list[str] = field(default_factory=list)
    model: list[str] = field(default_factory=list)
    nonzero: int = 0
    stress: Verdict | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing differs and every law holds."""
        return not self.mismatches and not self.broken

    @property
    def passed(self) -> bool:
        """Whether it holds, the cycle model is as near as it must be, and anything was compared at all."""
        return not self._reasons()

    @property
    def text(self) -> str:
        """The verdict in a line: ``pass``, or ``fail:`` and why."""
        reasons = self._reasons()
        return f"fail: {'; '.join(reasons)}" if reasons else "pass"

    def _reasons(self) -> list[str]:
        reasons = [] if self.outputs_checked else ["nothing was compared"]
        if self.mismatches:
            reasons.append(f"mismatches: {self.mismatches}")
        others = len(self.broken) - len(self.clock)
        if others:
            reasons.append(f"laws: {others} broken")
        if self.stress is not None:
            reasons += [f"stress: {reason}" for reason in self.stress._reasons()]
        for what, sentences in (("clock", self.clock), ("model", self.model)):
            if sentences:
                more = f", and {len(sentences) - 1} more" if len(sentences) > 1 else ""
                reasons.append(f"{what}: {sentences[0]}{more}")
        return reasons

    def break_clock(self, sentences: Iterable[str]) -> None:
        """Note laws of the clock that do not hold."""
        found = list(sentences)
        self.broken += found
        self.clock += found

    def add(self, other: Verdict) -> None:
        """Add another pass's findings."""
        self.outputs_checked += other.outputs_checked
        self.decisions_checked += other.decisions_checked
        self.mismatches += other.mismatches
        self.first = (self.first + other.first)[:KEPT]
        self.broken += other.broken
        self.clock += other.clock
        self.model += other.model
        self.nonzero += other.nonzero
        if other.stress is not None:
            self.add_stress(other.stress)

    def add_stress(self, other: Verdict) -> None:
        """Add what was found in a stress pass."""
        if self.stress is None:
            self.stress = Verdict()
        self.stress.add(other)
