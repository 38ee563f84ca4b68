"""Chooses some items of many: evenly spread ones, including the first and the last."""

import numpy as np


def spread(count: int, most: int) -> list[int]:
    """Returns at most `most` numbers below `count`, evenly spread.

    >>> spread(10, 4), spread(2, 4)
    ([0, 3, 6, 9], [0, 1])
    """
    if not count:
        return []
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))
