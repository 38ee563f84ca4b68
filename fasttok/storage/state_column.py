"""Reads the states beside the chunks or ids of a file: what relative dims are relative to, one row for each chunk."""

import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fasttok.actions.embodiment import Embodiment
from fasttok.errors import InputError
from fasttok.storage.streams import NpzArray, NpzFile, kind_of, read_column

REFERENCE, STATE, PROPRIO, LEROBOT = "reference", "state", "proprio", "observation.state"


@contextmanager
def read_twice(path: str) -> Iterator[str]:
    """Yields a path whose file may be read more than once. stdin is copied to a temporary file."""
    if path != "-":
        yield path
        return
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as copy:
        shutil.copyfileobj(sys.stdin, copy)
        copy.flush()
        yield copy.name


class StateColumn:
    """Reads the references of a file's rows batch by batch, beside the rows; a context manager.

    Attributes:
        key: name of the column: `reference` (n, D), which `encode` takes and writes; or the state (n, S) at the first steps.
    """

    def __init__(self, path: str, what: Embodiment, state_key: str = "", states: int | None = None) -> None:
        """Finds the column. No rows are read yet.

        Args:
            path: .npz, .parquet or .jsonl.
            what: the embodiment whose relative dims need it.
            state_key: name of the column; "" for the first that is there of `reference`, `state`, the embodiment's own key for
                its state (`proprio` by default), and `observation.state`.
            states: S, columns of the state; None if it is not known.

        Raises:
            InputError: there is no such column.
        """
        self.path, self._what, self._states = path, what, states
        self._row = 0
        self._npz = NpzFile(path) if kind_of(path) == "npz" else None
        try:
            self.key = self._found([state_key] if state_key else [REFERENCE, STATE, what.state_key or PROPRIO, LEROBOT])
        except InputError:
            self.__exit__(None, None, None)
            raise
        self._array: NpzArray | None = None if self._npz is None else self._npz.values(self.key)
        self._rows = iter(()) if self._npz is not None else read_column(path, self.key)

    def __enter__(self) -> "StateColumn":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._npz is not None:
            self._npz.close()

    @property
    def dim(self) -> int:
        """D, dims of a reference."""
        return self._what.action_dim

    def take(self, count: int) -> NDArray[np.float64]:
        """Returns the references of the next `count` rows, (count, D).

        Raises:
            InputError: there are fewer rows, they are not of one width, or a number is not finite.
        """
        values = self._take(count)
        if values.ndim != 2 or len(values) != count:
            raise InputError(
                f"{self.path}: {self.key} has shape {values.shape} for {count} chunks, expected a row of numbers for each chunk: "
                "the state at its first step"
            )
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            raise InputError(
                f"{self.path}: chunk {self._row + row}: {self.key} is {values[row, column]} in column {column}, expected a "
                "finite number"
            )
        self._row += count
        return self._reference(values)

    def end(self) -> None:
        """Refuses rows that no chunk belongs to."""
        left = next(self._rows, None) is not None or bool(self._array is not None and self._array.left)
        if left:
            raise InputError(f"{self.path}: {self.key} has more rows than there are chunks ({self._row})")

    def _take(self, count: int) -> NDArray[np.float64]:
        if self._array is not None:
            shape = self._array.shape
            if len(shape) != 2:
                raise InputError(
                    f"{self.path}: {self.key} has shape {shape}, expected (n, columns): the state at the first step of each chunk"
                )
            return self._array.take(count * shape[1]).reshape(count, shape[1]).astype(np.float64)
        rows = [row for _, row in itertools.islice(self._rows, count)]
        try:
            return np.asarray(rows, np.float64)
        except (ValueError, TypeError, OverflowError):  # OverflowError: a whole number beyond float64
            raise InputError(
                f"{self.path}: {self.key} is not a list of as many numbers in each of the rows {self._row} to "
                f"{self._row + len(rows) - 1}"
            ) from None

    def _reference(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        width, dim = values.shape[1], self._what.action_dim
        if self.key == REFERENCE and width == dim:
            return values
        if self._states is not None and width != self._states:
            raise InputError(
                f"{self.path}: {self.key} has {width} columns, expected {self._states}, as the state that the tokenizer was "
                f"fitted on; a column {REFERENCE!r} may have the {dim} dims of the action instead"
            )
        return self._what.reference(values)

    def _found(self, keys: Sequence[str]) -> str:
        there = self._columns()
        for key in keys:
            if key in there:
                return key
        raise InputError(
            f"{self.path} has no column {' or '.join(map(repr, dict.fromkeys(keys)))}; it has {', '.join(there) or 'none'}. Dims "
            f"{list(self._what.relative)} are relative to the state: add a column {STATE!r} with the state at each chunk's first "
            "step, or name it with --state-key"
        )

    def _columns(self) -> list[str]:
        if self._npz is not None:
            return self._npz.names
        if kind_of(self.path) == "parquet":
            try:
                return list(pq.read_schema(self.path).names)
            except (OSError, pa.ArrowException, ValueError) as error:
                raise InputError(f"{self.path} is not a readable Parquet file: {error}") from None
        try:
            with Path(self.path).open(encoding="utf-8-sig") as stream:
                first: Any = json.loads(next((line for line in stream if line.strip()), "{}"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{self.path}: line 1 is not a JSON object: {error}") from None
        return list(first) if isinstance(first, dict) else []
