"""Columns of a batch: how they are stored in memory, and their conversion to Python values or Arrow arrays."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """One column of a batch, in memory of its own.

    Attributes:
        type: its type in the record schema.
        values: for numbers (rows,). For bytes and text (bytes,) uint8, the rows one after another. For lists the items of all
            rows, one after another: numbers, or a column of text.
        offsets: (rows + 1,) int64, where each row begins in `values`; None for numbers.
        valid: (rows,) bool, whether a row has a value; None if every row has one.
    """

    type: pa.DataType
    values: "NDArray[Any] | Column"
    offsets: IntArray | None = None
    valid: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1


class DamagedOffsetsError(Exception):
    """Raised for offsets that point outside their buffer; `number` is the place of the row among the rows asked for."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@cache
def dtype(type_: pa.DataType) -> np.dtype[Any]:
    """Returns the numpy dtype of an Arrow type of numbers."""
    found: np.dtype[Any] = pa.array([], type_).to_numpy().dtype
    return found


def slots(type_: pa.DataType) -> int:
    """Returns the number of buffers of a column of this type."""
    if pa.types.is_list(type_):
        return 2 + slots(type_.value_type)
    return 2 if pa.types.is_primitive(type_) else 3


def buffers_of(batch: pa.RecordBatch) -> IntArray:
    """Returns (slots, 2) int64: address and size in bytes of each buffer of a record batch; 0, 0 for an absent one."""
    found = [buffer for column in batch.columns for buffer in column.buffers()]
    return np.array([(b.address, b.size) if b is not None else (0, 0) for b in found], np.int64)


def python_values(column: Column) -> list[Any] | NDArray[Any]:
    """Returns the Python values that `pipelines.shards.batch.Batch` gives for a column."""
    if column.offsets is None:
        return column.values  # type: ignore[return-value]
    offsets = column.offsets.tolist()
    if isinstance(column.values, Column):
        items = python_values(column.values)
        return [list(items[a:b]) for a, b in pairwise(offsets)]
    if not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        return [column.values[a:b] for a, b in pairwise(offsets)]
    if pa.types.is_string(column.type):
        data = column.values.tobytes()
        if data.isascii():
            text = data.decode("ascii")
            return with_nulls([text[a:b] for a, b in pairwise(offsets)], column)
        return with_nulls([data[a:b].decode() for a, b in pairwise(offsets)], column)
    return with_nulls([view.tobytes() for view in views(column)], column)


def views(column: Column) -> list[memoryview]:
    """Returns the rows of a column of bytes without a copy; absent rows are empty."""
    memory = memoryview(column.values)  # type: ignore[arg-type]
    return [memory[a:b] for a, b in pairwise(column.offsets.tolist())]  # type: ignore[union-attr]


def arrow_array(column: Column) -> pa.Array:
    """Returns a column as an Arrow array that shares its memory."""
    if column.offsets is None:
        return pa.array(column.values)
    offsets = pa.py_buffer(column.offsets)
    if not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        items = arrow_array(column.values) if isinstance(column.values, Column) else pa.array(column.values)
        return pa.LargeListArray.from_arrays(pa.array(column.offsets), items)
    wide = pa.large_string() if pa.types.is_string(column.type) else pa.large_binary()
    validity = None if column.valid is None else pa.py_buffer(np.packbits(column.valid, bitorder="little"))
    return pa.Array.from_buffers(wide, len(column), [validity, offsets, pa.py_buffer(column.values)])


def with_nulls(values: list[Any], column: Column) -> list[Any]:
    """Replaces the values of absent rows by None, in place, and returns the list."""
    if column.valid is not None and not column.valid.all():
        for i in np.flatnonzero(~column.valid).tolist():
            values[i] = None
    return values
