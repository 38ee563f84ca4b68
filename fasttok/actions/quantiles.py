"""Exact statistics of float32 columns that are read twice and never held: count, mean, std, min, max, any quantiles.

Everything counted is an integer, so the result is the same to the last bit however the rows are split, batched or ordered.
Sums: a float32 is a 24-bit mantissa times a power of two; mantissas and their squares are added up per exponent, and
only the quotient at the end is rounded. Quantiles: a float32's bits, with the sign folded in, sort as the number does. The
first reading counts their upper 16 bits, which tells in which of 65,536 bins each wanted order statistic lies; the second
counts the lower 16 bits within those bins only.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 1 << 16
EXPONENTS = 256
Batches = Callable[[], Iterable[NDArray[Any]]]  # called twice; (n, D) arrays


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


def summarize(batches: Batches, shares: Sequence[float]) -> Summary:
    """Reads the batches twice, in memory that does not grow with them.

    Raises:
        ValueError: no rows, or NaN or inf.

    >>> summarize(lambda: [np.array([[1.0], [2.0]]), np.array([[4.0]])], [0.5]).quantiles
    array([[2.]])
    """
    from fasttok.actions.quantile_kernels import count_lower, count_upper

    count, sums, upper = 0, np.zeros((0, EXPONENTS, 3), np.int64), np.zeros((0, BINS), np.int64)
    for x in _rows(batches):
        if not count:
            sums, upper = np.zeros((x.shape[1], EXPONENTS, 3), np.int64), np.zeros((x.shape[1], BINS), np.int64)
        count += len(x)
        if not count_upper(x, sums, upper):
            raise ValueError("NaN or inf in the data")
    if not count:
        raise ValueError("no rows")
    places = np.asarray(shares, np.float64) * (count - 1)  # where numpy's "linear" method looks
    ranks = np.unique(np.concatenate([[0, count - 1], np.floor(places), np.ceil(places)]).astype(np.int64))
    ends = upper.cumsum(axis=1)
    bins = np.stack([np.searchsorted(row, ranks, side="right") for row in ends])  # (D, R)
    slots = np.full(upper.shape, -1, np.int32)  # which row of `lower` a bin is counted in
    for dim, row in enumerate(bins):
        slots[dim, np.unique(row)] = np.arange(len(np.unique(row)))
    lower = np.zeros((len(upper), int(slots.max()) + 1, BINS), np.int64)
    for x in _rows(batches):
        count_lower(x, slots, lower)
    values = np.empty((len(ranks), len(upper)))
    for dim, row in enumerate(bins):
        for i, (rank, number) in enumerate(zip(ranks, row, strict=True)):
            before = ends[dim, number] - upper[dim, number]
            counts = lower[dim, slots[dim, number]].cumsum()
            values[i, dim] = _value(int(number) << 16 | int(np.searchsorted(counts, rank - before, side="right")))
    first = values[np.searchsorted(ranks, np.floor(places).astype(np.int64))]
    second = values[np.searchsorted(ranks, np.ceil(places).astype(np.int64))]
    share = (places - np.floor(places))[:, None]
    step = second - first
    between = np.where(
        share >= 0.5, second - step * (1 - share), first + step * share
    )  # numpy's interpolation, to the bit
    mean, std = np.array([_moments(count, table) for table in sums]).T
    return Summary(count, mean, std, values[0], values[-1], between)


def _rows(batches: Batches) -> Iterable[NDArray[np.float32]]:
    return (np.ascontiguousarray(batch, np.float32) for batch in batches() if len(batch))


def _moments(count: int, table: NDArray[np.int64]) -> tuple[float, float]:
    """(mean, std) of one column from its sums by exponent: of mantissas, and of their squares' lower and upper 24 bits.

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
    """The number that sorts there."""
    bits = key & 0x7FFFFFFF if key >> 31 else ~key & 0xFFFFFFFF
    return float(np.array(bits, np.uint32).view(np.float32))
