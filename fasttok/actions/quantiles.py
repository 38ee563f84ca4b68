"""Computes exact statistics of float32 columns (count, mean, std, min, max, any quantiles) that are read twice.

The columns are never all in memory. Everything counted is an integer, so the result is the same to the last bit however the
rows are split, batched or ordered.

- Sums: a float32 is a 24-bit mantissa times a power of two. Mantissas and their squares are added up per exponent, and only
  the quotient at the end is rounded.
- Quantiles: the bits of a float32, with the sign folded in, sort as the number does. The first reading counts their upper 16
  bits, which shows in which of 65,536 bins each wanted order statistic is. The second reading counts the lower 16 bits, only
  within these bins.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 1 << 16
EXPONENTS = 256
Batches = Callable[[], Iterable[NDArray[Any]]]  # called twice; gives (n, D) arrays


@dataclass(frozen=True, eq=False)
class Summary:
    """Statistics of (count, D) values, each correctly rounded.

    Attributes:
        count: number of rows.
        mean: (D,) mean.
        std: (D,) standard deviation.
        min: (D,) smallest value.
        max: (D,) largest value.
        quantiles: (Q, D) quantiles, interpolated linearly as numpy does.
    """

    count: int
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    quantiles: NDArray[np.float64]


@dataclass(eq=False)
class FirstReading:
    """What the first reading counts. Readings of parts of the rows add up to the reading of all.

    Attributes:
        count: number of rows.
        sums: (D, 256, 3) sums by exponent: of mantissas, and of the lower and upper 24 bits of their squares.
        upper: (D, 65536) number of rows by the upper 16 bits of their keys.
    """

    count: int
    sums: NDArray[np.int64]
    upper: NDArray[np.int64]

    @classmethod
    def empty(cls, dims: int) -> "FirstReading":
        """Returns a reading of no rows."""
        return cls(0, np.zeros((dims, EXPONENTS, 3), np.int64), np.zeros((dims, BINS), np.int64))

    def add(self, x: NDArray[Any]) -> None:
        """Counts (n, D) more rows.

        Raises:
            ValueError: NaN or inf.
        """
        from fasttok.actions.quantile_kernels import count_upper

        if not count_upper(np.ascontiguousarray(x, np.float32), self.sums, self.upper):
            raise ValueError("NaN or inf in the data")
        self.count += len(x)

    def merge(self, other: "FirstReading") -> None:
        """Adds a reading of other rows."""
        self.count += other.count
        self.sums += other.sums
        self.upper += other.upper

    def places(self, shares: Sequence[float]) -> NDArray[np.float64]:
        """Returns the places at which numpy's "linear" method looks for quantiles."""
        return np.asarray(shares, np.float64) * (self.count - 1)

    def ranks(self, shares: Sequence[float]) -> NDArray[np.int64]:
        """Returns the ranks of the wanted order statistics: the smallest, the largest, and those around each quantile."""
        places = self.places(shares)
        return np.unique(np.concatenate([[0, self.count - 1], np.floor(places), np.ceil(places)]).astype(np.int64))

    def bins(self, shares: Sequence[float]) -> NDArray[np.int64]:
        """Returns (D, R): the upper 16 bits of the keys of the wanted order statistics."""
        ranks = self.ranks(shares)
        return np.stack([np.searchsorted(row, ranks, side="right") for row in self.upper.cumsum(axis=1)])


@dataclass(eq=False)
class SecondReading:
    """What the second reading counts: the lower halves of keys in a few bins. Readings add up as those of the first do.

    Attributes:
        slots: (D, 65536) int32, the row of `lower` in which a bin is counted; -1 for none.
        lower: (D, S, 65536) number of rows by the lower 16 bits of their keys.
    """

    slots: NDArray[np.int32]
    lower: NDArray[np.int64]

    @classmethod
    def empty(cls, bins: NDArray[np.int64]) -> "SecondReading":
        """Returns a reading of no rows.

        Args:
            bins: (D, R) upper halves of the keys to count, in any order; an upper half may be there several times.
        """
        slots = np.full((len(bins), BINS), -1, np.int32)
        for dim, row in enumerate(bins):
            slots[dim, np.unique(row)] = np.arange(len(np.unique(row)))
        return cls(slots, np.zeros((len(bins), int(slots.max()) + 1, BINS), np.int64))

    def add(self, x: NDArray[Any]) -> None:
        """Counts (n, D) more rows."""
        from fasttok.actions.quantile_kernels import count_lower

        count_lower(np.ascontiguousarray(x, np.float32), self.slots, self.lower)

    def take(self, other: "SecondReading") -> None:
        """Adds what another reading, of other rows, counted in the bins of this one. It must have all these bins."""
        for dim, row in enumerate(self.slots):
            for number in np.flatnonzero(row >= 0):
                self.lower[dim, row[number]] += other.lower[dim, other.slots[dim, number]]


def summarize(batches: Batches, shares: Sequence[float]) -> Summary:
    """Computes statistics of batches that are read twice, in memory that does not grow with them.

    Raises:
        ValueError: no rows, or NaN or inf.

    >>> summarize(lambda: [np.array([[1.0], [2.0]]), np.array([[4.0]])], [0.5]).quantiles
    array([[2.]])
    """
    first = FirstReading.empty(0)
    for x in _rows(batches):
        if not first.count:
            first = FirstReading.empty(x.shape[1])
        first.add(x)
    if not first.count:
        raise ValueError("no rows")
    second = SecondReading.empty(first.bins(shares))
    for x in _rows(batches):
        second.add(x)
    return summary_of(first, second, shares)


def summary_of(first: FirstReading, second: SecondReading, shares: Sequence[float]) -> Summary:
    """Returns the statistics of rows that were read twice.

    Args:
        first: first reading, of at least one row.
        second: second reading, in the bins of the first and perhaps more.
        shares: shares of the quantiles, such as 0.5 for the median.
    """
    places, ranks, bins, ends = (
        first.places(shares),
        first.ranks(shares),
        first.bins(shares),
        first.upper.cumsum(axis=1),
    )
    values = np.empty((len(ranks), len(bins)))
    for dim, row in enumerate(bins):
        for i, (rank, number) in enumerate(zip(ranks, row, strict=True)):
            before = ends[dim, number] - first.upper[dim, number]
            counts = second.lower[dim, second.slots[dim, number]].cumsum()
            values[i, dim] = _value(int(number) << 16 | int(np.searchsorted(counts, rank - before, side="right")))
    lower = values[np.searchsorted(ranks, np.floor(places).astype(np.int64))]
    upper = values[np.searchsorted(ranks, np.ceil(places).astype(np.int64))]
    share = (places - np.floor(places))[:, None]
    step = upper - lower
    between = np.where(
        share >= 0.5, upper - step * (1 - share), lower + step * share
    )  # numpy's interpolation, to the bit
    mean, std = np.array([_moments(first.count, table) for table in first.sums]).T
    return Summary(first.count, mean, std, values[0], values[-1], between)


def _rows(batches: Batches) -> Iterable[NDArray[np.float32]]:
    return (np.ascontiguousarray(batch, np.float32) for batch in batches() if len(batch))


def _moments(count: int, table: NDArray[np.int64]) -> tuple[float, float]:
    """Returns (mean, std) of one column from its sums by exponent, see `FirstReading`.

    Python divides integers of any size with one rounding, to the nearest float.
    """
    total = squares = 0
    for exponent, (mantissas, low, high) in enumerate(table.tolist()):
        total += mantissas << exponent
        squares += (low + (high << 24)) << 2 * exponent
    mean = total / (count << 150)
    variance = (count * squares - total * total) / (count * count << 300)
    return mean, variance**0.5


def _value(key: int) -> float:
    """Returns the float32 number that has this key."""
    bits = key & 0x7FFFFFFF if key >> 31 else ~key & 0xFFFFFFFF
    return float(np.array(bits, np.uint32).view(np.float32))
