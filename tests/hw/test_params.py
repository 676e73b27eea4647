"""Configurations that must be refused, and the widths that follow from the others."""

import pytest

from cdgate.errors import UserError
from hw.params import LANES, HwParams


@pytest.mark.parametrize(
    "name, message",
    [
        ("in_par", "in_par must be one of 2, 4, 8, 16, not {!r}"),
        ("rq_lanes", "rq_lanes must be one of 1, 2, 4, 8, not {!r}"),
        ("psum_slots", "psum_slots must be one of 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, not {!r}"),
    ],
)
@pytest.mark.parametrize("value", [-2, 0, 1, 3, 17, 32])
def test_choice_wrong(name, message, value):
    if (name, value) in {("rq_lanes", 1), ("psum_slots", 3)}:
        HwParams(**{name: value})
        return
    with pytest.raises(UserError) as error:
        HwParams(**{name: value})
    assert str(error.value) == message.format(value)


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("bank_words", 16, 65536),
        ("ring_entries", 16, 16384),
        ("max_slices", 2, 512),
        ("max_map", 4, 256),
        ("max_images", 1, 64),
    ],
)
def test_power_of_two_wrong(name, low, high):
    for value in (low, high):
        assert getattr(HwParams(**{name: value}), name) == value
    for value in (low // 2, high * 2, high - 1, 0, -low):
        with pytest.raises(UserError) as error:
            HwParams(**{name: value})
        assert str(error.value) == f"{name} must be a power of two in {low}..{high}, not {value!r}"


@pytest.mark.parametrize(
    "name", ["in_par", "rq_lanes", "bank_words", "ring_entries", "psum_slots", "max_slices", "max_map", "max_images"]
)
@pytest.mark.parametrize("value", [4.0, "4", None, True])
def test_type_wrong(name, value):
    with pytest.raises(UserError) as error:
        HwParams(**{name: value})
    assert str(error.value) == f"{name} must be an integer, not {value!r}"


@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_trace_wrong(value):
    with pytest.raises(UserError) as error:
        HwParams(trace=value)
    assert str(error.value) == f"trace must be a bool, not {value!r}"


@pytest.mark.parametrize("in_par, rq_lanes", [(2, 4), (2, 8), (4, 8)])
def test_rq_lanes_wrong_for_in_par(in_par, rq_lanes):
    with pytest.raises(UserError) as error:
        HwParams(in_par=in_par, rq_lanes=rq_lanes)
    assert str(error.value) == (
        f"rq_lanes must be at most in_par ({in_par}), as one write lies in one bank word, not {rq_lanes}"
    )


def test_positional_wrong():
    with pytest.raises(TypeError, match="positional"):
        HwParams(16)


@pytest.mark.parametrize(
    "in_par, rq_lanes",
    [(in_par, rq_lanes) for in_par in (2, 4, 8, 16) for rq_lanes in (1, 2, 4, 8) if rq_lanes <= in_par],
)
def test_requantiser_phases_cover_slice(in_par, rq_lanes):
    params = HwParams(in_par=in_par, rq_lanes=rq_lanes)
    assert params.macs == LANES * in_par
    assert params.chunk_bits == 8 * in_par
    assert params.entry_bits == 64 * in_par
    assert params.rq_phases * rq_lanes == LANES
    assert params.word_subs * rq_lanes == in_par
    assert 1 << params.sub_bits == params.word_subs
    assert 1 << params.param_addr_bits == params.param_words == 2 * params.max_slices * params.rq_phases


@pytest.mark.parametrize("slots, bits", [(2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (16, 4)])
def test_slot_bits(slots, bits):
    assert HwParams(psum_slots=slots).slot_bits == bits


def test_address_bits():
    params = HwParams(bank_words=4096, ring_entries=512, max_slices=32, max_map=16, max_images=1)
    assert (params.bank_addr_bits, params.ring_addr_bits, params.slice_bits, params.map_bits) == (12, 9, 5, 4)
    assert params.image_bits == 1  # a field of width 0 could not be a port
    assert HwParams(max_images=8).image_bits == 3
    # The ring and a slice of any size that fits it stay apart by less than half of the counts.
    assert 1 << (params.ring_ptr_bits - 1) > 3 * params.ring_entries


def test_frozen():
    with pytest.raises(AttributeError):
        HwParams().in_par = 8
