"""Which passes a layer is run in: the compiled programs, and what must come of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from cdgate.errors import CompileError
from cdgate.modes import GateMode
from gen.cost.steps import pool_cycles
from gen.layer.compiler import compile_layer
from gen.network.tiles import fits_whole, tile_rows
from hw.params import LANES, HwParams
from sim.plan.stress import stress_cases
from sim.run.files import Run
from sw_model.integer.layer import IntLayer
from sw_model.integer.network import IntNetwork, Tap
from sw_model.integer.steps import LayerCount, count_layer

__all__ = ["Pass", "cut_tap", "plan"]


@dataclass(frozen=True)
class Pass:
    """One pass of one layer in one mode.

    Attributes
    ----------
    layer, mode
        What is run.
    first_image
        Number of its first image.
    run
        The compiled program, and how it is run.
    tap, count
        What must come of it, and the reference's count of its steps.
    stress
        Whether its layer is a synthetic one, see `sim.plan.stress`, which is compared but not reported with the others.
    rows
        First row of the ofmap that it computes, and the row after the last, where it is a tile; None for all.
    """

    layer: IntLayer
    mode: str
    first_image: int
    run: Run
    tap: Tap
    count: LayerCount
    stress: bool = False
    rows: tuple[int, int] | None = None

    @property
    def leading(self) -> bool:
        """Whether it is the first of its images, which it has whole or a tile of: each image has one such pass."""
        return self.rows is None or self.rows[0] == 0


def plan(
    network: IntNetwork,
    names: Sequence[str],
    images: np.ndarray,
    mode: str,
    params: HwParams,
    batch: int = 1,
    masks: torch.Tensor | None = None,
) -> list[Pass]:
    """Compile all passes of some layers, each in dense mode and in one other, and its stress passes behind them.

    Parameters
    ----------
    network
        The golden model.
    names
        Layers to run; each reads what the gated network gives it, in all modes.
    images
        (N, H, W, 3) uint8.
    mode
        A `cdgate.modes.GateMode`: run besides the dense run, which is always made. In channel mode a network that
        decides by slice gets thresholds of K >> 3 for each channel: that checks the hardware, no accuracy is claimed.
    params
        The engine.
    batch
        Images in one pass. A layer of which not even one image fits a bank is run image by image, in the tiles of rows
        in which the network compiler would run it.
    masks
        In forced mode the decisions of the only layer, (N, O / 8, H', W') or (N, O, H', W') bool.

    Raises
    ------
    gen.layer.compiler.CompileError
        If a layer does not fit the engine, or a mask the layer.
    """
    modes = list(dict.fromkeys((GateMode.DENSE, mode)))
    taps = network.run(images, GateMode.GATED, only=names).taps
    planned: list[Pass] = []
    for name in names:
        layer, tap = network.layer(name), taps[name]
        planned += _passes(layer, tap, params, modes, batch, masks)
        size = (tap.ifmap.shape[2], tap.ifmap.shape[3])
        slice_size = 1 if mode == GateMode.CHANNEL else layer.slice_size
        for case in stress_cases(layer, size, len(images), params.in_par, slice_size):
            gated = case.golden(GateMode.GATED)
            planned += [replace(one, stress=True) for one in _passes(case.layer, gated, params, modes, 1, None)]
    return planned


def _variant(layer: IntLayer, gated: Tap, mode: str, masks: torch.Tensor | None) -> tuple[IntLayer, Tap, str]:
    """Return the layer as it is run in a mode, what must come of it, and the mode by the compiler's name."""
    if masks is not None and not layer.gated:
        raise CompileError(f"layer {layer.name}: a mask needs a gated layer")
    if mode == GateMode.GATED or not layer.gated:
        return layer, gated, GateMode.GATED
    if mode == GateMode.CHANNEL:
        if layer.slice_size != 1:
            assert layer.K is not None
            layer = replace(layer, slice_size=1, K=(layer.K >> 3).repeat_interleave(layer.slice_size))
        return layer, IntNetwork.run_layer(layer, gated.ifmap, gated.residual, GateMode.GATED), GateMode.GATED
    if mode == GateMode.FORCED:
        masks = gated.decision if masks is None else masks
        images, _, rows, cols = gated.psum.shape
        shapes = [(images, layer.out_ch // size, rows, cols) for size in (LANES, 1)]
        if masks is None or tuple(masks.shape) not in shapes:
            found = "none" if masks is None else str(tuple(masks.shape))
            raise CompileError(f"layer {layer.name}: mask must be of shape {shapes[0]} or {shapes[1]}, not {found}")
        if masks.shape[1] != layer.out_ch // layer.slice_size:
            layer = replace(
                layer, slice_size=layer.out_ch // masks.shape[1], K=torch.zeros(masks.shape[1], dtype=torch.int32)
            )
        return layer, IntNetwork.run_layer(layer, gated.ifmap, gated.residual, GateMode.FORCED, masks), GateMode.FORCED
    return layer, IntNetwork.run_layer(layer, gated.ifmap, gated.residual, mode), mode


def _passes(
    layer: IntLayer, gated: Tap, params: HwParams, modes: Sequence[str], batch: int, masks: torch.Tensor | None
) -> Iterator[Pass]:
    size = (gated.ifmap.shape[2], gated.ifmap.shape[3])
    tiles: Sequence[tuple[int, int] | None] = [None]
    if layer.kind != "fc" and not fits_whole(layer, params, *size):
        tiles, batch = tile_rows(layer, params, *size), 1
    for mode in modes:
        variant, whole, compiled = _variant(layer, gated, mode, masks)
        for first in range(0, len(gated.ifmap), batch):
            tap = cut_tap(whole, slice(first, first + batch))
            for rows in tiles:
                program = compile_layer(
                    variant,
                    tap.ifmap,
                    tap.residual,
                    params,
                    compiled,
                    rows=rows,
                    masks=tap.decision if compiled == GateMode.FORCED else None,
                )
                decision = None
                if layer.gated and tap.decision is not None:
                    decision = tap.decision[:, :, slice(*(rows or (None,)))]
                count = count_layer(variant, size, len(tap.ifmap), params.in_par, decision, rows)
                geometry = program.geometry
                pooling = pool_cycles(geometry, params) * geometry.slices if geometry.pool else 0
                run = Run(program=program, cycle_limit=10_000 + 4 * (count.dense + pooling + len(program.weights)))
                yield Pass(variant, mode, first, run, tap, count, rows=rows)


def cut_tap(tap: Tap, images: slice) -> Tap:
    """Return a tap of some of its images."""

    def part(value: torch.Tensor | None) -> torch.Tensor | None:
        return None if value is None else value[images]

    return Tap(
        tap.ifmap[images],
        part(tap.residual),
        tap.psum_base[images],
        tap.psum[images],
        part(tap.decision),
        tap.ofmap[images],
    )
