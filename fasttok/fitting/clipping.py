"""Counts the values of each dim that `--clip` cuts off, in everything that was read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.embodiment_actions import SUBSETS, EmbodimentActions
from fasttok.actions.normalize import NormStats
from fasttok.errors import InputError

RANGED = ("quantile", "min_max")  # the statistics that have bounds to clip to


@dataclass(frozen=True, eq=False)
class Clipped:
    """Values of one embodiment that are outside its bounds, in all of its episodes, whether held out or not.

    Attributes:
        values: (D,) number of values outside, for each dim.
        total: number of values that each dim has.
        unit: what is counted: steps, or values of chunks if the chunks are relative or in another form than stored.
    """

    values: NDArray[np.int64]
    total: int
    unit: str

    def text(self) -> str:
        """Says in words what was cut.

        >>> Clipped(np.array([0, 3]), 4000, "steps").text()
        'clipped 3 values: dim 1: 3 (0.075 %) of 4,000 steps'
        """
        cut = [f"dim {d}: {n:,} ({100 * n / self.total:.2g} %)" for d, n in enumerate(self.values.tolist()) if n]
        which = f": {', '.join(cut)} of {self.total:,} {self.unit}" if cut else ""
        return f"clipped {int(self.values.sum()):,} values{which}"


def check_mode(mode: str) -> None:
    """Checks that statistics have bounds to clip to.

    Raises:
        InputError: they have none.
    """
    if mode not in ("quantile", "min_max"):
        raise InputError(f"--clip needs bounds, which --normalize {mode} does not have; use --normalize quantile")


def clipped(group: EmbodimentActions, stats: NormStats) -> Clipped:
    """Counts the values of a group outside the bounds that its statistics use."""
    low, high = stats.bounds
    ranged = np.isin(np.array(stats.normalized_by, object), RANGED)
    counts, total = np.zeros(stats.dim, np.int64), 0
    plain = group.represent is None and not group.embodiment.relative
    for subset in SUBSETS:
        rows = group.actions[subset].rows
        if not rows:
            continue
        parts = iter(group.actions[subset]) if plain else (chunk.values for chunk in group.located(subset, rows))
        for part in parts:
            values = part.reshape(-1, stats.dim).astype(np.float64)
            counts += (((values < low) | (values > high)) & ranged).sum(0)
            total += len(values)
    return Clipped(counts, total, "steps" if plain else "values of chunks")
