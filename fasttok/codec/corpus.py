"""Keeps the coefficients of a fit's chunks as 16-bit integers in a temporary file, so that they may exceed memory."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.temporary import unnamed_file
from fasttok.errors import InputError

LIMIT = 2**15 - 1


class CodeRangeError(InputError):
    """The coefficients span more codes than a vocabulary has, or than tokens can stand for."""


class Corpus:
    """Rows of coefficients; a context manager that deletes its file at its end.

    Attributes:
        low: smallest coefficient so far.
        high: largest coefficient so far.
        rows: number of chunks so far.
    """

    def __init__(self) -> None:
        self.low, self.high, self.rows = 0, 0, 0
        self._file = unnamed_file()
        self._lengths: list[tuple[int, int]] = []  # (rows, values per row)

    def __enter__(self) -> "Corpus":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, coefs: NDArray[Any]) -> None:
        """Appends rounded coefficients (batch, ...).

        Raises:
            CodeRangeError: one of them does not fit into 16 bits.
        """
        if not coefs.size:
            return
        low, high = float(coefs.min()), float(coefs.max())
        if not (low >= -LIMIT and high <= LIMIT):
            raise CodeRangeError(
                f"a coefficient is {max(-low, high):.3g}, expected at most {LIMIT:,}, the largest that a token can stand for; "
                "normalise the actions, clip them, or lower --scale"
            )
        self.low = min(self.low, int(low)) if self.rows else int(low)
        self.high = max(self.high, int(high)) if self.rows else int(high)
        self.rows += len(coefs)
        self._lengths.append((len(coefs), coefs.size // len(coefs)))
        self._file.write(np.ascontiguousarray(coefs, np.int16).data)

    def codes(self, low: int, block: int = 1 << 22) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        """Returns (all codes joined, writable; length of each row). A code is a coefficient minus `low`.

        This changes the file, so call it only once.
        """
        self._file.flush()
        values = np.memmap(self._file, np.int16, "r+")
        for start in range(0, len(values), block):
            values[start : start + block] -= np.array(low).astype(np.int16)  # modulo 2**16, read as unsigned
        counts, lengths = np.array(self._lengths, np.int64).T
        return np.asarray(values).view(np.uint16), np.repeat(lengths, counts)

    def strings(self, low: int) -> Iterator[str]:
        """Yields each row as a string of `chr(coefficient - low)`."""
        self._file.seek(0)
        for count, length in self._lengths:
            for _ in range(count):
                row = np.frombuffer(self._file.read(2 * length), np.int16)
                yield (row.astype("<i4") - low).tobytes().decode("utf-32-le")
