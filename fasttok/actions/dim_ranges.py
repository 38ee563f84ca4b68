"""Chooses what each dimension is normalised by: its quantiles, or something else if they do not describe it.

Quantiles q01..q99 leave out 2 % of the values. If a gripper moves in fewer than 1 % of the steps, q01 = q99; if it also
trembles, q01..q99 is a range of noise. In both cases the smallest and the largest value are used instead.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fasttok.common.choices import Constants, NormMode

NormalizedBy = Literal["quantile", "min_max", "mean_std", "constant", "constant_low", "none"]
NAMES: dict[NormalizedBy, str] = {
    "quantile": "q01..q99",
    "min_max": "min..max",
    "mean_std": "mean and std",
    "constant": "constant, 0",
    "constant_low": "constant, -1",
    "none": "left as it is",
}
"""Names of these in tables and cards."""
CONSTANT = 1e-14
"""A dim never moves if its half range is at most this (times its magnitude, if above 1): float64 rounds by as much."""
FAR = 32
"""A value is far if it is more than this many half ranges from the quantiles' centre: a fit by quantiles has no code for it."""
RECURRING = 1.5
"""Far values set the range only if they make up more steps than this: one step alone is a glitch, which must not set it."""
STD_NOISE = 1e-6
"""If quantiles are equal, a std up to this share of the mean is rounding: other programs compute it by running sums."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known about the values; every array is (D,) float64.

    Attributes:
        mean: mean.
        std: standard deviation.
        min: smallest value.
        max: largest value.
        q01: 1st percentile.
        q99: 99th percentile.
        mask: (D,) bool, False for dims that are not normalised.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    q01: NDArray[np.float64]
    q99: NDArray[np.float64]
    mask: NDArray[np.bool_]


def middle(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns (centre, half range). It halves first, so that the largest float64 numbers do not overflow."""
    return low / 2 + high / 2, high / 2 - low / 2


def _moves(centre: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.bool_]:
    moves: NDArray[np.bool_] = half > CONSTANT * np.maximum(1.0, np.abs(centre))
    return moves


def choose(x: Moments, mode: NormMode, constants: Constants = "zero", steps: float = 0.0) -> tuple[NormalizedBy, ...]:
    """Chooses what each dim is normalised by.

    Args:
        x: what is known about the values.
        mode: the statistics that the user asks for.
        constants: what dims that never move become: "zero" for 0, or "low" for -1 as in openpi and lerobot (with mean and std
            they become 0, there too).
        steps: number of steps that the values come from. 0 if it is unknown: far values then do not replace quantiles.

    >>> x = np.zeros((1000, 2))
    >>> x[:5, 1] = 1.0
    >>> q01, q99 = np.quantile(x, [0.01, 0.99], axis=0)
    >>> moments = Moments(x.mean(0), x.std(0), x.min(0), x.max(0), q01, q99, np.ones(2, bool))
    >>> choose(moments, "quantile", steps=1000)
    ('constant', 'min_max')
    """
    flat: NormalizedBy = "constant_low" if constants == "low" and mode != "mean_std" else "constant"
    whole = _moves(*middle(x.min, x.max))
    spread = _moves(x.mean, x.std)
    if mode == "none":
        found = np.full(len(x.mean), "none", object)
    elif mode == "mean_std":
        found = np.where(spread, "mean_std", flat).astype(object)
    elif mode == "min_max":
        found = np.where(whole, "min_max", flat).astype(object)
    else:
        found = np.where(_moves(*middle(x.q01, x.q99)), "quantile", flat).astype(object)
        found[(found == flat) & spread & (x.std > STD_NOISE * np.abs(x.mean))] = "mean_std"
        found[(found != "quantile") & whole] = "min_max"
        found[(found == "quantile") & _rarely_far(x, steps)] = "min_max"
    found[~x.mask] = "none"
    return tuple(found.tolist())


def _rarely_far(x: Moments, steps: float) -> NDArray[np.bool_]:
    """Finds dims that tremble about one place and leave it seldom, but more than once and far: their quantiles are noise."""
    centre, half = middle(x.q01, x.q99)
    farthest = np.maximum(x.max - centre, centre - x.min)
    far = farthest > FAR * half
    beyond = np.zeros(len(half))
    # Values within the quantiles have a variance of at most half^2, and the others are at most `farthest` away. So at least this
    # share of the values is outside the quantiles.
    beyond[far] = (x.std[far] / farthest[far]) ** 2 - (half[far] / farthest[far]) ** 2
    rare: NDArray[np.bool_] = far & (beyond * steps > RECURRING)
    return rare


def bounds(x: Moments, by: tuple[NormalizedBy, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns (low, high), the raw values that become -1 and 1: v is normalised to (v - low) / (high - low) * 2 - 1.

    A dim that never moves has a range of 2 about its value if it becomes 0, and a range of 0 if it becomes -1.

    >>> one = np.ones(1)
    >>> moments = Moments(one * 3, one, one, one * 5, one * 2, one * 4, one.astype(bool))
    >>> [tuple(float(end[0]) for end in bounds(moments, (by,))) for by in ("quantile", "min_max", "mean_std", "none")]
    [(2.0, 4.0), (1.0, 5.0), (2.0, 4.0), (-1.0, 1.0)]
    """
    chosen = np.array(by, object)
    still = middle(x.q01, x.q99)[0]
    ends = {
        "quantile": (x.q01, x.q99),
        "min_max": (x.min, x.max),
        "mean_std": (x.mean - x.std, x.mean + x.std),
        "constant": (still - 1, still + 1),
        "constant_low": (still, still),
        "none": (np.full(len(still), -1.0), np.ones(len(still))),
    }
    low, high = np.empty(len(still)), np.empty(len(still))
    for name, (least, most) in ends.items():
        low[chosen == name], high[chosen == name] = least[chosen == name], most[chosen == name]
    return low, high
