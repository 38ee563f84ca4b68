"""Computes the source at each position of the global order: the low-discrepancy sequence of each phase's weights, and its bounds.

A phase is a stretch of the order with the same weights; most orders have only one. The draws of a source are numbered over all
phases, so each of its rows comes once before any row comes again, even if its weight changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fasttok.errors import InputError, unknown_name
from mixtures.quota import positions, quotas, sequence

IntArray = NDArray[np.int64]
SHORT_PERIOD = 1 << 14  # a sequence that repeats after at most so many positions is computed once and kept
WEIGHT_UNITS = 1 << 20  # float weights become integers with this sum: shares are exact to one millionth


@dataclass(frozen=True)
class Phase:
    """Weights that apply from a given sample of the order on.

    Attributes:
        after: number of samples of the order before this phase; 0 for the first phase.
        weights: {source: weight}; sources that are left out give no samples.
    """

    after: int
    weights: Mapping[str, float]


Weights = Mapping[str, float] | Sequence[Phase]


class Schedule:
    """Maps a position to (source, draw), by phases, for positions in any order.

    Attributes:
        starts: (phases,) int64, first position of each phase.
        weights: (phases, k) int64, divided by the greatest common divisor of each phase.
        before: (phases, k) int64, number of draws of each source before each phase.
    """

    def __init__(self, starts: Sequence[int], weights: ArrayLike) -> None:
        """Takes the (phases,) ascending starts of the phases, the first of which is 0, and their (phases, k) integer weights."""
        table = np.asarray(weights, np.int64)
        self.starts = np.asarray(starts, np.int64)
        self.weights = table // np.maximum(np.gcd.reduce(table, axis=1, keepdims=True), 1)
        self.before = np.zeros_like(table)
        self._periods: dict[int, tuple[IntArray, IntArray]] = {}
        for p in range(1, len(table)):
            length = int(self.starts[p] - self.starts[p - 1])
            self.before[p] = self.before[p - 1] + drawn(self.weights[p - 1], length)

    @classmethod
    def of_weights(cls, weights: Weights, names: Sequence[str], source_rows: IntArray, where: str) -> "Schedule":
        """Makes a schedule from the weights that a user gave.

        Args:
            weights: weights of the whole order, or phases.
            names: (k,) names of the sources.
            source_rows: (k,) number of rows of each source.
            where: name of the shards, for messages.

        Raises:
            InputError: a source is unknown, a source without rows has a weight, no weight is positive, or the phases do not
                ascend from 0.
        """
        phases = [Phase(0, weights)] if isinstance(weights, Mapping) else list(weights)
        if not phases or phases[0].after != 0 or any(a.after >= b.after for a, b in pairwise(phases)):
            raise InputError(
                f"a curriculum's phases must begin after 0 samples and ascend; got {[phase.after for phase in phases]}"
            )
        table = [_integers(phase.weights, names, source_rows, where) for phase in phases]
        return cls([phase.after for phase in phases], table)

    @classmethod
    def as_stored(cls, source_rows: IntArray, planned: Sequence[Sequence[int]] = ()) -> "Schedule":
        """Makes the schedule in which the first `source_rows.sum()` samples contain each row once.

        Args:
            source_rows: (k,) number of rows of each source.
            planned: (phases, k) number of samples that the build planned for each phase. The rows of a source are split in
                proportion to its column, by largest remainder, and the weights of the last phase continue after it. () or one
                phase: no curriculum.

        >>> Schedule.as_stored(np.array([6, 2]), [[4, 0], [2, 2]]).starts.tolist()
        [0, 4]
        """
        if len(planned) < 2:
            return cls([0], [source_rows])
        table = np.asarray(planned, np.int64)
        split = [quotas(table[:, i], int(rows)) if rows else 0 * table[:, i] for i, rows in enumerate(source_rows)]
        counts = np.stack(split, axis=1)
        counts = counts[counts.sum(axis=1) > 0]  # a phase whose rows were all rejected is left out
        return cls([0, *np.cumsum(counts.sum(axis=1))[:-1].tolist()], counts)

    def sequence(self, start: int, stop: int) -> tuple[IntArray, IntArray]:
        """Returns (source, draw), each (stop - start,) int64, of the positions start .. stop - 1."""
        parts = []
        ends = [*self.starts[1:].tolist(), None]
        for p, (begin, end) in enumerate(zip(self.starts.tolist(), ends, strict=True)):
            low, high = max(start, begin), stop if end is None else min(stop, end)
            if low < high:
                source, draw = self._phase(p, low - begin, high - begin)
                parts.append((source, draw + self.before[p, source]))
        if not parts:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate([s for s, _ in parts]), np.concatenate([d for _, d in parts])

    def _phase(self, p: int, start: int, stop: int) -> tuple[IntArray, IntArray]:
        weights = self.weights[p]
        length = int(weights.sum())
        if length > SHORT_PERIOD:
            return sequence(weights, start, stop)
        if p not in self._periods:
            self._periods[p] = sequence(weights, 0, length)
        source, draw = self._periods[p]
        period, inside = np.divmod(np.arange(start, stop), length)
        return source[inside], draw[inside] + period * weights[source[inside]]

    def expected(self, start: int, stop: int) -> NDArray[np.float64]:
        """Returns (k,) float64: how many samples of each source the weights ask for in the positions start .. stop - 1."""
        length = self._lengths(start, stop)
        asked: NDArray[np.float64] = length[:, None] * self.weights / self.weights.sum(axis=1, keepdims=True)
        return np.asarray(asked.sum(axis=0))

    def bound(self, start: int, stop: int) -> NDArray[np.float64]:
        """Returns (k,) float64: how far each source of a window can differ from `expected`, summed over the phases."""
        rows = [window_bound(w) for w, n in zip(self.weights, self._lengths(start, stop), strict=True) if n]
        return np.asarray(np.sum(rows, axis=0))

    def _lengths(self, start: int, stop: int) -> IntArray:
        ends = np.append(self.starts[1:], max(stop, int(self.starts[-1])))
        return np.asarray(np.maximum(np.minimum(ends, stop) - np.maximum(self.starts, start), 0))


def drawn(weights: ArrayLike, n: int) -> IntArray:
    """Returns how many of the first `n` positions of the low-discrepancy sequence each source has: exact, without the sequence.

    >>> drawn([2, 1], 5).tolist()
    [3, 2]
    """
    w = np.asarray(weights, np.int64)
    total, k = int(w.sum()), int((w > 0).sum())
    periods, rest = divmod(n, total)
    counts = periods * w
    for i in np.flatnonzero(w).tolist():
        own = int(w[i])
        # A draw at time x has a position within k/2 of x * total: early draws are surely before `rest`, only others are computed.
        first = min(max((2 * rest - k - 2) * own // (2 * total) - 1, 0), own)
        last = min((2 * rest + k + 2) * own // (2 * total) + 2, own)
        j = np.arange(first, last, dtype=np.int64)
        counts[i] += first + int((positions(w, np.full(len(j), i), j) < rest).sum())
    return counts


def window_bound(weights: ArrayLike) -> NDArray[np.float64]:
    """Returns (k,): how far any window of consecutive positions can differ from each source's share (`mixtures.quota.sequence`).

    >>> window_bound([1, 1]).tolist()
    [1.0, 1.0]
    """
    w = np.asarray(weights, np.float64)
    share, k = w / w.sum(), int((w > 0).sum())
    return np.where(w > 0, 1 - share + share * (k - 1), 0.0)


def rank_bound(weights: ArrayLike, window: int, n: int, world: int) -> NDArray[np.float64]:
    """Returns (k,): how far `window` consecutive samples of one rank can differ from each source's share.

    A rank's samples are slices of m = n / world consecutive positions. A window touches at most `ceil((window - 1) / m) + 1`
    slices. Each slice is off by at most the order's own bound, and by at most m * max(share, 1 - share). The bound is reached if
    m * share is far from a whole number and the sequence's period divides n: then a rank gets the same sources at every step. For
    the global batch, which decides the gradient, the order's own bound applies.

    >>> rank_bound([1, 1], 1000, 240, 8).tolist()
    [35.0, 35.0]
    """
    if world == 1:
        return window_bound(weights)
    w = np.asarray(weights, np.float64)
    share, m = w / w.sum(), n // world
    slices = ceil((window - 1) / m) + 1
    return slices * np.minimum(window_bound(w), np.where(w > 0, m * np.maximum(share, 1 - share), 0.0))


def _integers(weights: Mapping[str, float], names: Sequence[str], source_rows: IntArray, where: str) -> IntArray:
    for name in weights:
        if name not in names:
            raise unknown_name("source", name, names)
    wanted = np.array([float(weights.get(name, 0.0)) for name in names])
    empty = [name for name, w, rows in zip(names, wanted, source_rows, strict=True) if w > 0 and not rows]
    if empty:
        raise InputError(f"{where}: weight given to {', '.join(empty)}, of which the shards have no row")
    return np.where(wanted > 0, np.maximum(quotas(wanted, WEIGHT_UNITS), 1), 0)
