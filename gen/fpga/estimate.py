"""Estimates what a configuration takes of an FPGA, before any synthesis: multipliers, block RAMs, tables, flip-flops.

The numbers are of an ECP5, whose multiplier MULT18X18D takes one product of 18 x 18 bits, and whose block RAM DP16KD
holds 18 kbit as 16384 x 1, 8192 x 2, 4096 x 4, 2048 x 9, 1024 x 18 or (as PDPW16KD) 512 x 36.

Multipliers: one for each of the ``8 * in_par`` MACs, and three for each lane of the requantiser (psum times
multiplier takes two, the residual one). Block RAMs of a memory: the least over these shapes of
ceil(width / shape's width) * ceil(depth / shape's depth), for each part of a word that is written by itself (in a bank
``rq_lanes`` bytes), summed over the memories that synthesis maps to block RAM: four activation banks, the weight ring
in its 8 lanes, the scales, the thresholds. Memories of a few entries (psums, queues) become LUTs. Both counts are
those of Yosys.

LUTs and flip-flops are those of the engine, without its pin harness, as `gen.synth` reports them: flip-flops that
blocks take in are not among them. Of each part of the engine they are a sum over `drivers`: bits that the part has
something for, as its adders or its registers, times what Yosys made of them.

The factors are fitted (`fitted`) on what Yosys 0.70 counted of the four named configurations, and of `tiny` with two
lanes of the requantiser, 16 psum slots, 64 slices and a bus of 32 bits; they meet all of these within 1 %.
``make test-slow ARGS="-k estimate"`` compares the named ones, and tells new factors where they are off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cdgate.errors import UsageError, UserError
from gen.fpga.devices import DEVICES, UNROUTED
from hw.interface.layouts import ParameterWord
from hw.params import BANKS, LANES, HwParams

__all__ = ["COEFFICIENTS", "Memory", "check_fits", "drivers", "estimate", "fitted", "memories"]

#: Depth by width of the shapes of a block RAM.
SHAPES: Mapping[int, int] = MappingProxyType({1: 16384, 2: 8192, 4: 4096, 9: 2048, 18: 1024, 36: 512})

#: Multipliers of a requantiser's lane.
REQUANTISER = 3

#: How much weight it has, against being off by as much, that a coefficient stays as it is.
TETHER = 0.02

#: LUTs and flip-flops for each of `drivers`.
COEFFICIENTS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "fixed": {"luts": 8550, "ffs": 10100},
        "adders": {"luts": 1.28, "ffs": 1.16},
        "weights": {"luts": 0.613, "ffs": 3.88},
        "psums": {"luts": 5.29, "ffs": 4.26},
        "banks": {"luts": 0.848, "ffs": 1.01},
        "requantiser": {"luts": 719, "ffs": 1060},
        "bus": {"luts": 10.9, "ffs": 25.6},
        "addresses": {"luts": 18.9, "ffs": 34.5},
    }
)


@dataclass(frozen=True)
class Memory:
    """Memories of one kind: how many, words of each, parts of a word that are written by themselves, bits of a part."""

    name: str
    count: int
    depth: int
    parts: int
    part_width: int

    @property
    def bits(self) -> int:
        """Bits of all of them."""
        return self.count * self.depth * self.parts * self.part_width

    @property
    def block_rams(self) -> int:
        """Block RAMs of an ECP5 that all of them take."""
        part = min(-(-self.part_width // width) * -(-self.depth // depth) for width, depth in SHAPES.items())
        return self.count * self.parts * part


def memories(params: HwParams) -> list[Memory]:
    """Return the memories of an engine that become block RAM."""
    word = ParameterWord(params)
    return [
        Memory("banks", BANKS, params.bank_words, params.word_subs, 8 * params.rq_lanes),
        Memory("ring", LANES, params.ring_entries, 1, params.chunk_bits),
        Memory("scales", 1, params.param_words, 1, word["scales"].width),
        Memory("thresholds", int(params.gating), params.param_words, 1, word["thresholds"].width),
    ]


def drivers(params: HwParams) -> dict[str, int]:
    """Return what LUTs and flip-flops grow with, by the part of the engine that it is of."""
    levels = range(1, params.in_par.bit_length())
    granules = BANKS * params.word_subs
    addresses = 2 * params.bank_addr_bits + 8 * params.rq_lanes + 3
    return {
        # What every engine has: control, instructions, jobs, the lanes' accumulators.
        "fixed": 1,
        # Bits of the sums in the lanes' adder trees: of level l there are in_par / 2 ** l, of 16 + l bits.
        "adders": LANES * sum((params.in_par >> level) * (16 + level) for level in levels),
        # Bits of an entry of the weight ring, on its way from the bus to the lanes.
        "weights": params.entry_bits,
        # Places for psums, each with its decisions in every lane.
        "psums": LANES * params.psum_slots,
        # Bits of the registers at the banks' memories.
        "banks": granules * addresses,
        # Lanes of the requantiser, with parameters, operands and logits.
        "requantiser": params.rq_lanes,
        # Bits of a beat.
        "bus": params.axi_bits,
        # Bits of the numbers that say which word, entry, slice, row, column, image, slot.
        "addresses": params.bank_addr_bits
        + params.ring_addr_bits
        + params.slice_bits
        + params.map_bits
        + params.image_bits
        + params.slot_bits,
    }


def estimate(params: HwParams) -> dict[str, Any]:
    """Return what an engine has and takes: MACs, KiB of a bank, ring entries; LUTs, flip-flops, multipliers, RAMs.

    LUTs, flip-flops and block RAMs are also told by what they are for, and there are the bits of the block RAMs.
    """
    parts = memories(params)
    of = {
        resource: {name: round(number * COEFFICIENTS[name][resource]) for name, number in drivers(params).items()}
        for resource in ("luts", "ffs")
    }
    return {
        "macs": params.macs,
        "bank_kib": params.bank_words * params.in_par / 1024,
        "ring_entries": params.ring_entries,
        **{resource: sum(numbers.values()) for resource, numbers in of.items()},
        "dsps": params.macs + REQUANTISER * params.rq_lanes,
        "brams": sum(part.block_rams for part in parts),
        "luts_of": of["luts"],
        "ffs_of": of["ffs"],
        "brams_of": {part.name: part.block_rams for part in parts},
        "memory_bits": sum(part.bits for part in parts),
    }


def fitted(counted: Sequence[tuple[HwParams, Mapping[str, int]]]) -> dict[str, dict[str, float]]:
    """Return new `COEFFICIENTS` for an engine that has changed, of three digits.

    The squares of what the estimate is off, as a share of what was counted, are made least. There are more coefficients
    than a few configurations tell apart, so those are taken that differ least from the present ones.

    Parameters
    ----------
    counted
        Configurations, and their LUTs and flip-flops as Yosys counted them.
    """
    import numpy as np

    rows = np.array([list(drivers(params).values()) for params, _ in counted], float)
    found: dict[str, dict[str, float]] = {name: {} for name in COEFFICIENTS}
    for resource in ("luts", "ffs"):
        sums = np.array([counts[resource] for _, counts in counted], float)
        now = np.array([factors[resource] for factors in COEFFICIENTS.values()])
        # What each driver adds, as a share of the sum; the unknowns are by which share it changes.
        shares = rows * now / sums[:, None]
        changes, *_ = np.linalg.lstsq(
            np.vstack([shares, TETHER * np.eye(len(now))]),
            np.concatenate([1 - shares.sum(axis=1), np.zeros(len(now))]),
        )
        for name, factor in zip(COEFFICIENTS, now * np.maximum(0, 1 + changes), strict=True):
            found[name][resource] = float(f"{factor:.3g}")
    return found


def check_fits(target: str, config: str, params: HwParams) -> None:
    """Raise an error if a device has not what an engine takes.

    Parameters
    ----------
    target
        Name of the device, in `gen.fpga.devices.DEVICES` or `UNROUTED`.
    config, params
        The engine. If it is a whole one or its core alone is all the same: blocks are in the core.

    Raises
    ------
    UserError
        If something is too little: which, how much is needed and how much there is; LUTs and flip-flops by estimate.
    UsageError
        If all of it is enough, but the device is one that cannot be routed here.
    """
    found = estimate(params)
    if target in DEVICES:
        title, room = DEVICES[target].title, DEVICES[target].room
        needs = [
            ("LUTs", found["luts"], room["luts"], "about "),
            ("flip-flops", found["ffs"], room["ffs"], "about "),
            ("multipliers", found["dsps"], room["dsps"], ""),
            ("block RAMs", found["brams"], room["brams"], ""),
        ]
    else:
        other = UNROUTED[target]
        title = other.title
        products = -(-params.macs // other.products)
        needs = [
            ("logic cells", max(found["luts"], found["ffs"]), other.cells, "about "),
            ("multipliers", products + REQUANTISER * params.rq_lanes, other.multipliers, ""),
            ("bits of memory", found["memory_bits"], other.memory_bits, ""),
        ]
    over = [
        f"the {room:,} {what} of an {title}, not {about}{needed:,}"
        for what, needed, room, about in needs
        if needed > room
    ]
    if over:
        raise UserError(f"configuration {config} must take at most {'; at most '.join(over)}")
    if target in UNROUTED:
        raise UsageError(f"target must be one that can be routed here, {', '.join(DEVICES)}, which {target} is not")
