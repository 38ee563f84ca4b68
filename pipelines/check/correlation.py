"""Measures how well one table of numbers follows another one, over all episodes and at the delay that fits best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
Pair = Callable[[Table, Table, int], tuple[Table, Table]]
STILL = 1e-12  # sum of squares up to which a dim does not move at all


@dataclass(frozen=True, eq=False)
class Following:
    """How well each state dim follows each action dim, at the delay that fits best; each array is (D, S).

    Attributes:
        r: correlation, 0 if one of the two dims does not move.
        gain: change on the action's side per change of 1 on the state's side, with the sign of `r`.
        lag: delay in steps.
    """

    r: Table
    gain: Table
    lag: NDArray[np.int64]


def level(action: Table, state: Table, lag: int) -> tuple[Table, Table]:
    """Returns an absolute action and the state that it leads to, both without their mean over the episode."""
    end = len(action) - lag
    return _centred(action[:end]), _centred(state[lag:])


def level_steps(action: Table, state: Table, lag: int) -> tuple[Table, Table]:
    """Returns the changes of an absolute action and of that state from step to step, in which a common drift is small."""
    end = len(action) - lag
    return np.diff(action[:end], axis=0), np.diff(state[lag:], axis=0)


def summed(action: Table, state: Table, lag: int) -> tuple[Table, Table]:
    """Returns the sum of all actions so far and the state that they led to: the sum of deltas is a position."""
    end = len(action) - lag - 1
    return _centred(np.cumsum(action[:end], axis=0)), _centred(state[lag + 1 :])


def steps(action: Table, state: Table, lag: int) -> tuple[Table, Table]:
    """Returns a delta and the movement that it leads to."""
    end = len(action) - lag - 1
    return action[:end], np.diff(state[lag:], axis=0)


def follow(pair: Pair, actions: Sequence[Table], states: Sequence[Table], lags: int) -> Following:
    """Computes the correlation over all episodes, for each pair of dims at its best delay of 0 to `lags` steps.

    Args:
        pair: function that gives the two sides to compare: `level`, `level_steps`, `summed` or `steps`.
        actions: a table (T, D) per episode.
        states: a table (T, S) per episode.
        lags: longest delay in steps.

    >>> ramp = np.array([[0.0], [1.0], [3.0], [4.0], [8.0], [9.0]])
    >>> late = np.concatenate([ramp[:1], ramp[:-1]])
    >>> found = follow(level, [ramp], [late], 2)
    >>> round(float(found.r[0, 0]), 6), int(found.lag[0, 0])
    (1.0, 1)
    """
    shape = actions[0].shape[1], states[0].shape[1]
    best = Following(np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64))
    for lag in range(lags + 1):
        both = np.zeros(shape)
        left, right = np.zeros(shape[0]), np.zeros(shape[1])
        for action, state in zip(actions, states, strict=True):
            if len(action) < lag + 4:
                continue
            x, y = pair(action, state, lag)
            both += x.T @ y
            left += (x * x).sum(0)
            right += (y * y).sum(0)
        moving = (left[:, None] > STILL) & (right[None, :] > STILL)
        r = np.where(moving, both / np.sqrt(np.where(moving, left[:, None] * right[None, :], 1.0)), 0.0)
        gain = np.where(moving, np.sqrt(left[:, None] / np.where(moving, right[None, :], 1.0)), 0.0) * np.sign(r)
        better = np.abs(r) > np.abs(best.r)
        best.r[better], best.gain[better], best.lag[better] = r[better], gain[better], lag
    return best


def _centred(values: Table) -> Table:
    centred: Table = values - values.mean(axis=0)
    return centred
