"""The actions and states of an episode as (T, D) numbers, or what is wrong with them and where."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes import BadEpisodeError, BadRecord, Episode, episode_of
from fasttok.errors import InputError

PROPRIO = "proprio"  # what readers call the state if they know which feature it is
SKIP = "; repair the episode, or leave such episodes out and have them counted: --skip-bad"


def action_of(episode: Episode, key: str) -> NDArray[np.float32]:
    """The action column as (T, D) float32.

    Raises:
        InputError: there is none, it is not a row of numbers per step, or it holds NaN or inf (with step and dim).

    >>> action_of(Episode({"action": np.zeros((4, 2))}), "action").shape
    (4, 2)
    """
    return _column(episode, key, "action-key")


def state_of(episode: Episode, key: str) -> NDArray[np.float32] | None:
    """The state column as (T, S) float32; None if no key was asked for and there is no `proprio`.

    Args:
        episode: to read.
        key: step feature that holds the state, "" for `proprio`.

    Raises:
        InputError: as `action_of`.

    >>> state_of(Episode({"action": np.zeros((4, 2))}), "") is None
    True
    """
    if not key and PROPRIO not in episode.steps:
        return None
    return _column(episode, key or PROPRIO, "state-key")


def _column(episode: Episode, key: str, flag: str) -> NDArray[np.float32]:
    name = episode_of(episode)
    if key not in episode.steps:
        known = ", ".join(sorted(episode.steps))
        detail = f"{name} has no step feature {key!r}; there are {known}"
        raise BadEpisodeError(BadRecord(episode.where, "features", detail), f" (--{flag})")
    if isinstance(episode.steps[key], list):
        raise InputError(f"{episode.where}: {key!r} holds bytes, expected numbers; choose another --{flag}")
    values, matrix = _matrix(episode.steps[key], key, episode, flag)
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        step, dim = bad[0]
        value = values.reshape(matrix.shape)[step, dim]
        also = f" ({len(bad)} such values in {len(np.unique(bad[:, 0]))} steps)" if len(bad) > 1 else ""
        beyond = ", beyond float32" if np.isfinite(value) else ""
        detail = f"{name}, step {step}, dim {dim}: {key} is {value:g}{beyond}{also}, expected a finite number"
        raise BadEpisodeError(BadRecord(episode.where, "not finite", detail), SKIP)
    return matrix


def _matrix(
    values: NDArray[Any] | list[Any], key: str, episode: Episode, flag: str
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """A step column as stored and as (T, D); one of more axes is refused, for nothing says that its numbers are one row's."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"{episode.where}: {key} has steps of different shapes, expected D numbers per step") from None
    if array.dtype.kind not in "fiub":
        first = array.reshape(-1)[0] if array.size else None
        raise InputError(
            f"{episode.where}: {key} holds {type(first).__name__} values (such as {str(first)[:40]!r}), expected D numbers per "
            f"step; write them as a list of numbers, or choose another --{flag}"
        )
    if array.ndim not in (1, 2) or not array.shape[-1]:
        raise InputError(
            f"{episode.where}: {key} has shape {array.shape}, expected (T, D): D numbers for each of the T steps. Several "
            "episodes in one array belong into separate records; nested dims must be flattened when the data is written"
        )
    with np.errstate(over="ignore"):  # becomes inf, which is refused
        return array, np.asarray(array, np.float32).reshape(len(array), -1)
