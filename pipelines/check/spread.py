"""Which of many are looked at: evenly spread ones, the first and the last among them."""

import numpy as np


def spread(count: int, most: int) -> list[int]:
    """At most so many numbers below `count`, evenly spread.

    >>> spread(10, 4), spread(2, 4)
    ([0, 3, 6, 9], [0, 1])
    """
    if not count:
        return []
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))
