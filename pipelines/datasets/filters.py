"""Filters of a robot dataset's entry: which episodes and steps are wanted. What is left out is counted by reason.

filters:
  success: episode_metadata/success   # a feature that must be true: for the episode, or in any of its steps
  language: true                      # an instruction must be there (default)
  min_steps: 10                       # steps that must remain after the steps below are left out
  idle_below: 0.001                   # a step is idle if no action dim moves by more than this, in raw units
  idle: ends                          # leave out idle steps at both `ends` (default), `all` of them, or `none`
  max_idle: 0.9                       # leave out an episode if a larger share of its steps is idle
  matches: {episode_metadata/file_path: success}    # a text in which this regular expression must be found
  excludes: {episode_metadata/file_path: failure}   # a text in which it must not
"""

import re
import reprlib
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common import json_files
from fasttok.episodes import Episode
from fasttok.episodes.dataset_entry import IDLE_STEPS, EntryFilters
from mixtures.yaml_lines import Keys
from mixtures.yaml_values import CheckedValues, shown

TEXT_FILTERS = ("matches", "excludes")


class RejectedError(ValueError):
    """Says that a record is left out, and what was found in it.

    Attributes:
        reason: a short phrase, by which records are counted.
        filtered: whether the record is sound, and only the filters of its dataset's entry do not want it.
    """

    def __init__(self, reason: str, detail: str, filtered: bool = False) -> None:
        super().__init__(detail)
        self.reason = reason
        self.filtered = filtered


def parse_filters(data: object, where: str) -> EntryFilters:
    """Parses the `filters` of an entry.

    Args:
        data: their value in YAML; if it is a `Keys`, errors name the line.
        where: path of the file, for messages.

    Raises:
        InputError: the value is not a mapping, a key is unknown, or a value is not valid.
    """
    reader = CheckedValues(where, "filters")
    if not isinstance(data, dict):
        raise reader.error(Keys(), None, f"expected a mapping such as {{min_steps: 10}}, got {shown(data)}")
    said = data if isinstance(data, Keys) else Keys(data)
    keys = Keys({key: value for key, value in said.items() if value is not None}, said.line, said.lines)
    reader.check_keys(keys, tuple(f.name for f in fields(EntryFilters)), "filter")
    if "success" in keys:
        reader.filled(keys, "success")
    if "language" in keys:
        reader.flag(keys, "language")
    if "min_steps" in keys:
        reader.whole(keys, "min_steps", 1)
    if "idle_below" in keys:
        reader.number(keys, "idle_below", 0)
    if "max_idle" in keys:
        reader.number(keys, "max_idle", 0, 1)
    reader.choice(keys, "idle", IDLE_STEPS, IDLE_STEPS[0])
    for key in TEXT_FILTERS:
        patterns = reader.table(keys, key, "{episode_metadata/file_path: success}")
        for feature in patterns:
            try:
                re.compile(reader.filled(patterns, feature))
            except re.error as error:
                message = f"{key}: {shown(patterns[feature])} is no regular expression: {error}"
                raise reader.error(patterns, feature, message) from None
    for key in ("idle", "max_idle"):
        if key in keys and "idle_below" not in keys:
            raise reader.error(keys, key, f"{key} needs idle_below, the movement under which a step is idle")
    return json_files.decode(EntryFilters, dict(keys), where)


def check_success(filters: EntryFilters, episode: Episode) -> None:
    """Checks an episode by the filter `success`.

    Raises:
        RejectedError: the feature is missing, or the episode did not succeed.
    """
    name = filters.success
    if name is None:
        return
    if name in episode.metadata:
        value = episode.metadata[name]
    elif name in episode.steps:
        value = episode.steps[name]
    else:
        raise RejectedError("features", f"no feature {name}, by which filters.success goes")
    try:
        flags = np.asarray(value).astype(np.float64)  # a missing value becomes NaN, which is not true
    except (TypeError, ValueError):
        flags = None
    if flags is None or isinstance(value, list | str | bytes):
        raise RejectedError("features", f"{name} contains {reprlib.repr(value)}, expected true or false")
    if not np.any(flags > 0):
        raise RejectedError("success", f"{name} is never true", filtered=True)


def check_texts(filters: EntryFilters, episode: Episode) -> None:
    """Checks an episode by the filters `matches` and `excludes`.

    Raises:
        RejectedError: a feature is missing or contains no text, or the episode is not wanted.
    """
    for key, patterns in (("matches", filters.matches), ("excludes", filters.excludes)):
        for feature, pattern in patterns.items():
            text = text_of(episode, feature, f"filters.{key}")
            if (re.search(pattern, text) is None) == (key == "matches"):
                found = "has no" if key == "matches" else "has"
                raise RejectedError(key, f"{feature} is {text!r}, which {found} {pattern!r}", filtered=True)


def text_of(episode: Episode, feature: str, asked_by: str) -> str:
    """Returns a text of an episode's metadata, or of its first step.

    Args:
        episode: the stored episode.
        feature: name of a feature of its metadata or steps.
        asked_by: key of the entry that names it, for messages.

    Raises:
        RejectedError: there is no such feature, or it contains no text.
    """
    value = episode.metadata.get(feature)
    if value is None and feature in episode.steps:
        value = episode.steps[feature][0]
    if value is None:
        raise RejectedError("features", f"no feature {feature}, by which {asked_by} goes")
    value = only_value(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise RejectedError("features", f"{feature} contains no text, and {asked_by} goes by it")
    return value


def only_value(value: Any) -> Any:
    """Returns the value of an array or list of one; anything else as it is.

    >>> only_value(np.array([3])), only_value(["pick"]), only_value(["pick", "place"])
    (np.int64(3), 'pick', ['pick', 'place'])
    """
    if isinstance(value, np.ndarray) and value.size == 1:
        return value.ravel()[0]
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def wanted_steps(
    filters: EntryFilters, action: NDArray[np.float32], encoding: Sequence[str], kept: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Returns (T,) bool, False for idle steps that are left out and for steps that are not among the `kept` ones.

    Raises:
        RejectedError: too much of the episode is idle, or too few steps remain.
    """
    keep = np.ones(len(action), bool)
    if filters.idle_below is not None:
        idle = idle_steps(action, encoding, filters.idle_below)
        if idle.mean() > filters.max_idle:
            raise RejectedError("idle", f"{idle.sum()} of {len(idle)} steps are idle", filtered=True)
        if filters.idle == "all":
            keep = ~idle
        elif filters.idle == "ends":
            moving = np.flatnonzero(~idle)
            keep[:] = False
            keep[moving[0] if len(moving) else 0 : moving[-1] + 1 if len(moving) else 0] = True
    if kept is not None:
        keep = keep & kept
    if keep.sum() < filters.min_steps:
        raise RejectedError(
            "short", f"{keep.sum()} steps of {len(keep)}, fewer than {filters.min_steps}", filtered=True
        )
    return keep


def idle_steps(action: NDArray[np.float32], encoding: Sequence[str], below: float) -> NDArray[np.bool_]:
    """Returns (T,) bool: True for steps in which no delta is larger than `below`, and nothing else changes by more than it.

    >>> idle_steps(np.array([[0.0, 1], [0, 1], [0, 0], [0.2, 0]]), ["delta", "gripper"], 0.1)
    array([ True,  True, False, False])
    """
    delta = np.array([kind == "delta" for kind in encoding], bool)
    change = np.abs(np.diff(action, axis=0, prepend=action[:1]))
    idle: NDArray[np.bool_] = np.where(delta, np.abs(action), change).max(axis=1, initial=0) <= below
    return idle
