"""Packs many values of one layout at once: what `layout.const` does for one, done by numpy for an array.

Offsets and widths are asked of the Amaranth layouts in `hw.interface.layouts`, never written here. A packed word is a
row of bytes, lowest byte first, in which bit ``n`` of the layout is bit ``n % 8`` of byte ``n // 8``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data

__all__ = ["pack", "packed_bytes", "unpack"]


def packed_bytes(shape: Any) -> int:
    """Return the bytes of a packed word of a shape: its width in bits, rounded up."""
    return -(-Shape.cast(shape).width // 8)


def _leaves(shape: Any, offset: int = 0, path: tuple = ()) -> Iterator[tuple[tuple, int, Shape]]:
    """Yield (path, offset in bits, plain shape) of every scalar in a layout."""
    if isinstance(shape, data.Layout):
        for key, field in shape:
            yield from _leaves(field.shape, offset + field.offset, (*path, key))
    else:
        yield path, offset, Shape.cast(shape)


def _select(values: Any, path: tuple, count: int) -> np.ndarray:
    """Follow a path through mappings by name, and through the axes of an array (after the first) by index."""
    names = [key for key in path if isinstance(key, str)]
    for name in names:
        values = values[name]
    array = np.asarray(values)
    for index in (key for key in path if not isinstance(key, str)):
        array = array[:, index]
    return np.broadcast_to(array, (count, *array.shape[1:])) if array.ndim else np.full(count, array)


def _bits(array: np.ndarray, shape: Shape, path: tuple) -> np.ndarray:
    """Return the (count, width) bits of one field; two's complement where it is signed."""
    name = ".".join(map(str, path))
    if array.ndim == 2:  # a field wider than an integer, given as bytes
        if array.dtype != np.uint8 or shape.signed or 8 * array.shape[1] != shape.width:
            raise ValueError(
                f"field {name} must be {shape.width} bits, given as uint8 bytes or as integers, "
                f"not {array.dtype} of shape {array.shape}"
            )
        return np.unpackbits(array, axis=1, bitorder="little")
    if array.dtype.kind not in "iub":
        raise TypeError(f"field {name} must be integers, not {array.dtype}")
    if shape.width > 62:
        raise ValueError(f"field {name} must be given as bytes: {shape.width} bits do not fit an integer of numpy")
    codes = array.astype(np.int64)
    low, high = (-(1 << shape.width - 1), 1 << shape.width - 1) if shape.signed else (0, 1 << shape.width)
    if codes.size and (codes.min() < low or codes.max() >= high):
        wrong = codes[(codes < low) | (codes >= high)][0]
        raise ValueError(f"field {name} must be in {low}..{high - 1}, not {wrong}")
    return ((codes[:, None] >> np.arange(shape.width)) & 1).astype(np.uint8)


def pack(layout: data.Layout, values: Mapping[str, Any], count: int) -> np.ndarray:
    """Pack ``count`` words.

    Parameters
    ----------
    layout
        A `StructLayout`; may hold others, and arrays.
    values
        A value for every field: nested mappings as the layout; for a plain field an integer (the same in all words), an
        array (count,) of integers, or (count, bytes) uint8 for a field too wide for an integer; a field within an array
        layout has the array's index as its second axis.
    count
        Number of words.

    Returns
    -------
    numpy.ndarray
        (count, bytes) uint8, lowest byte first; the bits above the layout are 0.

    Raises
    ------
    KeyError
        If a field has no value.
    TypeError
        If a value is not integers.
    ValueError
        If a value does not fit its field.
    """
    bits = np.zeros((count, 8 * packed_bytes(layout)), dtype=np.uint8)
    for path, offset, shape in _leaves(layout):
        if shape.width:
            bits[:, offset : offset + shape.width] = _bits(_select(values, path, count), shape, path)
    return np.packbits(bits, axis=1, bitorder="little")


def unpack(layout: data.Layout, words: np.ndarray) -> dict[str, Any]:
    """Take words apart; the inverse of `pack`.

    Parameters
    ----------
    layout
        A `StructLayout`; may hold others, and arrays.
    words
        (count, bytes) uint8, lowest byte first.

    Returns
    -------
    dict
        By field, as `pack` takes them: (count,) int64, sign extended where the field is signed; (count, bytes) uint8
        for a field wider than 62 bits; nested mappings for nested layouts; the index into an array layout is the
        second axis.
    """
    bits = np.unpackbits(np.ascontiguousarray(words, dtype=np.uint8), axis=1, bitorder="little")
    fields: dict[tuple[str, ...], list[np.ndarray]] = {}
    arrays = set()
    for path, offset, shape in _leaves(layout):
        names = tuple(key for key in path if isinstance(key, str))
        if len(names) < len(path):
            arrays.add(names)
        fields.setdefault(names, []).append(_value(bits[:, offset : offset + shape.width], shape))
    result: dict[str, Any] = {}
    for names, values in fields.items():
        target = result
        for name in names[:-1]:
            target = target.setdefault(name, {})
        target[names[-1]] = np.stack(values, axis=1) if names in arrays else values[0]
    return result


def _value(bits: np.ndarray, shape: Shape) -> np.ndarray:
    if shape.width > 62:
        return np.packbits(bits, axis=1, bitorder="little")
    value = (bits.astype(np.int64) << np.arange(shape.width)).sum(1, dtype=np.int64)
    return value - ((value >> (shape.width - 1)) << shape.width) if shape.signed else value
