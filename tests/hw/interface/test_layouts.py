"""Layouts: width and sign of every field in two configurations, and values that survive packing."""

import random

import pytest
from amaranth.hdl import Shape, ShapeCastable
from amaranth.lib import data

from hw.interface import layouts
from hw.interface.layouts import CounterLayout, GateMode, IdleCause
from hw.jobs import payloads
from hw.jobs.payloads import TapFlags
from hw.params import HwParams

SMALL = HwParams(
    in_par=2, rq_lanes=1, bank_words=64, ring_entries=32, psum_slots=5, max_slices=4, max_map=8, max_images=1
)
LARGE = HwParams(
    in_par=16, rq_lanes=4, bank_words=4096, ring_entries=1024, psum_slots=16, max_slices=64, max_map=64, max_images=8
)

# Name: (width in SMALL, width in LARGE), negative if signed; in order.
ADDR, SLICE, MAP, IMAGE, SLOT, ENTRIES, RING, PTR = (6, 12), (2, 6), (3, 6), (1, 3), (3, 4), (6, 11), (5, 10), (8, 13)
ONE = (1, 1)
WIDTHS = {
    "LayerRegisters": {
        "mode": (3, 3),
        "image_last": IMAGE,
        "slice_last": SLICE,
        "row_last": MAP,
        "col_last": MAP,
        "tap_row_last": (3, 3),
        "tap_col_last": (3, 3),
        "pad_top": ONE,
        "pad_bottom": ONE,
        "pad_left": ONE,
        "pad_right": ONE,
        "ifmap_bank": (2, 2),
        "residual_bank": (2, 2),
        "ofmap_bank": (2, 2),
        "ifmap_base": ADDR,
        "residual_base": ADDR,
        "ofmap_base": ADDR,
        "ifmap_image_step": ADDR,
        "residual_image_step": ADDR,
        "ofmap_image_step": ADDR,
        "tap_col_step": ADDR,
        "tap_row_step": ADDR,
        "ifmap_col_step": ADDR,
        "ifmap_row_step": ADDR,
        "ofmap_col_step": ADDR,
        "base_chunk_last": ADDR,
        **{f"base_first_{n}": (4, 5) for n in range(8)},
        "group_slice_last": SLICE,
        "base_entries": ENTRIES,
        "cond_entries": ENTRIES,
        "base_tap_entries": ENTRIES,
        "cond_tap_entries": ENTRIES,
        "base_row_entries": ENTRIES,
        "cond_row_entries": ENTRIES,
        "weight_hold": ONE,
        "param_half": ONE,
        "residual_enable": ONE,
        "residual_signed": ONE,
        "residual_scale": (16, 16),
        "residual_shift": (5, 5),
        "shift": (6, 6),
        "signed_output": ONE,
        "logits": ONE,
        "pool": ONE,
    },
    "BankAddress": {"addr": ADDR, "bank": (2, 2)},
    "BankWrite": {"data": (16, 128), "addr": ADDR, "bank": (2, 2)},
    "OfmapWrite": {"codes": (8, 32), "sub": (1, 2), "addr": ADDR},
    "ParameterWord": {"scales": (64, 256), "thresholds": (32, 128), "address": (6, 8)},
    "MaskRecord": {"fire": (8, 8), "slice": SLICE, "col": MAP, "row": MAP, "image": IMAGE},
    "LogitRecord": {"logits": (32, 128), "phase": (3, 1), "slice": SLICE, "image": IMAGE},
    "BasePixel": {
        "tap_addr": ADDR,
        "flags": (4, 4),
        "ofmap_addr": ADDR,
        "residual_addr": ADDR,
        "image": IMAGE,
        "row": MAP,
        "col": MAP,
        "slice": SLICE,
        "last": ONE,
    },
    "SliceContext": {
        "base_first": ADDR,
        "base_last": ADDR,
        "cond_first": ADDR,
        "base_ptr": PTR,
        "cond_ptr": PTR,
        "end_ptr": PTR,
        "thresholds": (256, 256),
    },
    "Job": {
        "cond": ONE,
        "slot": SLOT,
        "tap_addr": ADDR,
        "tap_rows": (3, 3),
        "tap_cols": (3, 3),
        "chunk_first": ADDR,
        "chunks": RING,
        "single": (3, 3),
        "skip_at": ADDR,
        "skip_to": ADDR,
        "weight_addr": RING,
        "row_inc": RING,
        "parity": ONE,
        "forced": (8, 8),
    },
    "PoolJob": {"tap_addr": ADDR, "tap_rows": (3, 3), "tap_cols": (3, 3), "chunk": ADDR, "single": (3, 3)},
    "StepControl": {
        "valid": ONE,
        "first": ONE,
        "last": ONE,
        "cond": ONE,
        "slot": SLOT,
        "parity": ONE,
        "forced": (8, 8),
    },
    "JobEnd": {"valid": ONE, "base": ONE, "fire": ONE, "slot": SLOT, "parity": ONE},
}
CONFIGS = [(0, SMALL), (1, LARGE)]

#: The layouts by name, from both of the places where they are declared.
LAYOUTS = {name: getattr(module, name) for module in (layouts, payloads) for name in module.__all__}


@pytest.mark.parametrize("column, params", CONFIGS)
@pytest.mark.parametrize("name", WIDTHS)
def test_field_widths(name, column, params):
    layout = LAYOUTS[name](params)
    assert list(layout.members) == list(WIDTHS[name])
    offset = 0
    for field, widths in WIDTHS[name].items():
        shape = Shape.cast(layout[field].shape)
        assert (shape.width, shape.signed) == (abs(widths[column]), widths[column] < 0), field
        assert layout[field].offset == offset, field  # no gaps: the first field is in the low bits
        offset += shape.width
    assert layout.size == offset
    # Both sides of a border make their own layout, which must be the same.
    assert layout == LAYOUTS[name](params)


def test_every_layout_is_listed():
    others = {"GateMode", "IdleCause", "Refusal", "CounterLayout", "TapFlags", "SINGLE"}
    assert set(LAYOUTS) == set(WIDTHS) | others


def random_value(shape, rng):
    if isinstance(shape, data.StructLayout):
        return {name: random_value(member, rng) for name, member in shape.members.items()}
    if isinstance(shape, data.ArrayLayout):
        return [random_value(shape.elem_shape, rng) for _ in range(shape.length)]
    if isinstance(shape, ShapeCastable):  # an enumeration
        return rng.choice(list(shape))
    shape = Shape.cast(shape)
    low = -(1 << (shape.width - 1)) if shape.signed else 0
    high = low + (1 << shape.width) - 1
    return rng.choice([low, high, rng.randint(low, high)])


def check(value, const):
    if isinstance(value, dict):
        for name, member in value.items():
            check(member, const[name])
    elif isinstance(value, list):
        for n, member in enumerate(value):
            check(member, const[n])
    else:
        assert const == value


@pytest.mark.parametrize("column, params", CONFIGS)
@pytest.mark.parametrize("name", WIDTHS)
def test_round_trip(name, column, params, seed):
    rng = random.Random(seed)
    layout = LAYOUTS[name](params)
    for _ in range(5):
        value = random_value(layout, rng)
        bits = layout.const(value).as_bits()
        assert 0 <= bits < 1 << layout.size
        check(value, layout.from_bits(bits))


def test_elements_of_arrays():
    element = layouts.ParameterWord(LARGE).members["scales"].elem_shape
    assert element.members["multiplier"] == Shape(16, signed=True)
    assert element.members["offset"] == Shape(48, signed=True)
    for layout in (layouts.ParameterWord(LARGE), payloads.SliceContext(LARGE)):
        assert layout.members["thresholds"].elem_shape == Shape(32, signed=True)
    assert layouts.LogitRecord(LARGE).members["logits"].elem_shape == Shape(32, signed=True)
    assert layouts.OfmapWrite(LARGE).members["codes"].elem_shape == Shape(8)


def test_enumerations():
    # Other tools pack these numbers.
    assert {mode.name: mode.value for mode in GateMode} == {
        "GATED": 0,
        "DENSE": 1,
        "BASE": 2,
        "CHANNEL": 3,
        "FORCED": 4,
    }
    assert [cause.name for cause in IdleCause] == ["START", "WEIGHTS", "DECISION", "OUTPUT", "INPUT", "END", "POOL"]
    assert [cause.value for cause in IdleCause] == list(range(7))
    assert Shape.cast(GateMode).width == 3 and Shape.cast(IdleCause).width == 3


def test_counters():
    assert list(CounterLayout.members) == ["cycles", "base_steps", "cond_steps", "decisions", "fired", "idle"]
    assert CounterLayout.size == (5 + len(IdleCause)) * 40
    assert CounterLayout.members["idle"].length == len(IdleCause)
    assert list(TapFlags.members) == ["top", "bottom", "left", "right"] and TapFlags.size == 4
