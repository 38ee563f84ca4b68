"""Exact shares: how many samples each source gives, and in which order sources alternate.

Counts come from the largest-remainder method. Order comes from one rule: draw `j` of a source with weight `w` is at
time `(2j + 1) / 2w`, and positions are draws sorted by time (ties: lower source first). All times are compared as exact
integer products, so nothing drifts, and a draw's position and a position's draw are computed directly, without a list of all.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fasttok.errors import InputError

IntArray = NDArray[np.int64]
MOST_SAMPLES = 2**53  # float64, in which shares are computed, has every whole number up to here
EXACT_WEIGHT = 2**30  # below, the products of two weights and their sums fit in int64


def quotas(shares: ArrayLike, n: int) -> IntArray:
    """Splits `n` samples by largest remainder: the sum is exactly `n`, each count within 1 of its share.

    Args:
        shares: (k,) non-negative, at least one positive; normalised here.
        n: samples to split, in [0, 2**53].

    Returns:
        (k,) int64 counts; a share of 0 gets 0. Ties go to the earlier source.

    Raises:
        InputError: shares that are negative, not finite or all zero; `n` below 0 or above 2**53.

    >>> quotas([4, 3, 2, 1], 16)
    array([6, 5, 3, 2])
    """
    weights = np.asarray(shares, dtype=np.float64)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or not (weights > 0).any():
        raise InputError(f"shares must be finite, >= 0 and not all 0; got {np.asarray(shares).tolist()}")
    if not 0 <= n <= MOST_SAMPLES:
        raise InputError(f"cannot split {n} samples; give a number >= 0 and <= {MOST_SAMPLES:,}")
    weights = weights / weights.max()  # so that the sum of huge weights cannot overflow
    exact = weights / weights.sum() * n
    counts: IntArray = np.floor(exact).astype(np.int64)
    order = np.argsort(np.where(weights > 0, counts - exact, np.inf), kind="stable")
    counts[order[: n - int(counts.sum())]] += 1
    return counts


def capped_quotas(shares: ArrayLike, n: int, caps: Sequence[int | None], names: Sequence[str] = ()) -> IntArray:
    """Computes quotas under upper limits: what a capped source cannot give goes to the others, in proportion to their shares.

    A source at its cap gives exactly the cap; the others are within 1 of their share of the rest. A cap changes shares instead of
    being an error because it is clear which limit matters more: `max_epochs` is a hard limit, and `weight` is not. `explain` and
    `build` mark each capped source, so that a changed share is never a surprise.

    Args:
        shares: (k,) as in `quotas`.
        n: samples to split.
        caps: (k,) maximum number of samples of each source; None is no limit.
        names: (k,) names for the message.

    Raises:
        InputError: the caps together allow fewer than `n` samples.

    >>> capped_quotas([0.5, 0.25, 0.25], 100, [20, None, None])
    array([20, 40, 40])
    """
    weights = np.asarray(shares, dtype=np.float64)
    limits = [cap if weights[i] > 0 else 0 for i, cap in enumerate(caps)]
    known = [limit for limit in limits if limit is not None]
    if len(known) == len(limits) and sum(known) < n:
        held = ", ".join(f"{name} {cap:,}" for name, cap, w in zip(names, known, weights, strict=False) if w > 0)
        raise InputError(
            f"{n:,} samples were asked for, but max_epochs allows only {sum(known):,} in all"
            f"{f' ({held})' if held else ''}; ask for fewer samples or raise max_epochs"
        )
    counts = np.zeros(len(weights), np.int64)
    fixed = np.zeros(len(weights), bool)
    while not fixed.all():
        free = np.where(fixed, 0.0, weights)
        if not (free > 0).any():
            break
        counts[~fixed] = quotas(free, n - int(counts[fixed].sum()))[~fixed]
        over = [i for i, cap in enumerate(limits) if cap is not None and not fixed[i] and counts[i] > cap]
        if not over:
            break
        for i in over:
            counts[i], fixed[i] = limits[i] or 0, True
    return counts


def positions(weights: ArrayLike, source: ArrayLike, draw: ArrayLike) -> IntArray:
    """Returns the position of a source's draw in the endless alternation; exact, O(k) per draw.

    Args:
        weights: (k,) integers >= 0. The sequence has the period `sum(weights)`, and each period has `weight` draws of a source.
        source: (m,) source of each draw; its weight is > 0.
        draw: (m,) draw number within that source, >= 0.

    Returns:
        (m,) int64, the inverse of `sequence`. Weights of 2**30 and more are computed with Python's integers, which is slower.

    >>> positions([2, 1], [0, 1, 0], [0, 0, 1])
    array([0, 1, 2])
    """
    w = _integer_weights(weights)
    i = np.asarray(source, np.int64)
    exact = np.int64 if w.max() < EXACT_WEIGHT else object
    own = w[i].astype(exact)
    period, j = (part.astype(exact) for part in np.divmod(np.asarray(draw, np.int64), w[i]))
    total = period * int(w.sum()) + j
    for other, weight in enumerate(w.tolist()):
        if weight == 0:
            continue
        # Draws j' of `other` with (2j' + 1) * own <= (2j + 1) * weight; strictly less when `other` comes after `i`.
        limit = (2 * j + 1) * weight - (other > i)
        total += np.where(other == i, 0, (limit // own + 1) // 2)
    return np.asarray(total, np.int64)


def sequence(weights: ArrayLike, start: int, stop: int) -> tuple[IntArray, IntArray]:
    """Returns which source, and which of its draws, is at each position of the endless alternation; random access.

    In any window, the count of a source with share `s` differs from `s` times the window's length by at most
    `1 - s + s * (k - 1)`, for k sources of positive weight: 1 for two sources, 1.95 for forty equal ones. This is because before
    time x there are `x * w` draws of a source, to within 1/2, so before any position its count is off by at most half of that.

    Args:
        weights: (k,) integers >= 0, each at most 2**53.
        start: first position, >= 0.
        stop: one past the last.

    Returns:
        (source, draw), each (stop - start,) int64. Over one period a source's draws run through 0 .. weight - 1 once.

    >>> source, draw = sequence([2, 1], 0, 6)
    >>> source.tolist(), draw.tolist()
    ([0, 1, 0, 0, 1, 0], [0, 0, 1, 2, 1, 3])
    """
    w = _integer_weights(weights)
    n = int(w.sum())
    k = int((w > 0).sum())
    size = max(stop - start, 0)
    source, draw = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for period in range(start // n, (stop - 1) // n + 1) if size else ():
        low, high = max(start - period * n, 0), min(stop - period * n, n)
        for i, weight in enumerate(w.tolist()):
            # A draw at time x has a position within k/2 of x * n; so these j cover [low, high), the exact test follows.
            first = max((2 * low - k - 2) * weight // (2 * n) - 1, 0)
            last = min((2 * high + k + 2) * weight // (2 * n) + 2, weight)
            j = np.arange(first, last, dtype=np.int64)
            at = positions(w, np.full(len(j), i), j) if len(j) else j
            keep = (at >= low) & (at < high)
            where = at[keep] + period * n - start
            source[where] = i
            draw[where] = j[keep] + period * weight
    return source, draw


def interleave(counts: ArrayLike) -> IntArray:
    """Returns the source of each of `sum(counts)` positions: each source as often as counted, every window near the shares.

    This is one period of `sequence`, with the same bound.

    >>> interleave([4, 2, 0, 1]).tolist()
    [0, 1, 0, 3, 0, 1, 0]
    """
    total = int(np.sum(counts))
    return sequence(counts, 0, total)[0] if total else np.zeros(0, np.int64)


def _integer_weights(weights: ArrayLike) -> IntArray:
    w = np.asarray(weights)
    if (
        w.ndim != 1
        or not np.issubdtype(w.dtype, np.integer)
        or (w < 0).any()
        or (w > MOST_SAMPLES).any()
        or not w.any()
    ):
        raise InputError(f"weights of an order must be integers in [0, 2**53], not all 0; got {w.tolist()}")
    return w.astype(np.int64)
