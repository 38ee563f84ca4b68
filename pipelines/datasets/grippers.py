"""Converts gripper columns to one convention: 1 = open, 0 = closed."""

import numpy as np
from numpy.typing import NDArray

NOTHING = 0.1  # relative commands (1 opens, -1 closes) up to this size change nothing


def opening(values: NDArray[np.float32], closed: float, open_: float, relative: bool = False) -> NDArray[np.float32]:
    """Returns how far a gripper is open, (T, k) float32 in [0, 1].

    Args:
        values: (T, k) as stored.
        closed: stored value that means closed; values beyond it are clipped.
        open_: stored value that means open; between the two the opening is linear.
        relative: whether values are commands. A value near 0 then changes nothing: the last command stays. Before the first
            command the gripper is in the state that this command changes; it is open if there is no command.

    >>> opening(np.array([[-1.0], [0.0], [3.0]], np.float32), 1, -1).ravel()
    array([1. , 0.5, 0. ], dtype=float32)
    >>> opening(np.array([[0.0], [1.0], [0.0], [-1.0], [0.0]], np.float32), 1, -1, relative=True).ravel()
    array([1., 0., 0., 1., 1.], dtype=float32)
    """
    if relative:
        return _commanded(values * np.float32(2 / (open_ - closed)) - np.float32((open_ + closed) / (open_ - closed)))
    share = (values - np.float32(closed)) / np.float32(open_ - closed)
    opened: NDArray[np.float32] = np.clip(share, 0, 1).astype(np.float32)
    return opened


def _commanded(command: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the states (1 = open) that commands lead to, of which 1 opens and -1 closes."""
    given = np.abs(command) > NOTHING
    steps = np.arange(len(command))[:, None]
    last = np.maximum.accumulate(np.where(given, steps, -1), axis=0)
    opens = (command > 0).astype(np.float32)
    state = np.take_along_axis(opens, np.maximum(last, 0), axis=0)
    first = np.where(given.any(axis=0), 1 - np.take_along_axis(opens, given.argmax(axis=0)[None], axis=0)[0], 1)
    return np.where(last >= 0, state, first.astype(np.float32)).astype(np.float32)
