"""Counts histograms of actions and states in memory that does not grow with the number of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.look.ranges import Range, outside

BINS = 36  # with this margin, both ends of the normaliser's range are edges of bins
MARGIN = 0.25  # of the normaliser's range: how much a histogram shows on either side of it
EDGE = 1e-4  # of a bin, by which values are moved towards the middle


@dataclass
class ValueHistogram:
    """Values of D dimensions, counted in `BINS` bins each, with one more bin on either side for values beyond.

    Attributes:
        limits: the normaliser's range of each dimension, None for those that have none.
        low: (D,) float64, where the bins begin.
        width: (D,) float64, width of a bin.
        counts: (D, BINS + 2) int64.
        least: (D,) float64, the smallest value.
        most: (D,) float64, the largest value.
        beyond: (D,) int64, number of values outside the normaliser's range.
        values: number of values counted in each dimension.
        not_finite: number of NaN and infinite values, which are in no bin.
    """

    limits: list[Range | None]
    low: NDArray[np.float64]
    width: NDArray[np.float64]
    counts: NDArray[np.int64]
    least: NDArray[np.float64]
    most: NDArray[np.float64]
    beyond: NDArray[np.int64]
    values: int = 0
    not_finite: int = 0

    @classmethod
    def of(cls, limits: Sequence[Range | None], first: NDArray[np.floating[Any]]) -> "ValueHistogram":
        """Makes bins over the normaliser's ranges, or in a dimension without a range over the first values (n, D)."""
        dim = first.shape[1]
        limits = list(limits) if len(limits) == dim else [None] * dim
        seen = np.where(np.isfinite(first), first, 0).astype(np.float64)
        low = np.array([limit[0] if limit else seen[:, d].min() for d, limit in enumerate(limits)])
        high = np.array([limit[1] if limit else seen[:, d].max() for d, limit in enumerate(limits)])
        span = np.where(high > low, high - low, np.maximum(1e-3, 0.2 * np.abs(low)))
        width = span * (1 + 2 * MARGIN) / BINS
        counts = np.zeros((dim, BINS + 2), np.int64)
        none = np.full(dim, np.inf)
        return cls(
            limits,
            low - np.where(high > low, MARGIN * span, 0.75 * span),
            width,
            counts,
            none,
            -none,
            counts[:, 0].copy(),
        )

    def add(self, values: NDArray[np.floating[Any]]) -> None:
        """Counts values (n, D)."""
        finite = np.isfinite(values)
        if not finite.all():
            self.not_finite += int((~finite).sum())
            values = values[finite.all(1)]
        if not len(values):
            return
        self.values += len(values)
        self.least, self.most = np.minimum(self.least, values.min(0)), np.maximum(self.most, values.max(0))
        self.beyond += outside(values, self.limits)
        x = (values - self.low) / self.width
        x += np.where(x < BINS / 2, EDGE, -EDGE)  # a value at an end of the range, such as a gripper's, belongs inside
        place = np.clip(np.floor(x), -1, BINS).astype(np.int64) + 1
        place += np.arange(values.shape[1]) * (BINS + 2)
        self.counts += np.bincount(place.reshape(-1), minlength=self.counts.size).reshape(self.counts.shape)

    def edges(self, d: int) -> NDArray[np.float64]:
        """Returns the (BINS + 3,) edges of dim `d`; the outermost bins also contain all values beyond them."""
        ends: NDArray[np.float64] = self.low[d] + self.width[d] * np.arange(-1, BINS + 2)
        return ends
