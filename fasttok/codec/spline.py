"""`fixed`: codes a chunk as the control points of clamped B-splines, one token each, as BEAST (arXiv 2506.06072, section 3).

Every chunk has the same number of tokens, and any sequence of so many ids is a chunk, so a model may write all of them at once.
A fit learns only the range of the control points.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError


@dataclass(frozen=True)
class SplineConfig:
    """The shape of the splines of a `fixed` fit.

    Attributes:
        points: control points of each dim, at most one per step; a chunk has points * dims tokens.
        degree: degree of the polynomials between knots: 0 for steps, 1 for lines, 3 for cubic curves.
    """

    points: int = 10
    degree: int = 3

    def __post_init__(self) -> None:
        if self.points < 1 or self.degree < 0:
            raise InputError(f"splines of {self.points} points and degree {self.degree}, expected at least 1 and 0")


@dataclass(frozen=True, eq=False)
class Spline:
    """Control points by least squares, each rounded to one of `bins` values that are evenly spaced over its channel's range.

    A control point within the range is off by at most half a bin. So is the curve, since each of its points is a weighted mean of
    control points. What splines cannot follow adds to this error. Points outside the range are moved to its end and counted.

    Attributes:
        config: how many control points, of what degree.
        bins: number of values, which is the number of ids.
        low: (C,) smallest value of each channel's control points.
        high: (C,) largest value of each channel's control points.

    Raises:
        InputError: shapes that do not fit, or numbers that are not finite.
    """

    config: SplineConfig
    bins: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise InputError(f"splines with {self.bins} bins, expected at least 2")
        if self.low.ndim != 1 or self.low.shape != self.high.shape or not (self.low <= self.high).all():
            raise InputError("the ranges of splines are not a smallest and a largest value for each channel")
        if not (np.isfinite(self.low).all() and np.isfinite(self.high).all()):
            raise InputError("the ranges of splines contain NaN or inf")

    @property
    def step(self) -> NDArray[np.float64]:
        """(C,) width of a bin."""
        span = self.high - self.low
        moving: NDArray[np.float64] = np.where(span > 0, span, 1.0)
        return moving / (self.bins - 1)

    @property
    def centre(self) -> NDArray[np.float64]:
        """(C,) value that coefficient 0 stands for."""
        middle: NDArray[np.float64] = np.where(self.high > self.low, self.low + self.step * (self.bins // 2), self.low)
        return middle

    def rows(self, horizon: int) -> int:
        """Returns K, the number of control points of each channel."""
        return min(self.config.points, horizon)

    def coefficients(self, x: NDArray[Any], _scale: float, rounded: bool = True) -> NDArray[Any]:
        """Converts (B, T, C) chunks to (B, K, C) bins, counted from the middle one.

        Raises:
            InputError: the chunks have another number of channels.
        """
        self._check(x.shape[2])
        points = (control_points(x, self.config) - self.centre) / self.step
        return np.rint(points) if rounded else points

    def actions(self, coefs: NDArray[np.float64], _scale: float, horizon: int, width: int) -> NDArray[np.float64]:
        """Converts (B, K * C) coefficients to (B, T, C) chunks, float64.

        Raises:
            InputError: the chunks have another number of channels.
        """
        self._check(width)
        points = coefs.reshape(len(coefs), self.rows(horizon), width) * self.step + self.centre
        forward, _ = matrices(horizon, self.rows(horizon), self.config.degree)
        return np.asarray(np.matmul(forward, points))

    def reach(self, _unit: NDArray[np.float64], _horizon: int, _scale: float) -> float:
        """Returns half the number of bins: nothing beyond them is coded."""
        return self.bins / 2

    def _check(self, width: int) -> None:
        if width != len(self.low):
            raise InputError(f"chunks of {width} dims, but this tokenizer's splines have {len(self.low)}")


def control_points(x: NDArray[Any], config: SplineConfig) -> NDArray[np.float64]:
    """Fits control points by least squares: (B, T, C) -> (B, K, C) float64.

    >>> control_points(np.ones((1, 9, 1)), SplineConfig(4, 3)).round(6).ravel().tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    _, inverse = matrices(x.shape[1], min(config.points, x.shape[1]), config.degree)
    return np.asarray(np.matmul(inverse, x.astype(np.float64, copy=False)))


@lru_cache(maxsize=32)
def matrices(horizon: int, points: int, degree: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns (T, K), which maps control points to steps, and (K, T), its least-squares inverse.

    Steps are evenly spaced over the clamped knots. Each knot is the average of `degree` of K evenly spaced places, so control
    points are at most 9 times as large as steps. If the knots were evenly spaced and K near T, two control points near an end
    would describe almost the same steps, and control points would be huge: 2,300 times the size of a step for 40 points of 40
    steps, 1.8 million times for 80 of 80.

    >>> matrices(5, 2, 1)[0][:, 1].tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> float(np.abs(matrices(80, 80, 3)[1]).sum(1).max()) < 9
    True
    """
    from scipy.interpolate import BSpline

    degree = min(degree, points - 1)
    places = np.linspace(0, 1, points)
    if degree:
        inner = np.array([places[j : j + degree].mean() for j in range(1, points - degree)])
    else:
        inner = (places[:-1] + places[1:]) / 2
    knots = np.concatenate([np.zeros(degree + 1), inner, np.ones(degree + 1)])
    forward = BSpline.design_matrix(np.linspace(0, 1, horizon), knots, degree).toarray()
    return forward, np.linalg.pinv(forward)
