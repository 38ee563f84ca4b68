"""What is measured of a trained run: in a world, on held-out actions, by questions. `fasttok-evaluate` and studies write these.

The fields are the keys of the JSON files. Imports no JAX.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fasttok.common.json_files import IF_NOT_DEFAULT, LEFT_OUT

Decoding = Literal["flow", "tokens"]
"""How a run acts: by continuous actions, which most recipes sample from a flow; or by the action tokens of its backbone."""
Share = Literal["success", "followed", "shortcut"]
"""What is counted of episodes, as a share of them."""
SHARES: tuple[Share, ...] = get_args(Share)
DRAWS = 4  # samples per chunk, whose mean is compared with what was demonstrated


@dataclass(frozen=True, kw_only=True)
class WorldResult:
    """Episodes of one embodiment on one split of an environment.

    Attributes:
        embodiment: who acted.
        split: of the environment.
        episodes: how many were played.
        success: share of episodes that fulfilled the instruction; None if none was played.
        followed: share that concerned the object that the instruction names; None if the environment does not tell.
        shortcut: share that took the shortcut that the environment offers; None if it does not tell.
        each: the same, one number (0 or 1) per episode in the order of the seeds, so that runs can be compared in pairs.
        task: kind of each episode's task; None if the environment does not tell.
        said: subtasks that the run said in each episode, in order; None if it says none.
        ms_per_prediction: wall time of one prediction, for all episodes that run side by side.
        batch: episodes that ran side by side; None where the reader knows (a study's runs).
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
    """Predicted chunks against demonstrated ones, for one embodiment. D is the number of its action's dimensions.

    Attributes:
        embodiment: whose actions.
        decode: how they were predicted.
        draws: samples per chunk; their mean is compared.
        rows: chunks that were compared.
        names: of the dimensions (D,).
        rmse: root of the mean squared error (D,), in raw units, over the steps of the chunks that are in the episode.
        mae: mean absolute error (D,), in raw units.
        spread: standard deviation of what was demonstrated (D,), which is the rmse of always predicting the mean.
        nrmse: root of the mean over dimensions of (rmse / spread)^2; 1 is always predicting the mean.
        ms_per_chunk: wall time per row and draw, the median over batches.
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
    """Exact match of answers to a VQA dataset's questions.

    Attributes:
        questions: how many were asked.
        accuracy: share of right answers.
        baseline: share that is right when the most common answer of each question's kind is always given.
        each: 1 for a right answer, 0 for another, in the order of the questions.
    """

    questions: int
    accuracy: float
    baseline: float
    each: tuple[int, ...]


def normalized_rmse(rmse: NDArray[np.floating[Any]], spread: NDArray[np.floating[Any]]) -> float:
    """Root of the mean over dimensions of (rmse / spread)^2; 1 is always predicting the mean.

    Args:
        rmse: (D,) of predictions.
        spread: (D,) standard deviation of what was demonstrated; dimensions that never move do not count.

    >>> normalized_rmse(np.array([1.0, 5.0]), np.array([2.0, 0.0]))
    0.5
    """
    moving = spread > 1e-9
    return float(np.sqrt(np.mean((rmse[moving] / spread[moving]) ** 2))) if moving.any() else 0.0
