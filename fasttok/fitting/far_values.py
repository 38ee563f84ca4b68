"""Finds values far from what is usual for their dim: glitches and sentinels, which take most of a vocabulary or all of a range.

Values between the 1st and the 99th percentile are usual. A step that is `FAR` half ranges away is named by file, episode, step
and dim, whether a fit has codes for it or not.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.dim_ranges import CONSTANT, FAR, middle
from fasttok.actions.embodiment_actions import EmbodimentActions, LocatedChunks, Subset
from fasttok.actions.normalize import NormStats

SHOWN = 3


@dataclass
class FarValues:
    """The far values of one dim.

    Attributes:
        dim: the dim.
        low: 1st percentile.
        high: 99th percentile.
        value: the farthest value.
        place: file, episode and step of the farthest value.
        ends: (episode, step) of each far value.
        starts: (episode, step) of the first step of each chunk that has a far value.
    """

    dim: int
    low: float
    high: float
    value: float = 0.0
    place: str = ""
    ends: set[tuple[str, int]] = field(default_factory=set)
    starts: set[tuple[str, int]] = field(default_factory=set)

    @property
    def steps(self) -> int:
        """Number of wrong steps, whether actions or states are wrong.

        A wrong action is in several chunks, and counts once in `ends`. A wrong state makes all actions of one chunk wrong, and
        counts once in `starts`.
        """
        return min(len(self.ends), len(self.starts))

    @property
    def distance(self) -> float:
        """Distance of the farthest value from the middle, in half ranges."""
        half = self.high / 2 - self.low / 2
        return abs(self.value - (self.low / 2 + self.high / 2)) / half if half else float("inf")

    def text(self, what: str) -> str:
        """Says in words what is far; `what` names the values.

        >>> far = FarValues(2, -0.5, 0.5, 100.0, "a.npz: episode 3, step 10", {("3", 10)}, {("3", 10)})
        >>> far.text("action")
        'a.npz: episode 3, step 10, dim 2: action is 100, but 98 % of the values of this dim are in -0.5..0.5 (1 such step)'
        """
        usual = f"in {self.low:.4g}..{self.high:.4g}" if self.low < self.high else f"{self.low:.4g}"
        many = f"{self.steps:,} such step{'s' * (self.steps > 1)}"
        return f"{self.place}, dim {self.dim}: {what} is {self.value:g}, but 98 % of the values of this dim are {usual} ({many})"


def far_actions(
    group: EmbodimentActions, stats: NormStats, subset: Subset, most: int, halves: float = FAR
) -> list[FarValues]:
    """Returns the far values in what is tokenised of a group, the farthest dim first.

    Args:
        group: the actions.
        stats: their statistics, which say what is usual.
        subset: which of them to look at.
        most: number of chunks to look at.
        halves: a value is far if it is more than this many half ranges from the middle.
    """
    return _far(group.located(subset, most), stats, halves)


def seen_far(stats: NormStats, halves: float = FAR) -> bool:
    """Whether there may be far values among those of the statistics; if not, there is no need to look for them."""
    centre, _, limit = _limits(stats, halves)
    return bool((np.maximum(stats.max - centre, centre - stats.min) > limit).any())


def far_states(group: EmbodimentActions, stats: NormStats) -> list[FarValues]:
    """Returns the far values in a group's states."""
    episodes = zip(group.proprio_places, group.proprio, strict=True)
    steps = ((name, x, np.arange(len(x))) for name, x in episodes)
    return _far((LocatedChunks(name, t, t + 1, x[:, None]) for name, x, t in steps), stats)


def _far(chunks: Iterable[LocatedChunks], stats: NormStats, halves: float = FAR) -> list[FarValues]:
    centre, still, limit = _limits(stats, halves)
    found = [FarValues(d, low, high) for d, (low, high) in enumerate(zip(stats.q01, stats.q99, strict=True))]
    for chunk in chunks:
        distances = np.abs(chunk.values - centre)
        for b, t, d in np.argwhere(distances > limit).tolist():
            far, begin = found[d], int(chunk.steps[b])
            step = min(begin + t, int(chunk.stops[b]) - 1)  # padding repeats the last step
            if not far.place or distances[b, t, d] > abs(far.value - centre[d]):
                far.value, far.place = float(chunk.values[b, t, d]), f"{chunk.name}, step {step}"
            far.ends.add((chunk.name, step))
            far.starts.add((chunk.name, begin))
    seen = [far for far in found if far.place and (not still[far.dim] or far.steps == 1)]
    return sorted(seen, key=lambda far: -far.distance)


def _limits(stats: NormStats, halves: float) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Returns (D,) each: the middle of a dim, whether it rests between its quantiles, and the distance from which a value is far.

    A dim that rests except for one step is shown, too; a dim that moves seldom is not an error.
    """
    centre, half = middle(stats.q01, stats.q99)
    rounding = CONSTANT * np.maximum(1.0, np.abs(centre))
    still: NDArray[np.bool_] = half <= rounding
    return centre, still, np.where(still, rounding, halves * half)
