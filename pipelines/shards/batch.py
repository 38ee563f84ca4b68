"""What the reader returns: columns in memory of their own, turned into Python values only when asked for."""

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
    """How far the reading is: goes into a checkpoint as `to_json()`.

    Attributes:
        manifest: digest of the manifest; a state of other shards is refused.
        consumed: samples of the order returned so far, over all ranks.
        order: which order they were counted in (mode, seed, weights); a state of another order is refused. "" is not checked.
    """

    manifest: str
    consumed: int
    order: str = ""

    def to_json(self) -> dict[str, str | int]:
        """Plain values, for a checkpoint."""
        return {"manifest": self.manifest, "consumed": self.consumed, "order": self.order}

    @classmethod
    def from_json(cls, value: Mapping[str, str | int]) -> "ReadState":
        """The inverse of `to_json`."""
        return cls(str(value["manifest"]), int(value["consumed"]), str(value.get("order", "")))


@dataclass(frozen=True)
class Batch:
    """A rank's slice of a global batch, and the state after that whole batch.

    `batch[name]` (or `batch.columns[name]`) is a column as Python values: text as str, images as bytes or None, `action`, `state`
    and `action_tokens` as one array a row (float32, float32, int32; views of the batch's memory), single numbers as one integer
    array. A column is converted when it is first asked for, and kept. `array`, `views` and `table` convert nothing.

    Attributes:
        data: the columns as they were gathered.
        state: pass it to `batches(state=...)` to go on after this batch, with any number of ranks.
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
        """All columns as a mapping whose values are converted when they are asked for."""
        return Columns(self)

    def array(self, name: str) -> NDArray[Any]:
        """A column as one array: (rows, width) of a list column whose rows have one width, (rows,) of numbers. A view.

        Raises:
            InputError: rows differ in width, or the column is neither.

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
        """Whether a column contains numbers or lists of numbers."""
        column = self.data[name]
        return not (
            isinstance(column.values, Column) or pa.types.is_string(column.type) or pa.types.is_binary(column.type)
        )

    def is_array(self, name: str) -> bool:
        """Whether `array` has a column: numbers, or lists of numbers of one width."""
        offsets = self.data[name].offsets
        return self.is_numeric(name) and (offsets is None or len(np.unique(np.diff(offsets))) <= 1)

    def views(self, name: str) -> list[memoryview | None]:
        """The rows of a binary column without a copy: views of the batch's memory, which keep it alive."""
        return with_nulls(list(views(self.data[name])), self.data[name])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row as a dict of Python values."""
        values = {name: self[name] for name in self.data}
        for i in range(len(self)):
            yield {name: column[i] for name, column in values.items()}

    @property
    def table(self) -> pa.Table:
        """The batch as an Arrow table over the same memory; offsets become 64 bits wide."""
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
