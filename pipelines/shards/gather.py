"""Rows from many record batches into one contiguous batch: compiled, without the interpreter's lock, each byte copied once.

A record batch is known by the places in memory of its buffers (`buffers`: address and size of each, in the schema's order). An
offset that a damaged file holds is checked against the sizes before it is followed.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from fasttok.common.jit import compiled
from pipelines.shards.columns import Column, Damaged, dtype, slots

IntArray = NDArray[np.int64]
VALIDITY, OFFSETS, DATA = 0, 1, 2  # a column's buffers, from its first


def gather(
    buffers: IntArray, at: IntArray, row: IntArray, schema: pa.Schema, names: Collection[str]
) -> dict[str, Column]:
    """The columns `names` of the given rows.

    Args:
        buffers: (u, slots, 2) of u record batches, which the caller keeps in memory. at: (m,) whose row; row: (m,) in it.

    Raises:
        Damaged: offsets that leave their buffer.
    """
    first, found = 0, {}
    for field in schema:
        if field.name in names:
            found[field.name] = _column(field.type, field.nullable, buffers, first, at, row)
        first += slots(field.type)
    return found


def _column(type_: pa.DataType, nullable: bool, buffers: IntArray, slot: int, at: IntArray, row: IntArray) -> Column:
    if pa.types.is_primitive(type_):
        values = np.empty(len(row), dtype(type_))
        _check(_numbers(buffers, slot + 1, values.itemsize, at, row, values.view(np.uint8)))
        return Column(type_, values)
    item = type_.value_type if pa.types.is_list(type_) else pa.uint8()
    nested = not pa.types.is_primitive(item)
    starts, lengths, valid = np.empty(len(row), np.int64), np.empty(len(row), np.int64), np.empty(len(row), np.bool_)
    data = slot + slots(type_) - 1
    unit = 0 if nested else dtype(item).itemsize
    _check(_measure(buffers, slot, data, unit, at, row, starts, lengths, valid))
    offsets = np.zeros(len(row) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if nested:
        inner = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - starts, lengths)
        return Column(type_, _column(item, False, buffers, slot + 2, np.repeat(at, lengths), inner), offsets)
    values = np.empty(int(offsets[-1]), dtype(item))
    _copy(buffers, data, unit, at, starts, lengths, values.view(np.uint8))
    return Column(type_, values, offsets, valid if nullable else None)


def _check(bad: int) -> None:
    if bad >= 0:
        raise Damaged(bad)


def _native(function: Any) -> Any:
    """An instruction for kernels; its first argument is the compiler's own."""
    return intrinsic(function)


@_native
def _load(_: Any, address: Any) -> Any:
    """The int32 at an address, which need not be aligned."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(32).as_pointer()), align=1)

    return types.int32(types.int64), generate


@_native
def _byte(_: Any, address: Any) -> Any:
    """The byte at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(8).as_pointer()))

    return types.uint8(types.int64), generate


@_native
def _move(_: Any, to: Any, source: Any, size: Any) -> Any:
    """memcpy between two addresses."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        to, source = (builder.inttoptr(value, pointer) for value in args[:2])
        cgutils.raw_memcpy(builder, to, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@compiled
def _numbers(buffers: Any, slot: int, width: int, at: Any, row: Any, out: Any) -> int:
    """Values of fixed width; the first row that lies outside its buffer, or -1."""
    to = out.ctypes.data
    for i in range(len(row)):
        if (row[i] + 1) * width > buffers[at[i], slot, 1]:
            return i
        _move(to + i * width, buffers[at[i], slot, 0] + row[i] * width, width)
    return -1


@compiled
def _measure(
    buffers: Any, slot: int, data: int, unit: int, at: Any, row: Any, starts: Any, lengths: Any, valid: Any
) -> int:
    """Where rows of variable size begin and how many items they have; the first whose offsets are impossible, or -1.

    A `unit` of 0 is a list of lists: its inner offsets are checked when they are read.
    """
    for i in range(len(row)):
        buffer, r = buffers[at[i]], row[i]
        valid[i] = True
        if buffer[slot, 0]:
            if r // 8 >= buffer[slot, 1]:
                return i
            valid[i] = (_byte(buffer[slot, 0] + r // 8) >> (r % 8)) & 1
        if 4 * (r + 2) > buffer[slot + 1, 1]:
            return i
        low = np.int64(_load(buffer[slot + 1, 0] + 4 * r))
        high = np.int64(_load(buffer[slot + 1, 0] + 4 * r + 4))
        if low < 0 or high < low or high * unit > buffer[data, 1]:
            return i
        if unit == 0 and 4 * (high + 1) > buffer[slot + 3, 1] and high > low:
            return i
        starts[i] = low
        lengths[i] = high - low if valid[i] else 0
    return -1


@compiled
def _copy(buffers: Any, slot: int, unit: int, at: Any, starts: Any, lengths: Any, out: Any) -> None:
    """The rows' bytes, one after another."""
    to = out.ctypes.data
    for i in range(len(starts)):
        size = lengths[i] * unit
        _move(to, buffers[at[i], slot, 0] + starts[i] * unit, size)
        to += size
