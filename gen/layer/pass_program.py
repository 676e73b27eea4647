"""One pass of one layer, ready for the engine: what is loaded, what is streamed, where the ofmap lies then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gen.layer.geometry import Geometry
from gen.layer.packing import pack, packed_bytes
from gen.layer.places import MapPlace
from hw.interface.layouts import BankAddress, BankWrite, LayerRegisters, MaskRecord, ParameterWord
from hw.params import HwParams

__all__ = ["Program"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Everything that a pass needs.

    Attributes
    ----------
    layer
        Name of the layer.
    params
        The engine it was compiled for.
    geometry
        Sizes of the pass.
    registers
        Values by the field names of `hw.interface.layouts.LayerRegisters`.
    load_bank, load_addr, load_words
        Bank words: (n,), (n,) int64 and (n, in_par) uint8.
    parameters
        `hw.interface.layouts.ParameterWord` values, as `gen.layer.packing.pack` takes them.
    parameter_count
        Their number.
    weights
        Ring entries in order of use, (n, 8 * in_par) uint8: byte ``lane * in_par + k``.
    masks
        `hw.interface.layouts.MaskRecord` values that force the decisions, in job order; None where the engine decides.
    ofmap
        Where the ofmap lies after the pass; None if logits leave by their stream.
    channels
        Output channels or classes, without padding.
    signed
        Whether the ofmap's codes are int8.
    """

    layer: str
    params: HwParams
    geometry: Geometry
    registers: Mapping[str, int]
    load_bank: np.ndarray
    load_addr: np.ndarray
    load_words: np.ndarray
    parameters: Mapping[str, object]
    parameter_count: int
    masks: Mapping[str, np.ndarray] | None
    weights: np.ndarray
    ofmap: MapPlace | None
    channels: int
    signed: bool

    def layer_value(self) -> int:
        """Return the registers as one number: the port ``layer``."""
        packed = pack(LayerRegisters(self.params), self.registers, 1)
        return int.from_bytes(packed[0].tobytes(), "little")

    def packed_loads(self) -> np.ndarray:
        """Return the payloads of ``load_i``, packed."""
        fields = {"data": self.load_words, "addr": self.load_addr, "bank": self.load_bank}
        return pack(BankWrite(self.params), fields, len(self.load_addr))

    def packed_parameters(self) -> np.ndarray:
        """Return the payloads of ``param_i``, packed."""
        return pack(ParameterWord(self.params), self.parameters, self.parameter_count)

    def packed_masks(self) -> np.ndarray:
        """Return the payloads of ``mask_i``, packed; none where the engine decides."""
        if self.masks is None:
            return np.zeros((0, packed_bytes(MaskRecord(self.params))), dtype=np.uint8)
        return pack(MaskRecord(self.params), self.masks, len(self.masks["fire"]))

    def packed_reads(self) -> np.ndarray:
        """Return the payloads of ``read_i`` that read the ofmap in the order of `MapPlace.addresses`, packed."""
        addresses = np.zeros(0, dtype=np.int64) if self.ofmap is None else self.ofmap.addresses().reshape(-1)
        bank = 0 if self.ofmap is None else self.ofmap.bank
        return pack(BankAddress(self.params), {"addr": addresses, "bank": bank}, len(addresses))
