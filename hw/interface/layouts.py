"""Layouts of what crosses component borders. Each is declared once, here, and imported on both sides.

The simulation and the compiler pack the same layouts, so a field has one place, one width and one meaning.
"""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

from hw.interface.described import DescribedLayout, Field, Group, Member
from hw.params import BANK_BITS, LANES, MAX_GROUPS

__all__ = [
    "GateMode",
    "IdleCause",
    "Refusal",
    "LayerRegisters",
    "CounterLayout",
    "BankWrite",
    "BankAddress",
    "OfmapWrite",
    "ParameterWord",
    "MaskRecord",
    "LogitRecord",
]


class GateMode(enum.Enum, shape=3):
    """What decides whether a conditional path is computed."""

    GATED = Member(0, "The slice's saliency against the slice's threshold: one decision for 8 channels (SCDG).")
    DENSE = Member(1, "Nothing: every conditional path is computed.")
    BASE = Member(2, "Nothing: no conditional path is computed. Also the mode of layers that have none.")
    CHANNEL = Member(
        3,
        "Each channel's base psum against the channel's threshold (CDG, CGNet): the conditional job runs "
        "if any channel fires.",
    )
    FORCED = Member(4, "The records of `mask_i`, a bit for each channel.")


class IdleCause(enum.Enum, shape=3):
    """Why the MAC array had no step in a cycle."""

    START = Member(0, "The first job is being prepared.")
    WEIGHTS = Member(1, "The weights of every job that could run are still to come.")
    DECISION = Member(
        2,
        "No psum slot is free and no conditional job waits: decisions or requantisation are under way.",
    )
    OUTPUT = Member(3, "Decisions or logits are not taken by their consumer.")
    INPUT = Member(4, "The forced decisions are still to come.")
    END = Member(5, "The last step has been issued, the last ofmap write has not.")
    POOL = Member(6, "A pooling pass is under way.")


class Refusal(enum.Enum, shape=2):
    """Why a start was refused: what the engine is."""

    NONE = Member(0, "it was not")
    BUSY = Member(1, "busy")
    STOPPED = Member(2, "stopped by an error")


def LayerRegisters(params):
    """Registers of one layer and pass; constant while the engine is busy.

    Addresses and steps are in words of an activation bank, unless noted. A field called ``_last`` holds a count
    minus one.
    """
    addr = params.bank_addr_bits
    entries = params.ring_addr_bits + 1
    return DescribedLayout(
        Group(
            "What is computed.",
            mode=Field(GateMode, "what decides: a gate mode"),
            image_last=Field(params.image_bits, "images of the pass, minus one"),
            slice_last=Field(
                params.slice_bits, "slices of the ofmap, in `POOL` of at least `in_par` channels each, minus one"
            ),
            row_last=Field(params.map_bits, "rows of the ofmap, minus one"),
            col_last=Field(params.map_bits, "columns of the ofmap, minus one"),
        ),
        Group(
            "Taps of a pixel inside the map, and which of them fall outside at the map's borders.",
            tap_row_last=Field(
                3, "rows of the kernel, or of what is pooled, a window or a classifier's map, minus one"
            ),
            tap_col_last=Field(3, "the same of its columns"),
            pad_top=Field(1, "the first row lacks its first tap row"),
            pad_bottom=Field(1, "the last row lacks its last tap row"),
            pad_left=Field(1, "the first column lacks its first tap column"),
            pad_right=Field(1, "the last column lacks its last tap column"),
        ),
        Group(
            "Where feature maps are.",
            ifmap_bank=Field(BANK_BITS, "activation bank that is read"),
            residual_bank=Field(BANK_BITS, "activation bank of the residual, if there is one; not the ifmap's"),
            ofmap_bank=Field(BANK_BITS, "activation bank that is written; not the ifmap's"),
        ),
        Group(
            "With padding the first pixel's first tap lies before the map: ifmap_base is the map's base - pad steps, "
            "modulo the address width.",
            ifmap_base=Field(addr, "of the first pixel's first tap"),
            residual_base=Field(addr, "of the first pixel"),
            ofmap_base=Field(addr, "of the first pixel"),
            ifmap_image_step=Field(addr, "from an image to the next"),
            residual_image_step=Field(addr, "from an image to the next"),
            ofmap_image_step=Field(addr, "from an image to the next"),
            tap_col_step=Field(addr, "from a pixel to its right neighbour: chunks of a pixel of the ifmap"),
            tap_row_step=Field(addr, "from a pixel to the one below"),
            ifmap_col_step=Field(addr, "the same from one output pixel to the next: stride * tap_col_step"),
            ifmap_row_step=Field(addr, "from one row of output pixels to the next: stride * tap_row_step"),
            ofmap_col_step=Field(addr, "words of a pixel of the ofmap, and of the residual"),
        ),
        Group(
            "Which chunks are the base path. Branch and G are in these: each output group reads any one input group.",
            base_chunk_last=Field(addr, "chunks of one input group, minus one"),
            **{
                f"base_first_{n}": Field(params.group_chunk_bits, f"first base chunk of output group {n}")
                for n in range(MAX_GROUPS)
            },
            group_slice_last=Field(params.slice_bits, "slices of an output group, minus one"),
        ),
        Group(
            "Entries of the weight ring.",
            base_entries=Field(entries, "of one slice's base path"),
            cond_entries=Field(entries, "of one slice's conditional path; 0 if there is none"),
            base_tap_entries=Field(entries, "of one tap: chunks of the path"),
            cond_tap_entries=Field(entries, "the same of the conditional path"),
            base_row_entries=Field(entries, "of one row of taps"),
            cond_row_entries=Field(entries, "the same of the conditional path"),
            weight_hold=Field(1, "weights do not advance with the tap (pooling + classifier)"),
        ),
        Group(
            "Requantisation.",
            param_half=Field(1, "of the parameter memory that holds this layer's"),
            residual_enable=Field(1, "a residual is added"),
            residual_signed=Field(1, "the residual's codes are int8, not uint8"),
            residual_scale=Field(unsigned(16), "R0"),
            residual_shift=Field(5, "Q"),
            shift=Field(6, "S"),
            signed_output=Field(1, "clamp to -128..127, not 0..255; in `POOL` codes are int8, not uint8"),
            logits=Field(1, "int32 sums leave by `logit_o`; nothing is written to a bank"),
        ),
        Group(
            "What kind of pass it is. One that pools reads no weights and no parameters; fields about them, about the "
            "base path and about the residual mean nothing to it.",
            pool=Field(1, "the greatest code of the taps is taken: 1 in `POOL`, 0 in `COMPUTE`"),
        ),
    )


#: Counters of one pass. Every cycle from the one after ``start`` to the last ofmap write is in exactly one of
#: ``base_steps``, ``cond_steps`` and ``idle``.
CounterLayout = data.StructLayout(
    {
        "cycles": unsigned(40),
        "base_steps": unsigned(40),
        "cond_steps": unsigned(40),
        "decisions": unsigned(40),  # made by the saliency comparator
        "fired": unsigned(40),  # of these
        "idle": data.ArrayLayout(unsigned(40), len(IdleCause)),  # indexed by `IdleCause`
    }
)


def BankAddress(params):
    """A word of the activation banks."""
    return data.StructLayout({"addr": params.bank_addr_bits, "bank": BANK_BITS})


def BankWrite(params):
    """A word for the activation banks; channel ``n`` of the chunk in bits ``8 * n`` and up."""
    return data.StructLayout({"data": params.chunk_bits, "addr": params.bank_addr_bits, "bank": BANK_BITS})


def OfmapWrite(params):
    """``rq_lanes`` activation codes on their way into the ofmap: granule ``sub`` of a bank word."""
    return data.StructLayout(
        {
            "codes": data.ArrayLayout(unsigned(8), params.rq_lanes),
            "sub": params.sub_bits,
            "addr": params.bank_addr_bits,
        }
    )


def ParameterWord(params):
    """Parameters of ``rq_lanes`` channels of slice ``address // rq_phases``, phase ``address % rq_phases``.

    ``offset`` is B plus the rounding term ``1 << (S - 1)``. ``thresholds`` are K of the channels; in slice mode
    that of the slice, the same for all.
    """
    return data.StructLayout(
        {
            "scales": data.ArrayLayout(
                data.StructLayout({"multiplier": signed(16), "offset": signed(48)}), params.rq_lanes
            ),
            "thresholds": data.ArrayLayout(signed(32), params.rq_lanes),
            "address": params.param_addr_bits,
        }
    )


def MaskRecord(params):
    """One decision: a bit per channel of the slice, all equal in slice mode."""
    return data.StructLayout(
        {
            "fire": LANES,
            "slice": params.slice_bits,
            "col": params.map_bits,
            "row": params.map_bits,
            "image": params.image_bits,
        }
    )


def LogitRecord(params):
    """Logits of ``rq_lanes`` classes, from class ``8 * slice + rq_lanes * phase`` on."""
    return data.StructLayout(
        {
            "logits": data.ArrayLayout(signed(32), params.rq_lanes),
            "phase": (params.rq_phases - 1).bit_length(),
            "slice": params.slice_bits,
            "image": params.image_bits,
        }
    )
