"""Reads an episode's actions and states as (T, D) numbers, or says what is wrong with them and where."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.embodiment import Embodiment
from fasttok.episodes import BadEpisodeError, BadRecord, Episode, episode_of
from fasttok.errors import InputError

PROPRIO = "proprio"  # name that readers give the state if they know which feature it is
FIRST_STEP = ("state", "observation.state", "reference")  # names of the state at the first step in files of chunks
SKIP = "; repair the episode, or leave such episodes out and have them counted: --skip-bad"


def action_of(episode: Episode, key: str | tuple[str, ...]) -> NDArray[np.float32]:
    """Returns the action column as (T, D) float32, or several columns joined.

    Raises:
        InputError: a column is missing, is not a row of numbers per step, or contains NaN or inf (with step and dim).

    >>> action_of(Episode({"action": np.zeros((4, 2))}), "action").shape
    (4, 2)
    >>> action_of(Episode({"arm": np.zeros((4, 6)), "gripper": np.zeros(4)}), ("arm", "gripper")).shape
    (4, 7)
    """
    keys = (key,) if isinstance(key, str) else key
    columns = [_column(episode, name, "action-key") for name in keys]
    if len({len(column) for column in columns}) > 1:
        rows = ", ".join(f"{name} has {len(column)}" for name, column in zip(keys, columns, strict=True))
        detail = f"{episode_of(episode)}: columns of different lengths cannot be one action: {rows} rows"
        raise BadEpisodeError(BadRecord(episode.where, "frames", detail), SKIP)
    return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)


@dataclass(frozen=True, eq=False)
class EpisodeState:
    """The state of an episode.

    Attributes:
        values: (T, S) states, or (1, S) if there is only the state of the first step.
        first_only: whether there is only the state of the first step.
        is_reference: whether there is one value for each dim of the action, as in `reference=` of `encode`.
    """

    values: NDArray[np.float32]
    first_only: bool = False
    is_reference: bool = False


def state_of(
    episode: Episode, key: str, required: bool = False, known: Embodiment | None = None
) -> EpisodeState | None:
    """Returns the state column; None if it is not required, `key` is "" and there is no `proprio`.

    In files of chunks, each chunk is an episode. They may have only the state at the first step of each chunk, (n, S).

    Args:
        episode: to read.
        key: step feature that contains the state, "" for `proprio`.
        required: whether it must be there.
        known: the embodiment whose relative dims need it.

    Raises:
        InputError: as `action_of`.

    >>> state_of(Episode({"action": np.zeros((4, 2))}), "") is None
    True
    """
    required = required or (known is not None and bool(known.relative))
    if not required and not key and PROPRIO not in episode.steps:
        return None
    firsts = episode.metadata.get("first_step") or {}
    wanted = key or PROPRIO
    several = known is not None and max(known.state_columns, default=0) > 0
    whole = wanted in episode.steps and (np.ndim(episode.steps[wanted]) > 1 or not several)
    if required and firsts and not whole:
        for name in (wanted,) if known is None else (wanted, *FIRST_STEP):
            if name in firsts:
                one = replace(episode, steps={name: np.asarray(firsts[name])[None]})
                values = _column(one, name, "state-key")
                direct = name == "reference" and known is not None and values.shape[1] == known.action_dim
                return EpisodeState(values, True, direct)
    return EpisodeState(_column(episode, wanted, "state-key"))


def _column(episode: Episode, key: str, flag: str) -> NDArray[np.float32]:
    name = episode_of(episode)
    if key not in episode.steps:
        known = ", ".join(sorted(episode.steps))
        detail = f"{name} has no step feature {key!r}; there are {known}"
        raise BadEpisodeError(BadRecord(episode.where, "features", detail), f" (--{flag})")
    if isinstance(episode.steps[key], list):
        raise InputError(f"{episode.where}: {key!r} contains bytes, expected numbers; choose another --{flag}")
    values, matrix = _matrix(episode.steps[key], key, episode, flag)
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        step, dim = bad[0]
        value = values.reshape(matrix.shape)[step, dim]
        also = f" ({len(bad)} such values in {len(np.unique(bad[:, 0]))} steps)" if len(bad) > 1 else ""
        found = f"{value:g}" + (", beyond float32" if np.isfinite(value) else "")
        if np.asarray(episode.steps[key]).reshape(matrix.shape)[step, dim] is None:
            found = "missing"
        detail = f"{name}, step {step}, dim {dim}: {key} is {found}{also}, expected D numbers per step, all finite"
        raise BadEpisodeError(BadRecord(episode.where, "not finite", detail), SKIP)
    return matrix


def _matrix(
    values: NDArray[Any] | list[Any], key: str, episode: Episode, flag: str
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Returns a step column as stored and as (T, D). More axes are refused: nothing says that their numbers are one row."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(f"{episode.where}: {key} has steps of different shapes, expected D numbers per step") from None
    if array.dtype.kind == "O" and all(value is None or isinstance(value, int | float) for value in array.flat):
        array = array.astype(np.float64)  # a missing number becomes NaN, which is refused with its place
    if array.dtype.kind not in "fiub":
        first = array.reshape(-1)[0] if array.size else None
        raise InputError(
            f"{episode.where}: {key} contains {type(first).__name__} values (such as {str(first)[:40]!r}), expected D numbers "
            f"per step; write them as a list of numbers, or choose another --{flag}"
        )
    if array.ndim not in (1, 2) or not array.shape[-1]:
        raise InputError(
            f"{episode.where}: {key} has shape {array.shape}, expected (T, D): D numbers for each of the T steps. Several "
            "episodes in one array belong into separate records; nested dims must be flattened when the data is written"
        )
    with np.errstate(over="ignore"):  # becomes inf, which is refused
        return array, np.asarray(array, np.float32).reshape(len(array), -1)
