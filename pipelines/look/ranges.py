"""Finds the ranges that a normaliser maps to [-1, 1], and counts values outside them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok import ActionTokenizer
from fasttok.actions.dim_ranges import NAMES
from fasttok.actions.normalize import NormStats

SLACK = 1e-6  # of the larger end: float32 values are compared with float64 ends
Range = tuple[float, float, str]  # low, high, what they are


def normal_range(stats: NormStats, d: int) -> Range | None:
    """Returns the range of dim `d`, in raw units; None if the normaliser has none."""
    by = stats.normalized_by[d]
    if by in ("none", "mean_std"):
        return None
    low, high = (stats.q01[d], stats.q99[d]) if by != "min_max" else (stats.min[d], stats.max[d])
    return float(low), float(high), "constant" if by.startswith("constant") else NAMES[by]


def ranges(tok: ActionTokenizer | None, embodiment: str | None) -> dict[str, list[Range | None]]:
    """Returns the ranges per dim of `action` and `state`, as far as the tokenizer has statistics of the embodiment."""
    if tok is None:
        return {}
    both = {"action": tok.stats.get(embodiment or ""), "state": tok.state_stats.get(embodiment or "")}
    return {what: [normal_range(s, d) for d in range(s.dim)] for what, s in both.items() if s is not None}


def outside(values: NDArray[np.floating[Any]], limits: Sequence[Range | None]) -> NDArray[np.int64]:
    """Returns (D,) int64: how many of the values (n, D) are outside. A dim without a range has none; NaN is not outside.

    >>> outside(np.array([[0.0, 5.0], [2.0, 5.0]]), [(0.0, 1.0, "q01..q99"), None])
    array([1, 0])
    """
    low = np.array([limit[0] if limit else -np.inf for limit in limits])
    high = np.array([limit[1] if limit else np.inf for limit in limits])
    ends = np.array([max(abs(limit[0]), abs(limit[1])) if limit else 0.0 for limit in limits])
    beyond: NDArray[np.int64] = ((values < low - SLACK * ends) | (values > high + SLACK * ends)).sum(0)
    return beyond
