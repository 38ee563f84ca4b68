"""Keeps the normalised chunks that a fit reads more than once in a temporary file, so that memory does not grow with them."""

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.evenly import evenly
from fasttok.common.temporary import unnamed_file
from fasttok.errors import InputError

BATCH = 1024
BLOCKS, EVERY = 20, 5  # chunks that overlap are neighbours, so whole blocks of them are held out


class KeptChunks:
    """Chunks (n, T, C) of one shape; a context manager that deletes its file at its end.

    Attributes:
        shape: (T, C).
        count: n.
    """

    def __init__(self, batches: Iterable[NDArray[Any]], name: str) -> None:
        """Reads the batches (n, T, C) once.

        Raises:
            InputError: chunks of several shapes, or none.
        """
        self.count, self.shape = 0, (0, 0)
        self._file = unnamed_file()
        self._dtype: np.dtype[Any] = np.dtype(np.float64)
        for batch in batches:
            if not self.count:
                self.shape = (batch.shape[1], batch.shape[2])
                self._dtype = np.dtype(np.float32) if batch.dtype == np.float32 else self._dtype
            if batch.shape[1:] != self.shape:
                raise InputError(
                    f"{name or 'the data'} has chunks of shapes {self.shape} and {batch.shape[1:]}, but a transform is learned "
                    "for one shape; make all chunks alike, or fit with --mode native --transform dct"
                )
            self._file.write(np.ascontiguousarray(batch, self._dtype).data)
            self.count += len(batch)
        if not self.count:
            raise InputError("ActionTokenizer.fit: no chunks; nothing to learn from")
        self._file.flush()
        self._values = np.memmap(self._file, self._dtype, "r+").reshape(self.count, *self.shape)

    def __enter__(self) -> "KeptChunks":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yields all chunks, in batches."""
        for start in range(0, self.count, BATCH):
            yield np.asarray(self._values[start : start + BATCH])

    def sample(self, most: int, numbers: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Returns at most `most` chunks, evenly spread over all chunks, or over those with the given `numbers`."""
        numbers = np.arange(self.count) if numbers is None else numbers
        return np.asarray(self._values[numbers[evenly(len(numbers), most)]])

    def parted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the numbers of the chunks to learn from, and of the fifth that is held out: every fifth of 20 blocks.

        If there are fewer than five chunks, both are the numbers of all chunks.
        """
        if self.count < EVERY:
            return np.arange(self.count), np.arange(self.count)
        block = np.arange(self.count) * min(BLOCKS, self.count) // self.count
        held = block % EVERY == EVERY - 1
        return np.flatnonzero(~held), np.flatnonzero(held)
