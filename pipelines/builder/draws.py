"""Decides which frames of a source a build takes, and how often.

With F frames and a quota of n, every frame is taken n // F times. The n mod F frames with the smallest Philox bits are taken once
more, so only a threshold on these bits is stored. Everything is computed in blocks, so memory does not grow with F.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.common.random_bits import words

BLOCK = 1 << 22  # frames that are computed at once: 32 MB of bits
BINS = 1 << 16


@dataclass(frozen=True)
class Draws:
    """How often each frame of a source is taken.

    Attributes:
        key: name of the Philox stream.
        passes: how often every frame is taken.
        threshold: frames whose bits are below this are taken once more.
        tie: frames up to this one whose bits equal the threshold are taken once more, too; -1 for none.
    """

    key: str
    passes: int
    threshold: int
    tie: int

    def takes(self, first: int, frames: int) -> NDArray[np.int64]:
        """Returns how often each of the frames first .. first + frames - 1 of the source is taken, (frames,) int64."""
        bits = words(self.key, first, first + frames)
        threshold = np.uint64(self.threshold)
        tied = (bits == threshold) & (np.arange(first, first + frames) <= self.tie)
        more: NDArray[np.int64] = ((bits < threshold) | tied).astype(np.int64)
        return self.passes + more


def draw(key: str, frames: int, quota: int) -> Draws:
    """Returns the draws of exactly `quota` samples from `frames` > 0 frames, by two passes over the bits.

    >>> d = draw("k", 10, 23)
    >>> int(d.takes(0, 10).sum()), sorted(set(d.takes(0, 10).tolist()))
    (23, [2, 3])
    """
    passes, chosen = divmod(quota, frames)
    if not chosen:
        return Draws(key, passes, 0, -1)
    counts = np.zeros(BINS, np.int64)
    for _, bits in _blocks(key, frames):
        counts += np.bincount((bits >> np.uint64(48)).astype(np.int64), minlength=BINS)
    ends = np.cumsum(counts)
    bin_ = int(np.searchsorted(ends, chosen))  # the bin of the largest bits that are chosen
    before = int(ends[bin_] - counts[bin_])
    found = []
    for first, bits in _blocks(key, frames):
        inside = np.flatnonzero((bits >> np.uint64(48)) == bin_)
        found.append((bits[inside], inside + first))
    bits = np.concatenate([part for part, _ in found])
    place = np.concatenate([part for _, part in found])
    order = np.lexsort((place, bits))
    last = order[chosen - before - 1]
    return Draws(key, passes, int(bits[last]), int(place[last]))


def group_takes(draws: Draws, frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the number of rows of each group, (groups,) int64.

    `frames` has the number of frames of each group. The groups are consecutive and contain all frames of the source.
    """
    ends = np.cumsum(frames)
    rows = np.empty(len(frames), np.int64)
    start = 0
    while start < len(frames):
        base = int(ends[start] - frames[start])
        stop = max(int(np.searchsorted(ends, base + BLOCK, side="right")), start + 1)
        takes = draws.takes(base, int(ends[stop - 1]) - base)
        rows[start:stop] = np.add.reduceat(takes, (ends[start:stop] - frames[start:stop]) - base)
        start = stop
    return rows


def _blocks(key: str, frames: int) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    for first in range(0, frames, BLOCK):
        yield first, words(key, first, min(first + BLOCK, frames))
