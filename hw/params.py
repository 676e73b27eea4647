"""Parameters of the engine: the choices of a configuration, and every width derived from them."""

from dataclasses import dataclass
from functools import cached_property

from cdgate.errors import UserError

__all__ = ["BANKS", "BANK_BITS", "LANES", "MAX_GROUPS", "HwParams"]


#: Output channels of a slice, and MAC lanes of the array. SCDG decides once per 8 channels and pixel.
LANES = 8

#: Most output groups of a gated layer, of each of which the registers say where its base path begins.
MAX_GROUPS = 8

#: Activation banks.
BANKS = 4

#: Width of the number of an activation bank, in bits.
BANK_BITS = (BANKS - 1).bit_length()


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class HwParams:
    """What a configuration chooses, and the only place where its choices are checked against each other.

    Parameters
    ----------
    in_par : :class:`int`
        Input channels multiplied in one cycle by each lane: the channels of a chunk. 2, 4, 8 or 16.
    rq_lanes : :class:`int`
        Channels requantised in one cycle. 1, 2, 4 or 8, at most ``in_par``.
    bank_words : :class:`int`
        Depth of one of the four activation banks, in chunks of ``in_par`` bytes. A power of two.
    ring_entries : :class:`int`
        Depth of the weight ring, in entries of ``8 * in_par`` bytes. A power of two.
    psum_slots : :class:`int`
        Pixels whose psums may be in flight. 2 to 16.
    max_slices : :class:`int`
        Largest number of slices of a layer: bounds its output channels to ``8 * max_slices``. A power of two.
    max_map : :class:`int`
        Largest number of rows or columns of a map. A power of two.
    max_images : :class:`int`
        Largest number of images in one pass. A power of two.
    axi_bits : :class:`int`
        Width of the data of ``m_axi``, in bits. 32, 64 or 128.
    gating : :class:`bool`
        Whether the engine decides at all. One that does not computes every layer dense, as if it had no gate: no
        comparators, thresholds, conditional jobs and decisions. What gating costs is the difference.
    trace : :class:`bool`
        Whether the engine has the port ``trace_o``, on which ofmap writes can be watched.

    Raises
    ------
    :exc:`cdgate.errors.UserError`
        If a choice is not of its type, out of its range, or contradicts another.
    """

    in_par: int = 16
    rq_lanes: int = 4
    bank_words: int = 4096
    ring_entries: int = 512
    psum_slots: int = 16
    max_slices: int = 64
    max_map: int = 64
    max_images: int = 8
    axi_bits: int = 64
    gating: bool = True
    trace: bool = True

    def __post_init__(self) -> None:
        for name, allowed in (
            ("in_par", (2, 4, 8, 16)),
            ("rq_lanes", (1, 2, 4, 8)),
            ("psum_slots", range(2, 17)),
            ("axi_bits", (32, 64, 128)),
        ):
            self._check_int(name)
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} must be one of {', '.join(map(str, allowed))}, not {getattr(self, name)!r}")
        for name, low, high in (
            ("bank_words", 16, 65536),
            ("ring_entries", 16, 16384),
            ("max_slices", 2, 512),
            ("max_map", 4, 256),
            ("max_images", 1, 64),
        ):
            self._check_int(name)
            value = getattr(self, name)
            if not _is_power_of_two(value) or not low <= value <= high:
                raise UserError(f"{name} must be a power of two in {low}..{high}, not {value!r}")
        for name in ("gating", "trace"):
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"{name} must be a bool, not {getattr(self, name)!r}")
        if self.rq_lanes > self.in_par:
            raise UserError(
                f"rq_lanes must be at most in_par ({self.in_par}), as one write lies in one bank word, "
                f"not {self.rq_lanes!r}"
            )

    def _check_int(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UserError(f"{name} must be an integer, not {value!r}")

    @property
    def macs(self) -> int:
        """Multipliers of the MAC array."""
        return LANES * self.in_par

    @cached_property
    def rq_phases(self) -> int:
        """Cycles in which the 8 channels of a slice pass the requantiser."""
        return LANES // self.rq_lanes

    @cached_property
    def word_subs(self) -> int:
        """Write granules (of ``rq_lanes`` bytes) in a bank word."""
        return self.in_par // self.rq_lanes

    @cached_property
    def sub_bits(self) -> int:
        """Width of the number of a granule within its bank word, in bits."""
        return (self.word_subs - 1).bit_length()

    @property
    def pool_pace(self) -> int:
        """Cycles from a pooled word to the next at least: no pixel comes earlier, nor is the word written earlier."""
        return max(4, self.word_subs)

    @property
    def chunk_bits(self) -> int:
        """Width of a chunk: one word of an activation bank, in bits."""
        return 8 * self.in_par

    @property
    def entry_bits(self) -> int:
        """Width of an entry of the weight ring, in bits."""
        return 8 * self.macs

    @property
    def bank_addr_bits(self) -> int:
        """Width of a word address within a bank, in bits."""
        return (self.bank_words - 1).bit_length()

    @property
    def ring_addr_bits(self) -> int:
        """Width of an entry's address within the weight ring, in bits."""
        return (self.ring_entries - 1).bit_length()

    @property
    def ring_ptr_bits(self) -> int:
        """Width of a running entry count, in bits: differences of two counts in use keep their sign."""
        return self.ring_addr_bits + 3

    @property
    def slot_bits(self) -> int:
        """Width of the number of a psum slot, in bits."""
        return (self.psum_slots - 1).bit_length()

    @property
    def slice_bits(self) -> int:
        """Width of the number of a slice, in bits."""
        return (self.max_slices - 1).bit_length()

    @property
    def group_chunk_bits(self) -> int:
        """Width of the number of a chunk of a gated layer's ifmap, which has the channels of an ofmap, in bits."""
        return max(1, (LANES * self.max_slices // self.in_par - 1).bit_length())

    @property
    def map_bits(self) -> int:
        """Width of the number of a row or column, in bits."""
        return (self.max_map - 1).bit_length()

    @property
    def image_bits(self) -> int:
        """Width of the number of an image in its pass, in bits (1 at least)."""
        return max(1, (self.max_images - 1).bit_length())

    @property
    def param_words(self) -> int:
        """Depth of the memory of per-channel parameters, in words of ``rq_lanes`` channels: two halves, so that a
        layer's parameters are loaded while the one before is under way."""
        return 2 * self.max_slices * self.rq_phases

    @property
    def axi_bytes(self) -> int:
        """Bytes of a beat of ``m_axi``."""
        return self.axi_bits // 8

    @property
    def param_record_bytes(self) -> int:
        """Size of a parameter word in memory, in bytes: 16 for each channel."""
        return 16 * self.rq_lanes

    @property
    def param_addr_bits(self) -> int:
        """Width of an address of the memory of per-channel parameters, in bits."""
        return (self.param_words - 1).bit_length()
