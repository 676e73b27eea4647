"""Counts the steps of every pass, slice by slice, from decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gen.network.program import NetworkProgram, PassInfo

__all__ = ["SliceSteps", "slice_steps"]


@dataclass(frozen=True, kw_only=True)
class SliceSteps:
    """Work of a pass by slice, (slices,) int64 each.

    Attributes
    ----------
    base, conditional
        Steps of the two paths.
    jobs
        Pixels whose conditional path is computed.
    """

    base: np.ndarray
    conditional: np.ndarray
    jobs: np.ndarray

    @property
    def total(self) -> int:
        """All steps."""
        return int(self.base.sum() + self.conditional.sum())


def slice_steps(program: NetworkProgram, decisions: Mapping[str, np.ndarray] | None) -> list[SliceSteps]:
    """Count the steps of every pass by slice.

    Parameters
    ----------
    program
        The program.
    decisions
        By layer, (N, slices or channels, rows, columns) bool: what fires. None counts every decision as 1; in base mode
        they are not looked at.
    """
    return [_pass_steps(program, info, decisions) for info in program.passes]


def _valid_taps(size: int, kernel: int, stride: int, pad: int, count: int) -> np.ndarray:
    start = np.arange(count) * stride - pad
    return np.minimum(start + kernel, size) - np.maximum(start, 0)


def _taps(program: NetworkProgram, info: PassInfo) -> np.ndarray:
    """Return the taps inside the map of each pixel of a pass, (rows, columns)."""
    geometry = info.geometry
    shape = (geometry.out_rows, geometry.out_cols)
    if geometry.hold or geometry.patches:  # every pixel has all of them
        return np.full(shape, geometry.tap_rows * geometry.tap_cols)
    layer = program.network.layer(info.layer)
    rows, cols = (
        _valid_taps(size, layer.kernel, layer.stride, layer.pad, layer.out_size(size))
        for size in program.map_sizes.get(layer.input, program.in_size)
    )
    return rows[slice(*info.rows), None] * cols[None, :]


def _pass_steps(program: NetworkProgram, info: PassInfo, decisions: Mapping[str, np.ndarray] | None) -> SliceSteps:
    geometry = info.geometry
    taps = _taps(program, info)
    base = np.full(geometry.slices, info.images * int(taps.sum()) * geometry.group_chunks)
    if info.instruction.fields["cond_entries"] == 0:
        return SliceSteps(base=base, conditional=np.zeros_like(base), jobs=np.zeros_like(base))
    jobs: np.ndarray = np.ones((info.images, geometry.slices, *taps.shape), dtype=bool)
    if decisions is not None:
        images = slice(info.first_image, info.first_image + info.images)
        fires = np.asarray(decisions[info.layer])[images, :, slice(*info.rows)]
        jobs = np.any(fires.reshape(info.images, geometry.slices, -1, *taps.shape), axis=2)
    others = geometry.chunks - geometry.group_chunks
    return SliceSteps(base=base, conditional=(jobs * taps).sum((0, 2, 3)) * others, jobs=jobs.sum((0, 2, 3)))
