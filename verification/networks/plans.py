"""Random plans of networks: skips of every kind, maps read several times, shortcuts; as `random_network` takes them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from sw_model.integer.layer import IMAGE

__all__ = ["Plan", "pruned", "random_plan", "without"]

#: Layers in order of execution, as `sw_model.quantisation.plan.resnet_plan` lists them.
Plan = list[dict[str, Any]]

#: Rows and columns of the map that a classifier can pool.
_POOLED = 8

#: Rows and columns of a map that a Linear layer reads whole.
_LINEAR = 6


def random_plan(rng: random.Random, unit: int, size: tuple[int, int], most: int, colours: int = 3) -> Plan:
    """Draw a plan.

    Parameters
    ----------
    rng
        Random numbers.
    unit
        Channels that a gated layer must have a multiple of.
    size
        Rows and columns of the image.
    most
        Layers, about.
    colours
        Channels of the image.
    """
    drawn = _Drawn(rng, unit, size, colours)
    width = unit * rng.choice([1, 1, 2])
    kernel = drawn.kernel(IMAGE, [3, 3, 3, 1, 2, 5, 7])
    pad, stride = rng.choice([kernel // 2, kernel // 2, 0]), rng.choice([1, 1, 2])
    drawn.add(IMAGE, width, kernel, stride, pad)
    if rng.random() < 0.15:  # the image is read twice
        drawn.add(IMAGE, width, kernel, stride, pad, residual=rng.choice([None, "c0"]))
    for _ in range(rng.randint(1, most)):
        drawn.step()
    while max(drawn.shapes[drawn.names[-1]][1:]) > _POOLED:
        source = drawn.names[-1]
        drawn.add(source, drawn.shapes[source][0], 3, 2, 1, gated=drawn.shapes[source][0] % unit == 0)
    return pruned(drawn.plan)


class _Drawn:
    """A plan that grows, with the shapes of its maps: channels, rows, columns."""

    def __init__(self, rng: random.Random, unit: int, size: tuple[int, int], colours: int) -> None:
        self.rng, self.unit = rng, unit
        self.plan: Plan = []
        self.shapes: dict[str, tuple[int, int, int]] = {}
        self.signed: set[str] = set()
        self._image = (colours, *size)

    @property
    def names(self) -> list[str]:
        """Maps that a layer can read: codes without a sign."""
        return [name for name in self.shapes if name not in self.signed]

    def shape(self, source: str, window: int, stride: int, pad: int) -> tuple[int, int]:
        """Return rows and columns behind a window."""
        _, *sizes = self.shapes.get(source, self._image)
        rows, cols = ((size + 2 * pad - window) // stride + 1 for size in sizes)
        return rows, cols

    def kernel(self, source: str, wanted: list[int]) -> int:
        """Draw a kernel that fits a map without padding, too."""
        least = min(self.shapes.get(source, self._image)[1:])
        return self.rng.choice([size for size in wanted if size <= least] or [1])

    def add(
        self, source: str, out_ch: int, kernel: int, stride: int, pad: int, *, gated: bool = False,
        residual: str | None = None, relu: bool = True,
    ) -> str:  # fmt: skip
        """Add a convolution; return its name."""
        name = f"c{len(self.plan)}"
        in_ch = self.shapes.get(source, self._image)[0]
        self.shapes[name] = (out_ch, *self.shape(source, kernel, stride, pad))
        if not relu:
            self.signed.add(name)
        self.plan.append(
            {
                "name": name,
                "in_ch": in_ch,
                "out_ch": out_ch,
                "kernel": kernel,
                "stride": stride,
                "pad": pad,
                "relu": relu,
                "gated": gated,
                "input": source,
                "residual": residual,
            }
        )
        return name

    def pool(self, source: str, window: int, stride: int, pad: int) -> str:
        """Add a max-pooling; return its name."""
        name = f"c{len(self.plan)}"
        self.shapes[name] = (self.shapes[source][0], *self.shape(source, window, stride, pad))
        if source in self.signed:
            self.signed.add(name)
        self.plan.append({"name": name, "window": window, "stride": stride, "pad": pad, "input": source})
        return name

    def step(self) -> None:
        """Add a layer or two: a pooling, a Linear layer, or a convolution with or without something added."""
        rng = self.rng
        source = self.names[-1] if rng.random() < 0.6 else rng.choice(self.names)
        channels, rows, cols = self.shapes[source]
        if rng.random() < 0.15:
            window, stride, pad = rng.choice([2, 2, 3]), rng.choice([1, 2, 2]), rng.choice([0, 0, 1])
            window, pad = (2, 1) if min(rows, cols) < window else (window, pad)
            self.pool(source, window, stride, pad)
            return
        if rows == cols <= _LINEAR and rng.random() < 0.1:  # Linear: a convolution as large as its map
            self.add(source, rng.choice([self.unit, rng.randint(1, 40)]), rows, 1, 0)
            return
        stride = 2 if min(rows, cols) > 2 and rng.random() < 0.25 else 1
        kernel = rng.choice([1, 3, 3]) if rng.random() < 0.85 else self.kernel(source, [2, 3, 4, 5, 6, 7, 8])
        pad = 1 if kernel == 3 else rng.choice([0, 0, 1]) if kernel > 1 else 0
        out_ch = rng.choice([channels, channels, self.unit, 2 * self.unit])
        shape = (out_ch, *self.shape(source, kernel, stride, pad))
        fitting = [name for name, found in self.shapes.items() if found == shape]
        residual = rng.choice(fitting) if fitting and rng.random() < 0.6 else None
        gated = channels % self.unit == 0 and out_ch % self.unit == 0 and rng.random() < 0.6
        if residual is None and (kernel, pad) in ((1, 0), (3, 1)) and rng.random() < 0.2:
            # A shortcut that is only added, its codes signed; it may be pooled on its way.
            residual = self.add(source, out_ch, 1, stride, 0, relu=False)
            if rng.random() < 0.2 and min(shape[1:]) > 1:
                residual = self.pool(residual, 3, 1, 1)
        self.add(source, out_ch, kernel, stride, pad, gated=gated, residual=residual)


def pruned(plan: Sequence[dict[str, Any]]) -> Plan:
    """Return a plan without the layers whose result nobody reads, but for the last."""
    kept = list(plan)
    while True:
        read = {one.get(what) for one in kept for what in ("input", "residual")}
        left = [one for one in kept if one["name"] in read or one is kept[-1]]
        if len(left) == len(kept):
            return kept
        kept = left


def without(plan: Sequence[dict[str, Any]], number: int) -> Plan | None:
    """Return a plan without one of its layers, whose readers read its input instead; None if that cannot be."""
    gone = plan[number]
    if gone["input"] == IMAGE or len(plan) < 2:
        return None
    pools = "window" in gone
    same_channels = pools or gone["in_ch"] == gone["out_ch"]
    same_map = same_channels and gone["stride"] == 1 and 2 * gone["pad"] + 1 == gone["window" if pools else "kernel"]
    kept = []
    for one in (one for n, one in enumerate(plan) if n != number):
        links = [what for what in ("input", "residual") if one.get(what) == gone["name"]]
        changed = {**one, **dict.fromkeys(links, gone["input"])}
        if "input" in links and not same_channels:
            return None
        if "residual" in links and not same_map:
            changed["residual"] = None
        kept.append(changed)
    return pruned(kept)
