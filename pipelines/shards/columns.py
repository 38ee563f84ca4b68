"""A column of a batch: how it is in memory, and as Python values or as an Arrow array."""

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
        type: as in the record schema.
        values: numbers: (rows,). Bytes and text: (bytes,) uint8, one after another. Lists: the items, one after another, as
            numbers or, for text, as a column.
        offsets: (rows + 1,) int64, where each row begins in `values`; None for numbers.
        valid: (rows,) bool; None where a row always has a value.
    """

    type: pa.DataType
    values: "NDArray[Any] | Column"
    offsets: IntArray | None = None
    valid: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1


class DamagedOffsetsError(Exception):
    """Offsets that leave their buffer, in the row with this number of those asked for."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@cache
def dtype(type_: pa.DataType) -> np.dtype[Any]:
    """Of numbers of an Arrow type."""
    found: np.dtype[Any] = pa.array([], type_).to_numpy().dtype
    return found


def slots(type_: pa.DataType) -> int:
    """How many buffers a column of this type has."""
    if pa.types.is_list(type_):
        return 2 + slots(type_.value_type)
    return 2 if pa.types.is_primitive(type_) else 3


def buffers_of(batch: pa.RecordBatch) -> IntArray:
    """(slots, 2) address and size in bytes of each buffer of a record batch; absent ones are 0, 0."""
    found = [buffer for column in batch.columns for buffer in column.buffers()]
    return np.array([(b.address, b.size) if b is not None else (0, 0) for b in found], np.int64)


def python_values(column: Column) -> list[Any] | NDArray[Any]:
    """As `pipelines.shards.batch.Batch` gives them."""
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
    """The rows of a column of bytes without a copy; absent ones are empty."""
    memory = memoryview(column.values)  # type: ignore[arg-type]
    return [memory[a:b] for a, b in pairwise(column.offsets.tolist())]  # type: ignore[union-attr]


def arrow_array(column: Column) -> pa.Array:
    """A column as an Arrow array over the same memory."""
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
    """None in place of the values of absent rows; changes the list."""
    if column.valid is not None and not column.valid.all():
        for i in np.flatnonzero(~column.valid).tolist():
            values[i] = None
    return values
