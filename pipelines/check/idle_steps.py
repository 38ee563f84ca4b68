"""Finds recordings in which many steps command no movement."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fasttok.common.percent import percent
from pipelines.check.action_meaning import DimMeaning
from pipelines.check.columns_by_name import StepColumn
from pipelines.check.dataset_findings import Curves, DatasetFinding
from pipelines.check.sampled import EpisodeSample

MUCH = 0.5  # share of idle steps from which on the finding is a warning
SOME = 0.2  # share of idle steps from which on there is a finding
TINY = 2e-3  # of a dim's usual range: a smaller change is no movement
OVER = 0.1  # seconds over which an absolute dim must change by that, so that a robot is not idle because it is sampled often


def check_idle(sample: EpisodeSample, meanings: Sequence[DimMeaning]) -> list[DatasetFinding]:
    """Checks how many steps command no movement.

    Args:
        sample: what was read.
        meanings: measured meaning of each action dim.
    """
    episodes = [episode for episode in sample.usual() if np.isfinite(episode.action).all()]
    if not episodes or not sample.columns.action:
        return []
    told = [
        c.meaning is not None or dim.meaning != "unknown"
        for c, dim in zip(sample.columns.action, meanings, strict=True)
    ]
    if not any(told):
        return []  # not known which steps are idle: a constant delta moves, a constant absolute action does not
    joined = np.concatenate([episode.action for episode in episodes])
    low, high = np.quantile(joined, [0.01, 0.99], axis=0)
    tiny = TINY * np.maximum(high - low, 1e-12)
    steady = np.array([_steady(column, dim) for column, dim in zip(sample.columns.action, meanings, strict=True)])
    window = max(1, round(OVER * (sample.hz or 1)))
    idle = [_idle(episode.action, steady, tiny, window) for episode in episodes]
    share = float(np.concatenate(idle).mean())
    if share < SOME:
        return []
    worst = int(np.argmax([mask.mean() for mask in idle]))
    episode, mask = episodes[worst], idle[worst]
    start, stop = _longest(mask)
    moving = int(np.argmax(np.abs(np.diff(episode.action, axis=0)).mean(axis=0) / (tiny + 1e-30)))
    here = percent(float(mask.mean()), 0)
    what = (
        f"{percent(share, 0)} of all steps command no movement; in this episode {here} do, the longest pause from step "
        f"{start + episode.dropped} to {stop + episode.dropped}"
    )
    todo = "leave idle steps out, so that a model does not learn to wait"
    entry = f"filters: {{idle_below: {_below(tiny / np.where(steady, window, 1), steady, high > low):.2g}, idle: ends}}"
    drawing = Curves(str(sample.columns.action[moving]), {"action": episode.action[:, moving]}, (start, stop))
    level = "warning" if share >= MUCH else "note"
    return [DatasetFinding("warning" if level == "warning" else "note", "idle", episode.at(start), what, todo, entry,
                           drawings=(drawing,))]  # fmt: skip


def _steady(column: StepColumn, dim: DimMeaning) -> bool:
    """Whether a dim rests while its value stays the same, and not while it is 0. Strong evidence decides, or else the entry."""
    if dim.strength != "strong" and column.meaning is not None:
        return column.meaning.encoding != "delta"
    return dim.meaning not in ("delta", "velocity")


def _below(each: NDArray[np.float64], steady: NDArray[np.bool_], moving: NDArray[np.bool_]) -> float:
    """Returns the filter `idle_below`: the smallest of what is tiny in one step, of the deltas that move, or else of all dims."""
    deltas = each[moving & ~steady]
    return float(deltas.min() if len(deltas) else each[moving].min(initial=each.max()))


def _idle(
    action: NDArray[np.float64], steady: NDArray[np.bool_], tiny: NDArray[np.float64], window: int
) -> NDArray[np.bool_]:
    """Returns (T,) bool: whether no dim moves in a step; a steady dim moves if it changes within `window` steps."""
    over = min(window, max(1, len(action) - 1))
    changed = np.abs(action[over:] - action[:-over])
    changed = np.concatenate([np.repeat(changed[:1], len(action) - len(changed), axis=0), changed])
    moves = np.where(steady, changed if len(changed) else np.zeros_like(action), np.abs(action))
    return np.asarray((moves <= tiny).all(axis=1))


def _longest(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Returns the first and the last step of the longest run of True.

    >>> _longest(np.array([True, False, True, True, False]))
    (2, 3)
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    if not len(edges):
        return 0, 0
    runs = edges.reshape(-1, 2)
    start, stop = runs[int(np.argmax(runs[:, 1] - runs[:, 0]))]
    return int(start), int(stop) - 1
