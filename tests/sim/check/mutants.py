"""Programs with one thing wrong, to show that the checks notice: each mutant makes of a good program a bad one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gen.layer.pass_program import Program
from hw.params import LANES

__all__ = ["MUTANTS", "with_threshold"]


def with_threshold(program: Program, change: Callable[[np.ndarray], np.ndarray]) -> Program:
    """Return the program with other thresholds; ``change`` maps one threshold a slice, int64, to another."""
    thresholds = np.asarray(program.parameters["thresholds"])
    threshold = change(thresholds.reshape(-1, LANES)[:, 0].copy())
    return replace(
        program, parameters={**program.parameters, "thresholds": np.repeat(threshold, LANES).reshape(thresholds.shape)}
    )


def _registers(program: Program, **changes: int) -> Program:
    return replace(program, registers={**program.registers, **changes})


def threshold_plus_one(program: Program) -> Program:
    """K + 1 in every slice: seen where a saliency is K + 1."""
    return with_threshold(program, lambda threshold: threshold + 1)


def tie_fires(program: Program) -> Program:
    """K - 1 in every slice, the same as firing at saliency >= K: seen where a saliency is K."""
    return with_threshold(program, lambda threshold: threshold - 1)


def decision_forced(program: Program) -> Program:
    """Slice 0 always fires."""
    return with_threshold(program, lambda threshold: np.where(np.arange(len(threshold)) == 0, -(2**31), threshold))


def rounding_dropped(program: Program) -> Program:
    """No rounding term 2^(S-1): the quotient is cut off instead of rounded."""
    scales: Any = program.parameters["scales"]
    offset = scales["offset"] - (1 << (program.registers["shift"] - 1))
    return replace(program, parameters={**program.parameters, "scales": {**scales, "offset": offset}})


def padded_tap_not_skipped(program: Program) -> Program:
    """The taps left of the map are computed on whatever lies there."""
    return _registers(program, pad_left=0)


def weight_bit_flipped(program: Program) -> Program:
    """Bit 6 of one weight of slice 0; what the lowest bit does is lost in the requantiser's rounding."""
    weights = program.weights.copy()
    weights[program.registers["base_entries"] // 2, 0] ^= 1 << 6
    return replace(program, weights=weights)


def residual_one_pixel_off(program: Program) -> Program:
    """The residual of the right neighbour is added."""
    base = (program.registers["residual_base"] + program.registers["ofmap_col_step"]) % program.params.bank_words
    return _registers(program, residual_base=base)


#: All mutants by name.
MUTANTS: dict[str, Callable[[Program], Program]] = {
    mutant.__name__: mutant
    for mutant in (
        threshold_plus_one,
        tie_fires,
        decision_forced,
        rounding_dropped,
        padded_tap_not_skipped,
        weight_bit_flipped,
        residual_one_pixel_off,
    )
}
