"""Cuts episodes into action chunks: the next `horizon` actions from a step, padded in raw units past the episode's end.

Padding repeats the last value in absolute and gripper dimensions and is 0 in delta dimensions: "stay where you are". (Padding
everything with zeros would double the FAST tokens of such chunks.) `action_steps` says how many steps are real.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.kinds import ENCODINGS
from fasttok.errors import InputError

MOST_STEPS = 1_000_000  # largest number of steps in a chunk; more is a slip of the pen


def horizon_steps(seconds: float, control_hz: float) -> int:
    """Returns the number of steps in a chunk of `seconds`: at least 1, rounded half to even.

    Raises:
        InputError: the chunk has more than `MOST_STEPS`.

    >>> horizon_steps(1.0, 5), horizon_steps(0.5, 15), horizon_steps(0.01, 5)
    (5, 8, 1)
    """
    if not seconds * control_hz <= MOST_STEPS:
        raise InputError(
            f"a chunk of {seconds:g} s at {control_hz:g} Hz has more than {MOST_STEPS} steps; give it fewer seconds, or correct "
            "the control frequency"
        )
    return max(1, round(seconds * control_hz))


def chunk_at(actions: NDArray[Any], step: int, horizon: int, encoding: Sequence[str]) -> tuple[NDArray[Any], int]:
    """Returns the chunk that starts at `step`.

    Args:
        actions: (T, D) raw units.
        step: the chunk's first step.
        horizon: steps per chunk.
        encoding: "absolute", "delta" or "gripper" for each of the D dims.

    Returns:
        (chunk (horizon, D), action_steps: how many of its steps are inside the episode).

    >>> chunk_at(np.array([[1.0, 7.0], [2.0, 8.0]]), 1, 3, ["delta", "absolute"])
    (array([[2., 8.],
           [0., 8.],
           [0., 8.]]), 1)
    """
    real = actions[step : step + horizon]
    if not len(real):
        raise InputError(f"chunk_at: step {step} is outside an episode of {len(actions)} steps")
    padding = np.where(_is_delta(encoding, actions.shape[1]), 0, real[-1]).astype(actions.dtype)
    return np.concatenate([real, np.broadcast_to(padding, (horizon - len(real), len(padding)))]), len(real)


def run_ends(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns, for each of the rising step numbers, the index just after its run of consecutive numbers.

    >>> run_ends(np.array([1, 2, 6, 7, 8]))
    array([2, 2, 5, 5, 5])
    """
    ends = np.append(np.flatnonzero(np.diff(numbers) != 1) + 1, len(numbers)).astype(np.int64)
    return ends[np.searchsorted(ends, np.arange(len(numbers)), side="right")]


def chunks_at(
    actions: NDArray[Any],
    steps: NDArray[np.int64],
    horizon: int,
    encoding: Sequence[str],
    ends: NDArray[np.int64] | None = None,
) -> NDArray[Any]:
    """Returns the chunks that start at the given steps: (T, D) -> (n, horizon, D).

    Args:
        actions: (T, D) raw units.
        steps: (n,) the chunks' first steps.
        horizon: steps per chunk.
        encoding: "absolute", "delta" or "gripper" for each of the D dims.
        ends: (T,) for each step, where a chunk that starts there ends and its padding begins; None for the episode's end.

    >>> chunks_at(np.arange(3.0)[:, None], np.array([2]), 2, ["delta"])[0, :, 0]
    array([2., 0.])
    """
    if actions.ndim != 2 or not len(actions):
        raise InputError(f"chunks_at: actions have shape {actions.shape}, expected (steps, dims) with steps >= 1")
    delta = _is_delta(encoding, actions.shape[1])
    if ends is not None:
        places, last = steps[:, None] + np.arange(horizon), ends[steps][:, None] - 1
        chunks: NDArray[Any] = actions[np.minimum(places, last)]
        chunks[(places > last)[:, :, None] & delta] = 0
        return chunks
    padding = np.where(delta, 0, actions[-1]).astype(actions.dtype)
    padded = np.concatenate([actions, np.broadcast_to(padding, (horizon - 1, len(padding)))])
    windows = np.lib.stride_tricks.sliding_window_view(padded, horizon, axis=0)
    return np.ascontiguousarray(windows[steps].transpose(0, 2, 1))


def episode_chunks(actions: NDArray[Any], horizon: int, encoding: Sequence[str], stride: int = 1) -> NDArray[Any]:
    """Returns all chunks of an episode, one from every `stride`-th step: (T, D) -> (n, horizon, D).

    >>> episode_chunks(np.arange(3.0)[:, None], 2, ["absolute"])[:, :, 0]
    array([[0., 1.],
           [1., 2.],
           [2., 2.]])
    """
    return chunks_at(actions, np.arange(0, len(actions), stride), horizon, encoding)


def stacks(chunks: Iterable[NDArray[Any]], most: int) -> Iterator[NDArray[Any]]:
    """Stacks neighbouring chunks of equal shape to (n, T, D) arrays of at most `most` chunks.

    >>> [stack.shape for stack in stacks([np.zeros((2, 1)), np.zeros((2, 1)), np.zeros((3, 1))], 10)]
    [(2, 2, 1), (1, 3, 1)]
    """
    waiting: list[NDArray[Any]] = []
    for chunk in chunks:
        if waiting and (chunk.shape != waiting[0].shape or len(waiting) == most):
            yield np.stack(waiting)
            waiting = []
        waiting.append(chunk)
    if waiting:
        yield np.stack(waiting)


def _is_delta(encoding: Sequence[str], dim: int) -> NDArray[np.bool_]:
    if len(encoding) != dim:
        raise InputError(f"action encoding has {len(encoding)} entries, the actions have {dim} dims")
    unknown = sorted(set(encoding) - set(ENCODINGS))
    if unknown:
        raise InputError(f"action encoding {unknown[0]!r} is not one of {', '.join(ENCODINGS)}")
    return np.array([e == "delta" for e in encoding])
