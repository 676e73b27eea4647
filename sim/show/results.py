"""What came of a simulation, for Python: typed results with the report's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cdgate.errors import UserError
from sim.check.layer import Outcome
from sim.check.verdict import Verdict
from sim.plan.arguments import as_number
from sim.show.tables import in_words

__all__ = ["SimulatedLayer", "SimulatedNetwork", "Speedup"]


@dataclass(frozen=True)
class Speedup:
    """How much faster the gated run is than the dense one.

    Attributes
    ----------
    theoretical
        Steps of the dense layer over those that the reference's own masks leave.
    realised
        Dense cycles over gated cycles, as counted; None without a dense run.
    ratio
        Realised over theoretical; None without a dense run.
    """

    theoretical: float
    realised: float | None = None
    ratio: float | None = None


@dataclass(frozen=True, eq=False)
class _Simulated:
    """What came of a simulation.

    Attributes
    ----------
    report
        What ``report.json`` says.
    verdict
        What the comparison found; a mismatch is a result, not an exception.
    """

    report: Mapping[str, Any]
    verdict: Verdict

    def __repr__(self) -> str:
        return f"<{in_words(self.report)}>"

    @property
    def bit_exact(self) -> bool:
        """Whether all that the engine computes is the golden model's: every output, decision and logit."""
        return bool(self.report["bit_exact"])

    @property
    def passed(self) -> bool:
        """Whether the run passed: all is equal, every law holds; why not says ``report["verdict"]``."""
        return self.verdict.passed

    @property
    def cycles(self) -> Mapping[str, int]:
        """Cycles of the runs, "dense" and "gated"; a layer's other mode is called "gated" here, whichever it is."""
        return dict(self.report["cycles"])

    @property
    def speedup(self) -> Speedup:
        """Speed-up over the dense run."""
        return Speedup(**self.report["speedup"])


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedLayer(_Simulated):
    """What came of a layer: dense, and in one other mode.

    Attributes
    ----------
    report
        What ``report.json`` says.
    verdict
        What the comparison found; a mismatch is a result, not an exception.
    outcomes
        Every pass: what was planned, what came, what differed.
    """

    outcomes: Sequence[Outcome]

    @property
    def layer(self) -> str:
        """Its name."""
        return str(self.report["layer"])

    def mask(self, image: int) -> np.ndarray:
        """Return the decisions of an image, bool (slices or channels, rows, columns): what fires.

        Raises
        ------
        UserError
            If nothing is decided in this layer and mode, or there is no such image.
        """
        mode = self.report["gate_mode"]
        parts = [
            outcome.planned.tap.decision
            for outcome in self.outcomes
            if outcome.planned.mode == mode and outcome.planned.leading and not outcome.planned.stress
        ]
        found = [part for part in parts if part is not None]
        if not found:
            raise UserError(f"layer {self.layer}: nothing is decided in mode {mode}")
        decisions = torch.cat(found).numpy()
        return decisions[as_number("image", image, 0, len(decisions) - 1)]


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedNetwork(_Simulated):
    """What came of a whole network: gated, and maybe dense beside it.

    Attributes
    ----------
    report
        What ``report.json`` says.
    verdict
        What the comparison found; a mismatch is a result, not an exception.
    logits
        Of the gated run, (N, classes) int64, as the engine wrote them to memory.
    """

    logits: np.ndarray

    @property
    def classes(self) -> list[str]:
        """Class of each image, by the engine's logits."""
        return [prediction["class"] for prediction in self.report["predictions"]]
