"""Gathers rows of many record batches into one contiguous batch, in compiled code that releases the GIL and copies a byte once.

A record batch is described by the addresses and sizes of its buffers (`buffers`), in the schema's order. Each offset is checked
against these sizes before it is followed, because a damaged file may contain any offset.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from fasttok.common.jit import compiled
from pipelines.shards.columns import Column, DamagedOffsetsError, dtype, slots

IntArray = NDArray[np.int64]
VALIDITY, OFFSETS, DATA = 0, 1, 2  # the buffers of a column, counted from its first one


class Lists(NamedTuple):
    """Rows of variable size, in a form that numba can take as one argument.

    Attributes:
        starts: (m,) int64, number of the first item of each row in its buffer.
        lengths: (m,) int64, number of items of each row.
        valid: (m,) bool, whether the row has a value.
    """

    starts: IntArray
    lengths: IntArray
    valid: NDArray[np.bool_]


def gather(
    buffers: IntArray, at: IntArray, row: IntArray, schema: pa.Schema, names: Collection[str]
) -> dict[str, Column]:
    """Returns name -> column for the columns `names` of the given rows.

    Args:
        buffers: (u, slots, 2) int64, address and size of the buffers of u record batches, which the caller keeps in memory.
        at: (m,) int64, number of the record batch of each row, in [0, u).
        row: (m,) int64, number of each row in its record batch.
        schema: schema of the record batches.
        names: names of the columns.

    Raises:
        DamagedOffsetsError: an offset points outside its buffer.
    """
    first, columns = 0, {}
    for field in schema:
        if field.name in names:
            columns[field.name] = _column(field.type, field.nullable, buffers, first, at, row)
        first += slots(field.type)
    return columns


def _column(type_: pa.DataType, nullable: bool, buffers: IntArray, slot: int, at: IntArray, row: IntArray) -> Column:
    if pa.types.is_primitive(type_):
        values = np.empty(len(row), dtype(type_))
        _check(_numbers(buffers, slot + 1, values.itemsize, at, row, values.view(np.uint8)))
        return Column(type_, values)
    item = type_.value_type if pa.types.is_list(type_) else pa.uint8()
    nested = not pa.types.is_primitive(item)
    m = len(row)
    lists = Lists(np.empty(m, np.int64), np.empty(m, np.int64), np.empty(m, np.bool_))
    starts, lengths, valid = lists
    data = slot + slots(type_) - 1
    unit = 0 if nested else dtype(item).itemsize
    _check(_measure(buffers, slot, data, unit, at, row, lists))
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
        raise DamagedOffsetsError(bad)


def _native(function: Any) -> Any:
    """Makes an instruction for compiled kernels from a function, whose first argument belongs to the compiler."""
    return intrinsic(function)


@_native
def _load(_: Any, _address: Any) -> Any:
    """Reads the int32 at an address, which need not be aligned."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(32).as_pointer()), align=1)

    return types.int32(types.int64), generate


@_native
def _byte(_: Any, _address: Any) -> Any:
    """Reads the byte at an address."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(8).as_pointer()))

    return types.uint8(types.int64), generate


@_native
def _move(_: Any, _to: Any, _source: Any, _size: Any) -> Any:
    """Copies bytes between two addresses (memcpy)."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        to, source = (builder.inttoptr(value, pointer) for value in args[:2])
        copy: Any = cgutils.raw_memcpy
        copy(builder, to, source, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@compiled
def _numbers(buffers: Any, slot: int, width: int, at: Any, row: Any, out: Any) -> int:
    """Copies values of fixed width to `out`; returns the first row that is outside its buffer, or -1."""
    to = out.ctypes.data
    for i in range(len(row)):
        if (row[i] + 1) * width > buffers[at[i], slot, 1]:
            return i
        _move(to + i * width, buffers[at[i], slot, 0] + row[i] * width, width)
    return -1


@compiled
def _measure(buffers: Any, slot: int, data: int, unit: int, at: Any, row: Any, lists: Any) -> int:
    """Finds where rows of variable size begin and how many items they have; writes that to `lists`.

    Returns the first row with impossible offsets, or -1. A `unit` of 0 means lists of lists, whose inner offsets are checked when
    they are read.
    """
    for i in range(len(row)):
        buffer, r = buffers[at[i]], row[i]
        lists.valid[i] = True
        if buffer[slot, 0]:
            if r // 8 >= buffer[slot, 1]:
                return i
            lists.valid[i] = (_byte(buffer[slot, 0] + r // 8) >> (r % 8)) & 1
        if 4 * (r + 2) > buffer[slot + 1, 1]:
            return i
        low = np.int64(_load(buffer[slot + 1, 0] + 4 * r))
        high = np.int64(_load(buffer[slot + 1, 0] + 4 * r + 4))
        if low < 0 or high < low or high * unit > buffer[data, 1]:
            return i
        if unit == 0 and 4 * (high + 1) > buffer[slot + 3, 1] and high > low:
            return i
        lists.starts[i] = low
        lists.lengths[i] = high - low if lists.valid[i] else 0
    return -1


@compiled
def _copy(buffers: Any, slot: int, unit: int, at: Any, starts: Any, lengths: Any, out: Any) -> None:
    """Copies the bytes of the rows to `out`, one after another."""
    to = out.ctypes.data
    for i in range(len(starts)):
        size = lengths[i] * unit
        _move(to, buffers[at[i], slot, 0] + starts[i] * unit, size)
        to += size
