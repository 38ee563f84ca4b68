"""Batches that the reader returns: columns in memory of their own, which become Python values only when asked for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok.errors import InputError
from pipelines.shards.columns import Column, arrow_array, python_values, views, with_nulls


@dataclass(frozen=True)
class ReadState:
    """Position of a reader; put `to_json()` of it into a checkpoint.

    Attributes:
        manifest: digest of the manifest; a reader refuses a state of other shards.
        consumed: number of samples of the order that were returned so far, over all ranks.
        order: name of the order (mode, seed, weights) in which they were counted; a reader refuses a state of another order. ""
            is not checked.
    """

    manifest: str
    consumed: int
    order: str = ""

    def to_json(self) -> dict[str, str | int]:
        """Returns plain values for a checkpoint."""
        return {"manifest": self.manifest, "consumed": self.consumed, "order": self.order}

    @classmethod
    def from_json(cls, value: Mapping[str, str | int]) -> "ReadState":
        """Makes a state from what `to_json` returned."""
        return cls(str(value["manifest"]), int(value["consumed"]), str(value.get("order", "")))


@dataclass(frozen=True)
class Batch:
    """A rank's slice of a global batch, and the state after that whole batch.

    `batch[name]` (or `batch.columns[name]`) is a column as Python values: text as str, images as bytes or None, single numbers as
    one integer array. `action`, `state` and `action_tokens` are one array per row (float32, float32, int32; views of the
    batch's memory). A column is converted when it is first asked for, and kept. `array`, `views` and `table` convert nothing.

    Attributes:
        data: name -> column, as the rows were gathered.
        state: state after this batch; pass it to `batches(state=...)` to continue, with any number of ranks.
    """

    data: Mapping[str, Column]
    state: ReadState
    _values: dict[str, list[Any] | NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(next(iter(self.data.values())))

    def __getitem__(self, name: str) -> list[Any] | NDArray[Any]:
        if name not in self._values:
            self._values[name] = python_values(self.data[name])
        return self._values[name]

    @property
    def columns(self) -> "Columns":
        """All columns as a mapping, which converts a column when it is asked for."""
        return Columns(self)

    def array(self, name: str) -> NDArray[Any]:
        """Returns a column as one array, a view of the batch's memory.

        Its shape is (rows,) for numbers, and (rows, width) for lists of numbers that have the same length in all rows.

        Raises:
            InputError: the lists differ in length, or the column does not contain numbers.

        Example:
            >>> batch.array("action").shape  # doctest: +SKIP
            (256, 350)
        """
        column = self.data[name]
        if not self.is_numeric(name):
            raise InputError(
                f"the column {name} contains {column.type}, which is no array of numbers; take batch[{name!r}]"
            )
        if not self.is_array(name):
            widths = np.unique(np.diff(column.offsets))  # type: ignore[arg-type,type-var]
            raise InputError(
                f"rows of {name} have {', '.join(map(str, widths[:5]))} values, so they are not one array: take batch[{name!r}], "
                "which has an array a row, or read sources of one shape (weights=...)"
            )
        if column.offsets is None:
            return column.values  # type: ignore[return-value]
        return column.values.reshape(len(column), int(column.offsets[1]) if len(column) else 0)  # type: ignore[union-attr]

    def is_numeric(self, name: str) -> bool:
        """Returns whether a column contains numbers or lists of numbers."""
        column = self.data[name]
        return not (
            isinstance(column.values, Column) or pa.types.is_string(column.type) or pa.types.is_binary(column.type)
        )

    def is_array(self, name: str) -> bool:
        """Returns whether `array` can return a column: numbers, or lists of numbers that have the same length in all rows."""
        offsets = self.data[name].offsets
        return self.is_numeric(name) and (offsets is None or len(np.unique(np.diff(offsets))) <= 1)

    def views(self, name: str) -> list[memoryview | None]:
        """Returns the rows of a binary column as views of the batch's memory, which keep it alive; None for an absent row."""
        return with_nulls(list(views(self.data[name])), self.data[name])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields each row as a dict of Python values."""
        values = {name: self[name] for name in self.data}
        for i in range(len(self)):
            yield {name: column[i] for name, column in values.items()}

    @property
    def table(self) -> pa.Table:
        """The batch as an Arrow table that shares its memory, with offsets of 64 bits."""
        return pa.table({name: arrow_array(column) for name, column in self.data.items()})


class Columns(Mapping[str, Any]):
    """A batch's columns by name, in the schema's order."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __getitem__(self, name: str) -> Any:
        return self._batch[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch.data)

    def __len__(self) -> int:
        return len(self._batch.data)
