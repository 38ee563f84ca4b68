"""Chooses some of many items, evenly spread."""

import numpy as np
from numpy.typing import NDArray


def evenly(total: int, most: int) -> NDArray[np.int64]:
    """Returns at most `most` of the numbers 0 .. `total` - 1, ascending and evenly spread from the first to the last.

    >>> evenly(10, 4), evenly(2, 4)
    (array([0, 3, 6, 9]), array([0, 1]))
    """
    return np.unique(np.linspace(0, total - 1, min(most, total)).astype(np.int64))
