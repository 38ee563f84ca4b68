"""Which source is at each position of the global order: the low-discrepancy sequence of each phase's weights, and its bounds.

A phase is a stretch of the order with the same weights; most orders have one. A source's draws are numbered over all phases, so
that its rows are walked once before any comes again, whatever the weights do.
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
SHORT_PERIOD = 1 << 14  # positions after which weights repeat themselves that are computed once and kept
WEIGHT_UNITS = 1 << 20  # float weights become integers of this sum: shares are exact to one millionth


@dataclass(frozen=True)
class Phase:
    """Weights from a sample of the order on.

    Attributes:
        after: samples of the order before this phase; 0 for the first.
        weights: {source: weight}; sources left out give nothing.
    """

    after: int
    weights: Mapping[str, float]


Weights = Mapping[str, float] | Sequence[Phase]


class Schedule:
    """Position -> (source, draw), by phases; random access.

    Attributes:
        starts: (phases,) first position of each.
        weights: (phases, k) integers, reduced by their common divisor.
        before: (phases, k) draws of each source before the phase begins.
    """

    def __init__(self, starts: Sequence[int], weights: ArrayLike) -> None:
        """Takes phases as (phases,) ascending starts, the first 0, and (phases, k) integer weights."""
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
        """From what a user wrote.

        Args:
            weights: of the whole order, or phases.
            names: (k,) sources.
            source_rows: (k,) rows of each source.
            where: for messages.

        Raises:
            InputError: an unknown source, weight for a source without rows, no positive weight, phases out of order.
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
        """The order in which the first `source_rows.sum()` samples are each row once.

        Args:
            source_rows: (k,) rows of each source.
            planned: (phases, k) samples that the build planned for each phase; a source's rows are split in proportion to its
                column, by largest remainder. After the last phase its weights go on. () or one phase: no curriculum.

        >>> Schedule.as_stored(np.array([6, 2]), [[4, 0], [2, 2]]).starts.tolist()
        [0, 4]
        """
        if len(planned) < 2:
            return cls([0], [source_rows])
        table = np.asarray(planned, np.int64)
        split = [quotas(table[:, i], int(rows)) if rows else 0 * table[:, i] for i, rows in enumerate(source_rows)]
        counts = np.stack(split, axis=1)
        counts = counts[counts.sum(axis=1) > 0]  # a phase all of whose rows were rejected has no place
        return cls([0, *np.cumsum(counts.sum(axis=1))[:-1].tolist()], counts)

    def sequence(self, start: int, stop: int) -> tuple[IntArray, IntArray]:
        """(source, draw), each (stop - start,), of the positions start .. stop - 1."""
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
        """(k,) samples of each source that the weights ask for in the window start .. stop - 1, as real numbers."""
        length = self._lengths(start, stop)
        asked: NDArray[np.float64] = length[:, None] * self.weights / self.weights.sum(axis=1, keepdims=True)
        return np.asarray(asked.sum(axis=0))

    def bound(self, start: int, stop: int) -> NDArray[np.float64]:
        """(k,) most by which any source of the window can differ from `expected`: the phases' bounds, summed."""
        rows = [window_bound(w) for w, n in zip(self.weights, self._lengths(start, stop), strict=True) if n]
        return np.asarray(np.sum(rows, axis=0))

    def _lengths(self, start: int, stop: int) -> IntArray:
        ends = np.append(self.starts[1:], max(stop, int(self.starts[-1])))
        return np.asarray(np.maximum(np.minimum(ends, stop) - np.maximum(self.starts, start), 0))


def drawn(weights: ArrayLike, n: int) -> IntArray:
    """How many of the first `n` positions of the low-discrepancy sequence each source contains; exact, no list is made.

    >>> drawn([2, 1], 5).tolist()
    [3, 2]
    """
    w = np.asarray(weights, np.int64)
    total, k = int(w.sum()), int((w > 0).sum())
    periods, rest = divmod(n, total)
    counts = periods * w
    for i in np.flatnonzero(w).tolist():
        own = int(w[i])
        # A draw at time x has a position within k/2 of x * total: the first ones are surely before `rest`, the others are tried.
        first = min(max((2 * rest - k - 2) * own // (2 * total) - 1, 0), own)
        last = min((2 * rest + k + 2) * own // (2 * total) + 2, own)
        j = np.arange(first, last, dtype=np.int64)
        counts[i] += first + int((positions(w, np.full(len(j), i), j) < rest).sum())
    return counts


def window_bound(weights: ArrayLike) -> NDArray[np.float64]:
    """(k,) most by which any window of consecutive positions can differ from each source's share (`mixtures.quota.sequence`).

    >>> window_bound([1, 1]).tolist()
    [1.0, 1.0]
    """
    w = np.asarray(weights, np.float64)
    share, k = w / w.sum(), int((w > 0).sum())
    return np.where(w > 0, 1 - share + share * (k - 1), 0.0)


def rank_bound(weights: ArrayLike, window: int, n: int, world: int) -> NDArray[np.float64]:
    """(k,) most by which `window` consecutive samples of one rank can differ from each source's share.

    A rank's samples are slices of m = n / world consecutive positions. A window touches at most `ceil((window - 1) / m) + 1` of
    them; each is off by at most the order's own bound, and by no more than m * max(share, 1 - share). The bound is attained where
    m * share is far from whole and the sequence's period divides n: then a rank gets the same sources at every step. The
    global batch, which decides the gradient, has the order's own bound.

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
