"""Counts the steps of every pass, slice by slice, from decisions; and the cycles of one that pools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gen.layer.geometry import Geometry
from gen.network.program import NetworkProgram, PassInfo
from hw.params import LANES, HwParams

__all__ = ["SliceSteps", "pool_cycles", "slice_steps"]


@dataclass(frozen=True, kw_only=True)
class SliceSteps:
    """Work of a pass by slice, (slices,) int64 each.

    Attributes
    ----------
    base, conditional
        Steps of the two paths.
    jobs
        Pixels whose conditional path is computed.
    pool
        Cycles in which a max-pooling reads, which has no steps.
    """

    base: np.ndarray
    conditional: np.ndarray
    jobs: np.ndarray
    pool: np.ndarray

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


def pool_cycles(geometry: Geometry, params: HwParams) -> int:
    """Return the cycles from a max-pooling's first read of a slice to that of the next; see `hw.datapath.max_pool`.

    Parameters
    ----------
    geometry
        Of the pass.
    params
        The engine.
    """
    g = geometry
    rows, cols = np.full(g.out_rows, g.tap_rows), np.full(g.out_cols, g.tap_cols)
    for taps, before, behind in ((rows, g.pad_top, g.pad_bottom), (cols, g.pad_left, g.pad_right)):
        taps[0] -= before
        taps[-1] -= behind
    taps = np.outer(rows, cols).reshape(-1)
    waits = params.pool_pace - np.where(np.minimum.outer(rows, cols) > 1, 4, 1).reshape(-1)
    # From a pixel to the next the walk takes four cycles; within a slice of several words three; to the next slice six.
    onward = taps + np.roll(waits, -1)
    within = (max(1, LANES // params.in_par) - 1) * np.maximum(taps + waits, 3)
    cycles = g.images * int((np.maximum(onward, 4) + within).sum())
    return cycles + int(max(onward[-1], 6) - max(onward[-1], 4))


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
    none = np.zeros(geometry.slices, dtype=np.int64)
    if geometry.pool:
        return SliceSteps(base=none, conditional=none, jobs=none, pool=none + pool_cycles(geometry, program.params))
    taps = _taps(program, info)
    base = np.full(geometry.slices, info.images * int(taps.sum()) * geometry.group_chunks)
    if info.instruction.fields["cond_entries"] == 0:
        return SliceSteps(base=base, conditional=none, jobs=none, pool=none)
    jobs: np.ndarray = np.ones((info.images, geometry.slices, *taps.shape), dtype=bool)
    if decisions is not None:
        images = slice(info.first_image, info.first_image + info.images)
        fires = np.asarray(decisions[info.layer])[images, :, slice(*info.rows)]
        jobs = np.any(fires.reshape(info.images, geometry.slices, -1, *taps.shape), axis=2)
    others = geometry.chunks - geometry.group_chunks
    return SliceSteps(base=base, conditional=(jobs * taps).sum((0, 2, 3)) * others, jobs=jobs.sum((0, 2, 3)), pool=none)
