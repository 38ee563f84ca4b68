"""Fits a straight line through points, with bootstrap intervals. Imports no JAX."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
GRID = 25  # number of x values at which the band is computed
FEWEST_GROUPS = 3  # with two, every draw has the same slope or none


@dataclass(frozen=True)
class LineInterval:
    """A number of the line with its 95 % interval.

    Attributes:
        value: value by least squares.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class FittedLine:
    """The line y = intercept + slope x.

    Attributes:
        slope: change of y if x grows by 1.
        intercept: y at x = 0.
        slope_by_group: the slope with an interval from drawing whole groups, because the points of a group are similar; None if
            fewer than three groups, or groups whose means have fewer than three different x, say too little of it.
        x: values at which the band is computed, ascending.
        low: lower end of the line's 95 % interval at each x.
        high: upper end of the line's 95 % interval at each x.
    """

    slope: LineInterval
    intercept: LineInterval
    slope_by_group: LineInterval | None
    x: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def at(self, x: float) -> float:
        """Returns y on the line at x."""
        return self.intercept.value + self.slope.value * x


def fit_line(x: NDArray[np.float64], y: NDArray[np.float64], groups: NDArray[np.int64]) -> FittedLine | None:
    """Fits a line by least squares, with percentile bootstrap intervals over points, and over groups of points.

    Args:
        x: (n,) values.
        y: (n,) values.
        groups: (n,) number of each point's group.

    Returns:
        The line; None if all x are equal.

    >>> line = fit_line(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]), np.arange(3))
    >>> round(line.slope.value, 6), round(line.intercept.value, 6)
    (2.0, 1.0)
    """
    if np.ptp(x) == 0:
        return None
    rng, n = np.random.default_rng(0), len(x)
    weights = np.stack([np.bincount(draw, minlength=n) for draw in rng.integers(n, size=(RESAMPLES, n))]).astype(float)
    intercept, slope = (float(v[0]) for v in _lines(x, y, np.ones((1, n))))
    intercepts, slopes = _lines(x, y, weights)
    by_group = _by_group(x, y, groups, rng)
    grid = np.linspace(x.min(), x.max(), GRID)
    low, high = np.quantile(intercepts[:, None] + slopes[:, None] * grid, [0.025, 0.975], axis=0)
    return FittedLine(
        _interval(slope, slopes), _interval(intercept, intercepts), None if by_group is None else _interval(slope, by_group),
        tuple(grid.tolist()), tuple(low.tolist()), tuple(high.tolist()),
    )  # fmt: skip


def _by_group(
    x: NDArray[np.float64], y: NDArray[np.float64], groups: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """Returns the slopes of draws of whole groups; None if there are too few groups, or too few x, for an interval."""
    names, place = np.unique(groups, return_inverse=True)
    means = np.bincount(place, x) / np.bincount(place)
    if len(np.unique(np.round(means / np.ptp(x), 9))) < FEWEST_GROUPS:
        return None
    draws = rng.integers(len(names), size=(RESAMPLES, len(names)))
    weights = np.stack([np.bincount(draw, minlength=len(names)) for draw in draws])[:, place].astype(float)
    return _lines(x, y, weights)[1]


def _lines(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns intercepts and slopes for (m, n) weights. Draws in which all x are equal have no slope and are left out."""
    total = weights.sum(1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    spread = weights @ x**2 / total - mean_x**2
    tells = spread > 1e-12 * np.ptp(x) ** 2
    slopes = ((weights @ (x * y) / total - mean_x * mean_y)[tells]) / spread[tells]
    return mean_y[tells] - slopes * mean_x[tells], slopes


def _interval(value: float, drawn: NDArray[np.float64]) -> LineInterval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return LineInterval(value, float(low), float(high))
