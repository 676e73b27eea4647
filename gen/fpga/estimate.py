"""Estimates what a configuration takes of an FPGA, before any synthesis: multipliers, block RAMs, bits of memory.

The numbers are of an ECP5, whose multiplier MULT18X18D takes one product of 18 x 18 bits, and whose block RAM DP16KD
holds 18 kbit as 16384 x 1, 8192 x 2, 4096 x 4, 2048 x 9, 1024 x 18 or (as PDPW16KD) 512 x 36.

Multipliers: one for each of the ``8 * in_par`` MACs, and three for each lane of the requantiser (psum times
multiplier takes two, the residual one). Block RAMs of a memory: the least over these shapes of
ceil(width / shape's width) * ceil(depth / shape's depth), for each part of a word that is written by itself (in a bank
``rq_lanes`` bytes), summed over the memories that synthesis maps to block RAM: four activation banks, the weight ring
in its 8 lanes, the scales, the thresholds. Memories of a few entries (psums, queues) become LUTs. Both counts are
those of Yosys for `full` (140; 128 + 32 + 8 + 4 = 172) and `small` (35 and 54).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hw.interface.layouts import ParameterWord
from hw.params import BANKS, LANES, HwParams

__all__ = ["Memory", "estimate", "memories"]

#: Depth by width of the shapes of a block RAM.
SHAPES: Mapping[int, int] = MappingProxyType({1: 16384, 2: 8192, 4: 4096, 9: 2048, 18: 1024, 36: 512})

#: Multipliers of a requantiser's lane.
REQUANTISER = 3


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
        Memory("thresholds", 1, params.param_words, 1, word["thresholds"].width),
    ]


def estimate(params: HwParams) -> dict[str, Any]:
    """Return what an engine has and takes: MACs, KiB of a bank, ring entries, multipliers, block RAMs, bits."""
    parts = memories(params)
    return {
        "macs": params.macs,
        "bank_kib": params.bank_words * params.in_par / 1024,
        "ring_entries": params.ring_entries,
        "dsps": params.macs + REQUANTISER * params.rq_lanes,
        "brams": sum(part.block_rams for part in parts),
        "brams_of": {part.name: part.block_rams for part in parts},
        "memory_bits": sum(part.bits for part in parts),
    }
