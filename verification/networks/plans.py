"""Random plans of networks: skips of every kind, maps read several times, shortcuts; as `random_network` takes them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from sw_model.integer.layer import IMAGE

__all__ = ["Plan", "pruned", "random_plan", "without"]

#: Convolutions in order of execution, as `sw_model.quantisation.plan.resnet_plan` lists them.
Plan = list[dict[str, Any]]

#: Rows and columns of the map that a classifier can pool.
_POOLED = 8


def random_plan(rng: random.Random, unit: int, groups: int, size: tuple[int, int], most: int) -> Plan:
    """Draw a plan.

    Parameters
    ----------
    rng
        Random numbers.
    unit
        Channels that a gated layer must have a multiple of.
    groups
        Of the gated layers.
    size
        Rows and columns of the image.
    most
        Layers, about.
    """
    stride, kernel = rng.choice([1, 1, 2]), rng.choice([3, 3, 3, 1])
    plan: Plan = []
    shapes: dict[str, tuple[int, int, int]] = {}  # channels, rows, columns

    def add(source: str, out_ch: int, kernel: int, stride: int, gated: bool, residual: str | None, relu: bool) -> None:
        channels, rows, cols = shapes.get(source, (3, *size))
        name = f"c{len(plan)}"
        shapes[name] = (out_ch, -(-rows // stride), -(-cols // stride))
        plan.append(
            {
                "name": name,
                "in_ch": channels,
                "out_ch": out_ch,
                "kernel": kernel,
                "stride": stride,
                "relu": relu,
                "gated": gated,
                "input": source,
                "residual": residual,
            }
        )

    width = unit * rng.choice([1, 1, 2])
    add(IMAGE, width, kernel, stride, False, None, True)
    if rng.random() < 0.15:  # the image is read twice
        add(IMAGE, width, kernel, stride, False, rng.choice([None, "c0"]), True)
    for _ in range(rng.randint(1, most)):
        readable = [one["name"] for one in plan if one["relu"]]
        source = readable[-1] if rng.random() < 0.6 else rng.choice(readable)
        channels, rows, cols = shapes[source]
        stride = 2 if min(rows, cols) > 2 and rng.random() < 0.25 else 1
        kernel = rng.choice([1, 3, 3])
        out_ch = rng.choice([channels, channels, unit, 2 * unit])
        shape = (out_ch, -(-rows // stride), -(-cols // stride))
        fitting = [name for name, found in shapes.items() if found == shape]
        residual = rng.choice(fitting) if fitting and rng.random() < 0.6 else None
        gated = channels % unit == 0 and out_ch % unit == 0 and rng.random() < 0.6
        if residual is None and rng.random() < 0.2:  # a shortcut that is only added, its codes signed
            add(source, out_ch, 1, stride, False, None, False)
            residual = plan[-1]["name"]
        add(source, out_ch, kernel, stride, gated, residual, True)
    while max(shapes[plan[-1]["name"]][1:]) > _POOLED:
        source = plan[-1]["name"]
        add(source, shapes[source][0], 3, 2, shapes[source][0] % unit == 0, None, True)
    return pruned(plan)


def pruned(plan: Sequence[dict[str, Any]]) -> Plan:
    """Return a plan without the layers whose result nobody reads, but for the last."""
    kept = list(plan)
    while True:
        read = {one[what] for one in kept for what in ("input", "residual")}
        left = [one for one in kept if one["name"] in read or one is kept[-1]]
        if len(left) == len(kept):
            return kept
        kept = left


def without(plan: Sequence[dict[str, Any]], number: int) -> Plan | None:
    """Return a plan without one of its layers, whose readers read its input instead; None if that cannot be."""
    gone = plan[number]
    if gone["input"] == IMAGE or len(plan) < 2:
        return None
    kept = []
    for one in (one for n, one in enumerate(plan) if n != number):
        changed = {**one, **{what: gone["input"] for what in ("input", "residual") if one[what] == gone["name"]}}
        if changed["input"] == gone["input"] and one["input"] != gone["input"] and gone["in_ch"] != gone["out_ch"]:
            return None
        if changed["residual"] != one["residual"] and (gone["stride"] != 1 or gone["in_ch"] != gone["out_ch"]):
            changed["residual"] = None
        kept.append(changed)
    return pruned(kept)
