"""Compares predicted with recorded actions: errors per column, along the episode and along a chunk, and times of grippers."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.rotations import nearest, width
from pipelines.stored_episode import StoredEpisode
from train.judging.measurements import normalized_rmse
from train.replay.predicted import Predicted

SOON = 1.0  # seconds by which a predicted opening or closing may differ from the recorded one that it is matched with
SOON_STEPS = 10  # the same in steps, if the control frequency is not known


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors of all predicted steps that are in the episode. D columns, T steps, H steps of a chunk.

    Attributes:
        rmse: (D,) root mean square error in raw units.
        mae: (D,) mean absolute error in raw units.
        bias: (D,) mean of predicted minus recorded, in raw units.
        spread: (D,) standard deviation of the recorded actions; always predicting their mean would give this rmse.
        total: root of the mean of (rmse / spread)^2 over the columns that move. Always predicting the mean would give 1; NaN if
            no column moves.
        along_episode: (T,) the same for each step; NaN if nothing was predicted for the step.
        along_chunk: (H,) the same for each place in the chunk.
    """

    rmse: NDArray[np.float64]
    mae: NDArray[np.float64]
    bias: NDArray[np.float64]
    spread: NDArray[np.float64]
    total: float
    along_episode: NDArray[np.float64]
    along_chunk: NDArray[np.float64]


@dataclass(frozen=True)
class GripperEvent:
    """A gripper that opens or closes.

    Attributes:
        opens: True if it opens, False if it closes.
        recorded: step at which this was recorded; None if it was not.
        predicted: step at which this was predicted; None if it was not.
    """

    opens: bool
    recorded: int | None
    predicted: int | None


@dataclass(frozen=True)
class GripperTrace:
    """What one gripper does along the episode.

    Attributes:
        name: name of its column.
        agrees: share of the steps at which the gripper is open or closed as recorded, in the chunk that would be executed.
        events: events in order of time.
    """

    name: str
    agrees: float
    events: tuple[GripperEvent, ...]


def written_alike(episode: StoredEpisode, predicted: Predicted) -> tuple[StoredEpisode, Predicted]:
    """Returns both with rotations in the numbers that are nearest to each other, so that a whole turn is no error.

    The recorded ones follow the steps before them; each predicted one is written like the recorded one of its step.
    """
    action, chunks = episode.action.astype(np.float64), predicted.chunks.copy()
    at = np.minimum(predicted.steps[:, None] + np.arange(chunks.shape[1]), len(action) - 1)
    for start, form in episode.rotations:
        columns = slice(start, start + width(form))
        for step in range(1, len(action)):
            action[step, columns] = nearest(action[step, columns], action[step - 1, columns], form)
        chunks[..., columns] = nearest(chunks[..., columns], action[at][..., columns], form)
    return replace(episode, action=action.astype(np.float32)), replace(predicted, chunks=chunks)


def errors(episode: StoredEpisode, predicted: Predicted) -> Errors:
    """Returns the errors of the predictions."""
    recorded = episode.action.astype(np.float64)
    length, horizon = len(recorded), predicted.chunks.shape[1]
    at = predicted.steps[:, None] + np.arange(horizon)
    inside = at < length
    wrong = predicted.chunks[inside] - recorded[at[inside]]
    spread = recorded.std(0)
    rmse = np.sqrt((wrong**2).mean(0))
    moving = spread > 1e-9
    relative = (wrong[:, moving] / spread[moving]) ** 2 if moving.any() else np.full((len(wrong), 1), np.nan)
    each = relative.mean(1)
    places = np.broadcast_to(np.arange(horizon), at.shape)[inside]
    return Errors(
        rmse,
        np.abs(wrong).mean(0),
        wrong.mean(0),
        spread,
        normalized_rmse(rmse, spread),
        _root_mean(each, at[inside], length),
        _root_mean(each, places, horizon),
    )


def executed(predicted: Predicted, length: int, every: int) -> NDArray[np.float64]:
    """Returns the actions (T, D) of executing each chunk until the next one; NaN at steps without any."""
    out = np.full((length, predicted.chunks.shape[2]), np.nan)
    for step, chunk in zip(predicted.steps.tolist(), predicted.chunks, strict=True):
        part = chunk[: min(every, length - step)]
        out[step : step + len(part)] = part
    return out


def grippers(episode: StoredEpisode, predicted: Predicted, every: int) -> list[GripperTrace]:
    """Returns what each gripper of the action does; 1 is open, as `index` standardises it."""
    done = executed(predicted, len(episode.action), every)
    soon = SOON_STEPS if not episode.control_hz else max(1, round(SOON * episode.control_hz))
    traces = []
    for column, encoding in enumerate(episode.action_encoding):
        if encoding == "gripper":
            recorded, would = episode.action[:, column] > 0.5, done[:, column] > 0.5
            there = np.isfinite(done[:, column])
            agrees = float((recorded == would)[there].mean())
            events = matched(changes(recorded), changes(would), soon)
            traces.append(GripperTrace(episode.action_names[column], agrees, tuple(events)))
    return traces


def changes(is_open: NDArray[np.bool_]) -> list[tuple[int, bool]]:
    """Returns for each change its step, and whether the gripper opens.

    >>> changes(np.array([True, True, False, True]))
    [(2, False), (3, True)]
    """
    return [(int(i) + 1, bool(is_open[i + 1])) for i in np.flatnonzero(is_open[1:] != is_open[:-1])]


def matched(recorded: list[tuple[int, bool]], predicted: list[tuple[int, bool]], soon: int) -> list[GripperEvent]:
    """Matches recorded changes with the nearest predicted ones of the same kind, each once; unmatched ones stay alone.

    >>> matched([(5, False)], [(7, False), (9, True)], soon=4)
    [GripperEvent(opens=False, recorded=5, predicted=7), GripperEvent(opens=True, recorded=None, predicted=9)]
    """
    pairs = sorted(
        (abs(step - other), i, j)
        for i, (step, opens) in enumerate(recorded)
        for j, (other, others) in enumerate(predicted)
        if opens == others and abs(step - other) <= soon
    )
    mine: dict[int, int] = {}
    for _, i, j in pairs:
        if i not in mine and j not in mine.values():
            mine[i] = j
    found = [
        GripperEvent(opens, step, predicted[mine[i]][0] if i in mine else None)
        for i, (step, opens) in enumerate(recorded)
    ]
    found += [GripperEvent(opens, None, step) for j, (step, opens) in enumerate(predicted) if j not in mine.values()]
    return sorted(found, key=lambda event: event.recorded if event.recorded is not None else event.predicted or 0)


def _root_mean(squares: NDArray[np.float64], places: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Returns the root of the mean of the squares at each place; NaN at places without any."""
    sums, counts = np.bincount(places, squares, count), np.bincount(places, minlength=count)
    means = np.full(count, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    out: NDArray[np.float64] = np.sqrt(means)
    return out
