"""Statistics of lengths (words per text, FAST ids per row), from a count of how often each length occurs."""

from collections.abc import Mapping
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray


class Spread(TypedDict):
    """Statistics of lengths.

    Attributes:
        total: sum of all lengths.
        mean: mean length.
        p5: 5 % of the lengths are at most this.
        p50: median.
        p95: 95 % of the lengths are at most this.
        max: largest length.
    """

    total: int
    mean: float
    p5: int
    p50: int
    p95: int
    max: int


def spread(lengths: Mapping[int, int]) -> Spread | None:
    """Returns mean, percentiles and sum of counted lengths (length -> count); None if nothing was counted.

    >>> spread({2: 3, 6: 1})
    {'total': 12, 'mean': 3.0, 'p5': 2, 'p50': 2, 'p95': 6, 'max': 6}
    """
    if not lengths:
        return None
    values, counts = counted(lengths)
    ends = np.cumsum(counts)

    def percentile(q: float) -> int:
        return int(values[np.searchsorted(ends, q * ends[-1])])

    total = int((values * counts).sum())
    return {"total": total, "mean": total / int(ends[-1]), "p5": percentile(0.05), "p50": percentile(0.5),
            "p95": percentile(0.95), "max": int(values[-1])}  # fmt: skip


def counted(lengths: Mapping[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the lengths in ascending order, and how often each occurs.

    >>> counted({6: 1, 2: 3})
    (array([2, 6]), array([3, 1]))
    """
    values = np.array(sorted(lengths), np.int64)
    return values, np.array([lengths[value] for value in values.tolist()], np.int64)
