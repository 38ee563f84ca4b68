"""Measurements of a trained run: in a world, on held-out actions, and on questions. Imports no JAX.

`fasttok-evaluate` and studies write them as JSON files, whose keys are the names of the fields.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fasttok.common.json_files import IF_NOT_DEFAULT, LEFT_OUT

Decoding = Literal["flow", "tokens"]
"""How a run acts: with continuous actions, which most recipes sample from a flow, or with the action tokens of its backbone."""
Share = Literal["success", "followed", "shortcut"]
"""What is counted in episodes and reported as a share of them."""
SHARES: tuple[Share, ...] = get_args(Share)
DRAWS = 4  # samples per chunk; their mean is compared with the demonstration


@dataclass(frozen=True, kw_only=True)
class WorldResult:
    """Results of one embodiment on one split of an environment.

    Attributes:
        embodiment: embodiment that acted.
        split: split of the environment.
        episodes: number of episodes that were played.
        success: share of episodes that fulfilled the instruction; None if none was played.
        followed: share of episodes in which the robot acted on the object that the instruction names; None if the environment
            does not say.
        shortcut: share of episodes in which the robot took the shortcut of the environment; None if the environment does not say.
        each: the same per episode, 0 or 1 in the order of the seeds, so that runs can be compared in pairs.
        task: kind of each episode's task; None if the environment does not say.
        said: subtasks that the run said in each episode, in order; None if it says none.
        ms_per_prediction: wall time in ms of one prediction, for all episodes that run side by side (`usual_ms`).
        batch: number of episodes that ran side by side; None if the reader knows it (runs of a study).
        delay: steps that passed while a chunk was computed.
    """

    embodiment: str
    split: str
    episodes: int
    success: float | None = field(default=None, metadata=LEFT_OUT)
    followed: float | None = field(default=None, metadata=LEFT_OUT)
    shortcut: float | None = field(default=None, metadata=LEFT_OUT)
    each: dict[Share, tuple[int, ...]]
    task: tuple[str, ...] | None = field(default=None, metadata=LEFT_OUT)
    said: tuple[tuple[str, ...], ...] | None = field(default=None, metadata=LEFT_OUT)
    ms_per_prediction: float
    batch: int | None = field(default=None, metadata=LEFT_OUT)
    delay: int = field(default=0, metadata=IF_NOT_DEFAULT)


@dataclass(frozen=True)
class ActionErrors:
    """Errors of predicted chunks against demonstrated ones, for one embodiment. D is the number of action dimensions.

    Attributes:
        embodiment: embodiment that acts.
        decode: how actions were predicted.
        draws: samples per chunk; their mean is compared.
        rows: number of chunks that were compared.
        names: names of the dimensions (D,).
        rmse: root of the mean squared error (D,), in raw units, over the steps of the chunks that are in the episode.
        mae: mean absolute error (D,), in raw units.
        spread: standard deviation of the demonstrated actions (D,); always predicting their mean would give this rmse.
        nrmse: root of the mean over dimensions of (rmse / spread)^2; always predicting the mean would give 1.
        ms_per_chunk: wall time in ms per chunk and draw, if as many chunks are predicted at once as fit in a batch (`usual_ms`).
    """

    embodiment: str
    decode: Decoding
    draws: int
    rows: int
    names: tuple[str, ...]
    rmse: tuple[float, ...]
    mae: tuple[float, ...]
    spread: tuple[float, ...]
    nrmse: float
    ms_per_chunk: float


@dataclass(frozen=True)
class VqaResult:
    """Exact-match accuracy of answers to a VQA dataset's questions.

    Attributes:
        questions: number of questions that were asked.
        accuracy: share of right answers.
        baseline: share of right answers if every question got the most common answer of its kind.
        each: 1 for a right answer, 0 for a wrong one, in the order of the questions.
    """

    questions: int
    accuracy: float
    baseline: float
    each: tuple[int, ...]


def normalized_rmse(rmse: NDArray[np.floating[Any]], spread: NDArray[np.floating[Any]]) -> float:
    """Returns the root of the mean over dimensions of (rmse / spread)^2; always predicting the mean gives 1.

    Args:
        rmse: (D,) errors of the predictions.
        spread: (D,) standard deviation of the demonstrated actions; dimensions that never move do not count.

    Returns:
        The error; NaN if no dimension moves, as then there is nothing to predict.

    >>> normalized_rmse(np.array([1.0, 5.0]), np.array([2.0, 0.0]))
    0.5
    """
    moving = spread > 1e-9
    return float(np.sqrt(np.mean((rmse[moving] / spread[moving]) ** 2))) if moving.any() else math.nan


def usual_ms(seconds: Sequence[float]) -> float:
    """Returns the median in ms of the wall times of predictions; 0 without any.

    The first one does not count if there are others, because a program is compiled in it.

    >>> usual_ms([13.0, 0.5, 0.25, 0.5]), usual_ms([2.0]), usual_ms([])
    (500.0, 2000.0, 0.0)
    """
    counted = seconds[1:] or seconds
    return 1000 * float(np.median(counted)) if counted else 0.0
