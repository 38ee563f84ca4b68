"""Converts our statistics to those of lerobot's normaliser: q01 becomes -1, q99 becomes 1, in float32.

Source: lerobot 0.6.1, processor/normalize_processor.py, mode QUANTILES: 2 (x - q01) / (q99 - q01) - 1, and back
(x + 1) (q99 - q01) / 2 + q01. Our normalisation of a dimension always has this form. A dimension of the state that never moves
gets a range so wide that float32 turns every value into the same one.
"""

import io
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fasttok import NormStats
from train.acting.robots import Robot
from train.exports.source import ExportSource
from train.exports.tensor_file import TensorToWrite, write

WIDE = 2.0**100
"""So large that in float32 any state of a robot vanishes beside it: (x - -WIDE) / WIDE - 1 is 0 for each |x| < 2^75."""
STATE_ERROR = 1 / 256
"""Largest rounding error of a state in normalised units: half a bin of the state in the prompt."""
ACTION_ERROR = 1e-3
"""Largest rounding error of an action, as a share of half its range."""


def reads_state(source: ExportSource, robot: Robot) -> bool:
    """Returns whether the prompts of a robot contain its state."""
    return robot.state_dim > 0 and robot.embodiment in source.tok.state_stats


def state_quantiles(stats: NormStats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns (q01, q99), both (S,), with which lerobot normalises a state as we do.

    >>> low, high = state_quantiles(NormStats.fit(np.array([[0.0, 5.0], [10.0, 5.0]]), mode="min_max"))
    >>> low.tolist() == [0.0, -(2.0**100)], high.tolist() == [10.0, 2.0**100]
    (True, True)
    """
    low, high = (end.copy() for end in stats.bounds)
    for dim, by in enumerate(stats.normalized_by):
        if by == "constant":
            low[dim], high[dim] = -WIDE, WIDE
        elif by == "constant_low":
            low[dim], high[dim] = 0.0, WIDE
    return low.astype(np.float32), high.astype(np.float32)


def action_quantiles(stats: NormStats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns (q01, q99), both (D,), with which lerobot brings an action back to raw units as we do.

    For a dimension that never moves, both are its value.
    """
    low, high = (end.copy() for end in stats.bounds)
    centre = stats.unnormalize(np.zeros(stats.dim))
    for dim, by in enumerate(stats.normalized_by):
        if by.startswith("constant"):
            low[dim] = high[dim] = centre[dim]
    return low.astype(np.float32), high.astype(np.float32)


def rounded_states(stats: NormStats) -> list[int]:
    """Returns the dims of a state whose range is so small beside their values that float32 moves them by more than half a bin."""
    low, high = state_quantiles(stats)
    ends = [end.astype(np.float32) for end in stats.bounds]
    wrong = np.zeros(stats.dim, bool)
    for x in (*ends, (ends[0] / 2 + ends[1] / 2).astype(np.float32)):
        theirs = np.float32(2) * (x - low) / _range(low, high) - np.float32(1)
        wrong |= np.abs(theirs - stats.normalize(x.astype(np.float64))) > STATE_ERROR
    return np.flatnonzero(wrong).tolist()


def rounded_actions(stats: NormStats) -> list[int]:
    """Returns the dims of an action that float32 moves by more than a thousandth of half their range."""
    low, high = action_quantiles(stats)
    half = np.abs(stats.bounds[1] - stats.bounds[0]) / 2
    wrong = np.zeros(stats.dim, bool)
    for x in (-1.0, 0.0, 1.0):
        theirs = np.float32(x + 1) * _range(low, high) / np.float32(2) + low
        ours = stats.unnormalize(np.full(stats.dim, x))
        wrong |= np.abs(theirs - ours) > np.maximum(ACTION_ERROR * half, 2e-8)
    return np.flatnonzero(wrong).tolist()


def _range(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the denominator of lerobot's formula."""
    return np.where(high == low, np.float32(1e-8), high - low)


def stats_file(quantiles: Mapping[str, Sequence[NDArray[np.float32]]]) -> bytes:
    """Returns the state of a normalising step: a safetensors file of "<feature>.q01" and "<feature>.q99".

    Args:
        quantiles: (q01, q99) by name of the feature.
    """
    named = {
        f"{feature}.{name}": values
        for feature, both in quantiles.items()
        for name, values in zip(("q01", "q99"), both, strict=True)
    }
    ordered = dict(sorted(named.items()))
    listed = [TensorToWrite(name, values.shape, partial(np.asarray, values)) for name, values in ordered.items()]
    stream = io.BytesIO()
    write(stream, listed, "float32", {"format": "pt"})
    return stream.getvalue()
