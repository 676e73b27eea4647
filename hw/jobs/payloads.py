"""Payloads between the components that prepare and end jobs."""

from amaranth.hdl import signed
from amaranth.lib import data

from hw.params import LANES

__all__ = ["BasePixel", "Job", "JobEnd", "SINGLE", "PoolJob", "SliceContext", "StepControl", "TapFlags"]

#: Which taps of a pixel lie outside the map.
TapFlags = data.StructLayout({"top": 1, "bottom": 1, "left": 1, "right": 1})


def BasePixel(params):
    """A pixel of the newest slice, for which a base job is due."""
    return data.StructLayout(
        {
            "tap_addr": params.bank_addr_bits,  # of the first tap inside the map
            "flags": TapFlags,
            "ofmap_addr": params.bank_addr_bits,
            "residual_addr": params.bank_addr_bits,
            "image": params.image_bits,
            "row": params.map_bits,
            "col": params.map_bits,
            "slice": params.slice_bits,
            "last": 1,  # of its slice
        }
    )


def SliceContext(params):
    """What the jobs of one slice have in common. Chunk numbers count from the start of a pixel."""
    return data.StructLayout(
        {
            "base_first": params.bank_addr_bits,
            "base_last": params.bank_addr_bits,
            "cond_first": params.bank_addr_bits,
            "base_ptr": params.ring_ptr_bits,  # of the base path's first entry
            "cond_ptr": params.ring_ptr_bits,
            "end_ptr": params.ring_ptr_bits,  # past the conditional path's last entry
            "thresholds": data.ArrayLayout(signed(32), LANES),
        }
    )


#: Of what a job has but one: of chunks, tap rows, tap columns. They say the same as its numbers, and need no adder.
SINGLE = data.StructLayout({"chunk": 1, "row": 1, "col": 1})


def Job(params):
    """A run of MAC steps of one (pixel, slice): valid taps x chunks of one path."""
    addr = params.bank_addr_bits
    return data.StructLayout(
        {
            "cond": 1,
            "slot": params.slot_bits,
            "tap_addr": addr,
            "tap_rows": 3,  # valid tap rows, minus one
            "tap_cols": 3,
            "chunk_first": addr,
            "chunks": params.ring_addr_bits,  # of the path, minus one
            "single": SINGLE,
            "skip_at": addr,  # after this chunk comes `skip_to`
            "skip_to": addr,
            "weight_addr": params.ring_addr_bits,
            "row_inc": params.ring_addr_bits,  # from a tap row's last entry to the next row's first
            "parity": 1,  # of the slice
            "forced": LANES,  # decisions to take in forced mode
        }
    )


def PoolJob(params):
    """A run of steps of one word of a pixel, which is pooled: valid taps. The fields are those of `Job`."""
    return data.StructLayout(
        {
            "tap_addr": params.bank_addr_bits,
            "tap_rows": 3,
            "tap_cols": 3,
            "chunk": params.bank_addr_bits,  # the only one
            "single": SINGLE,
        }
    )


def StepControl(params):
    """What travels with a step through the MAC array, or beside it to :class:`MaxPool`."""
    return data.StructLayout(
        {"valid": 1, "first": 1, "last": 1, "cond": 1, "slot": params.slot_bits, "parity": 1, "forced": LANES}
    )


def JobEnd(params):
    """The outcome of a job. ``base``: of the base path; ``fire``: the slot's conditional job is due; otherwise its
    psum is complete."""
    return data.StructLayout({"valid": 1, "base": 1, "fire": 1, "slot": params.slot_bits, "parity": 1})
