"""Draws histograms as a line of text."""

import numpy as np
from numpy.typing import NDArray

BARS = "▁▂▃▄▅▆▇█"
BINS = 16


def spark(counts: NDArray[np.int64]) -> str:
    """Draws counts as a line of blocks, one block for two bins.

    >>> spark(np.array([0, 0, 1, 1, 8, 8]))
    '▁▂█'
    """
    pairs = np.add.reduceat(counts, np.arange(0, len(counts), 2))
    return "".join(BARS[int(np.ceil(c / max(pairs.max(), 1) * (len(BARS) - 1)))] for c in pairs)


def text_histogram(values: NDArray[np.int64]) -> str:
    """Draws a histogram as a line of blocks, with equal bins from the smallest to the largest value.

    >>> text_histogram(np.array([1, 1, 1, 1, 2, 9]))
    '1 █▁▃▁▁▁▁▁▁▁▁▁▁▁▁▃ 9'
    """
    counts, _ = np.histogram(values, BINS)
    top = len(BARS) - 1
    blocks = "".join(BARS[int(np.ceil(c / counts.max() * top)) if c else 0] for c in counts)
    return f"{int(values.min())} {blocks} {int(values.max())}"
