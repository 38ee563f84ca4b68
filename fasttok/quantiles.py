"""Exact statistics of float32 columns that are read twice and never held: count, mean, std, min, max, any quantiles.

A float32's bits, with the sign folded in, sort as the number does. The first reading counts their upper 16 bits, which tells
in which of 65,536 bins each wanted order statistic lies; the second counts the lower 16 bits within those bins only.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 1 << 16
Batches = Callable[[], Iterable[NDArray]]  # called twice; (n, D) arrays


@dataclass(frozen=True, eq=False)
class Summary:
    """Statistics of (count, D) values; `quantiles` (Q, D) interpolate linearly, as numpy's do."""

    count: int
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    quantiles: NDArray[np.float64]


def summarize(batches: Batches, shares: Sequence[float]) -> Summary:
    """Reads the batches twice, in memory that does not grow with them.

    Raises:
        ValueError: no rows, or NaN.

    >>> summarize(lambda: [np.array([[1.0], [2.0]]), np.array([[4.0]])], [0.5]).quantiles
    array([[2.]])
    """
    count, total, upper = 0, np.zeros(0), np.zeros((0, BINS), np.int64)
    low, high = np.zeros(0), np.zeros(0)
    for batch in batches():
        if not len(batch):
            continue
        x = np.asarray(batch, np.float32)
        if not count:
            total, upper = np.zeros(x.shape[1]), np.zeros((x.shape[1], BINS), np.int64)
            low, high = np.full(x.shape[1], np.inf), np.full(x.shape[1], -np.inf)
        if np.isnan(x).any():
            raise ValueError("NaN in the data")
        count += len(x)
        total += x.sum(0, dtype=np.float64)
        low, high = np.minimum(low, x.min(0)), np.maximum(high, x.max(0))
        for column, keys in zip(upper, _keys(x).T, strict=True):
            column += np.bincount(keys >> 16, minlength=BINS)
    if not count:
        raise ValueError("no rows")
    mean = total / count
    places = np.asarray(shares, np.float64) * (count - 1)  # where numpy's "linear" method looks
    ranks = np.unique(np.concatenate([np.floor(places), np.ceil(places)]).astype(np.int64))
    ends = upper.cumsum(axis=1)
    bins = np.stack([np.searchsorted(row, ranks, side="right") for row in ends])  # (D, R)
    lower = [{int(b): np.zeros(BINS, np.int64) for b in np.unique(row)} for row in bins]
    squares = np.zeros(len(mean))
    for batch in batches():
        if not len(batch):
            continue
        x = np.asarray(batch, np.float32)
        squares += ((x - mean) ** 2).sum(0)
        for found, keys in zip(lower, _keys(x).T, strict=True):
            for number, counts in found.items():
                counts += np.bincount(keys[keys >> 16 == number] & 0xFFFF, minlength=BINS)
    values = np.empty((len(ranks), len(mean)))
    for dim, found in enumerate(lower):
        for i, (rank, number) in enumerate(zip(ranks, bins[dim], strict=True)):
            before = ends[dim, number] - upper[dim, number]
            rest = int(np.searchsorted(found[int(number)].cumsum(), rank - before, side="right"))
            values[i, dim] = _value(int(number) << 16 | rest)
    first = values[np.searchsorted(ranks, np.floor(places).astype(np.int64))]
    second = values[np.searchsorted(ranks, np.ceil(places).astype(np.int64))]
    share = (places - np.floor(places))[:, None]
    step = second - first
    between = np.where(
        share >= 0.5, second - step * (1 - share), first + step * share
    )  # numpy's interpolation, to the bit
    return Summary(count, mean, np.sqrt(squares / count), low.astype(np.float64), high.astype(np.float64), between)


def _keys(x: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Bits that sort as the numbers do; -0.0 counts as 0.0."""
    bits = np.ascontiguousarray(x + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _value(key: int) -> float:
    bits = key & 0x7FFFFFFF if key >> 31 else ~key & 0xFFFFFFFF
    return float(np.array(bits, np.uint32).view(np.float32))
