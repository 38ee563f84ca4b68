"""Finds where the clock of an episode begins: the time stamps of its steps may not begin at 0, as those of its video do."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def clock_start(steps: Mapping[str, object], times: NDArray[np.float64], fps: float | None) -> float:
    """Returns the seconds that time stamps show at the episode's beginning: 0, unless the clock runs on between episodes.

    The clock runs on if the first step has frame_index 0, and its time is that of its `index` in the dataset, or is later than
    the episode is long.

    Args:
        steps: columns of the episode.
        times: (T,) time stamps in seconds.
        fps: steps per second, None if that is not recorded.

    >>> clock_start({"frame_index": np.array([0, 1]), "index": np.array([40, 41])}, np.array([4.0, 4.1]), 10)
    4.0
    >>> clock_start({"frame_index": np.array([5, 6])}, np.array([0.5, 0.6]), 10)
    0.0
    """
    frames, rows = (steps.get(name) for name in ("frame_index", "index"))
    if not len(times) or not np.isfinite(times).all() or not times[0] > 0:
        return 0.0
    if not isinstance(frames, np.ndarray) or not frames.size or frames.ravel()[0] != 0:
        return 0.0
    first = float(times[0])
    rate = fps or usual_rate(times)
    row = float(rows.ravel()[0]) if isinstance(rows, np.ndarray) and rows.size else 0.0
    if rate and ((row > 0 and abs(first * rate - row) < 0.5) or first * rate > len(times) + 1):
        return first
    return 0.0


def usual_rate(times: NDArray[np.float64]) -> float | None:
    """Returns the usual number of steps per second, None if the times do not rise.

    >>> usual_rate(np.array([0.0, 0.05, 0.1]))
    20.0
    """
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return round(1 / usual, 3) if np.isfinite(usual) and usual > 0 else None
