"""Turns a stored episode into what its entry says that it means: action, proprio, language, cameras.

A record that cannot be used raises `RejectedError` with the short reason under which it is counted.
"""

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.rotations import width as rotation_width
from fasttok.common.kinds import Encoding
from fasttok.common.names import is_unicode
from fasttok.episodes import Episode, as_float
from fasttok.episodes.dataset_entry import DatasetEntry, FeatureColumns
from fasttok.episodes.frames import Frames
from fasttok.episodes.hdf5_frames import HdfFrames
from pipelines.datasets.filters import RejectedError, check_success, check_texts, only_value, wanted_steps
from pipelines.datasets.grippers import opening
from pipelines.datasets.keep_ranges import kept_steps
from pipelines.recordings.encoded_frames import EncodedFrames


@dataclass(frozen=True, eq=False)
class StandardEpisode:
    """A standardised episode.

    Attributes:
        action: (T, D) float32 in raw units.
        proprio: (T, S) float32 in raw units.
        language: instruction, "" if there is none.
        cameras: slot -> T images, which may not be read yet.
        steps: (T,) int64, each step's number in the stored episode; the entry may leave out steps.
        widths: (number of columns of each piece of the action, the same for the proprio).
        left_out: reason -> number of steps that were left out.
    """

    action: NDArray[np.float32]
    proprio: NDArray[np.float32]
    language: str
    cameras: dict[str, Frames]
    steps: NDArray[np.int64]
    widths: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    left_out: dict[str, int] = field(default_factory=dict)


def standardize(entry: DatasetEntry, episode: Episode) -> StandardEpisode:
    """Applies an entry to an episode.

    Raises:
        RejectedError: a feature named in the entry is missing, the episode is empty after `drop_first`, an action or proprio
            is not finite, the language is missing, or an image is unreadable; or the entry's filters do not want the episode.
    """
    first = entry.drop_first
    if episode.length <= first:
        raise RejectedError("empty", f"{episode.length} steps, of which the entry drops the first {first}")
    check_success(entry.filters, episode)
    check_texts(entry.filters, episode)
    language = _language(entry, episode)
    action, action_widths = _columns(entry.action, episode)
    proprio, proprio_widths = _columns(entry.proprio, episode)
    for name, values in (("action", action), ("proprio", proprio)):
        bad = np.argwhere(~np.isfinite(values[first:]))
        if len(bad):
            step, dim = bad[0]
            raise RejectedError(
                f"{name} not finite", f"{name} is {values[step + first, dim]} at step {step + first}, dim {dim}"
            )
    kept = kept_steps(entry.keep_ranges, episode)[first:]
    wanted = wanted_steps(entry.filters, action[first:], encodings(entry.action, action_widths), kept)
    steps = first + np.flatnonzero(wanted)
    cameras: dict[str, Frames] = {}
    for slot, feature in entry.cameras.items():
        cameras[slot] = _camera(episode, slot, feature).take(steps)
        problem = cameras[slot].check()
        if problem:
            later = feature in episode.frames  # messages of frames that are read later name camera and file
            name = f"camera {slot}" if later else f"camera {slot} ({feature})"
            video = later and not isinstance(cameras[slot], HdfFrames)
            raise RejectedError("video" if video else "image", f"{name}: {problem}")
    outside = int((~kept).sum())
    left_out = {"first": first, "idle": len(wanted) - len(steps) - outside, "keep_ranges": outside}
    counts = {reason: count for reason, count in left_out.items() if count}
    return StandardEpisode(
        action[steps], proprio[steps], language, cameras, steps, (action_widths, proprio_widths), counts
    )


def _camera(episode: Episode, slot: str, feature: str) -> Frames:
    """Returns all images of a camera."""
    if feature in episode.frames:
        return episode.frames[feature]
    images = _feature(episode, feature)
    if not isinstance(images, list):
        raise RejectedError("features", f"camera {slot}: {feature} contains numbers, expected encoded images")
    return EncodedFrames(images)


def encodings(pieces: tuple[FeatureColumns, ...], widths: Sequence[int]) -> list[Encoding]:
    """Returns "absolute", "delta" or "gripper" per dimension; `widths` are the numbers of columns of the pieces."""
    return [piece.encoding for piece, width in zip(pieces, widths, strict=True) for _ in range(width)]


def dim_names(pieces: tuple[FeatureColumns, ...], widths: Sequence[int]) -> list[str]:
    """Returns a name with its unit for each dimension of an action or proprio, for people."""
    names = []
    for piece, width in zip(pieces, widths, strict=True):
        for i in range(width):
            name = piece.names[i] if i < len(piece.names) else f"{piece.feature}[{piece.start + i}]"
            names.append(f"{name} ({piece.unit})" if piece.unit else name)
    return names


def _columns(pieces: tuple[FeatureColumns, ...], episode: Episode) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Returns the columns of all pieces side by side, and the number of columns of each piece."""
    columns = []
    for piece in pieces:
        values = _feature(episode, piece.feature)
        if isinstance(values, list) or values.dtype == object:
            raise RejectedError(
                "features", f"{piece.feature} contains bytes or steps of several sizes, expected numbers"
            )
        table = as_float(values)
        stop = table.shape[1] if piece.stop is None else piece.stop
        if stop > table.shape[1] or piece.start >= stop:
            raise RejectedError(
                "dims", f"{piece.feature} has {table.shape[1]} dims, the entry takes [{piece.start}, {piece.stop})"
            )
        taken = table[:, piece.start : stop]
        if piece.rotation and taken.shape[1] != rotation_width(piece.rotation):
            raise RejectedError(
                "dims",
                f"{piece.feature} gives {taken.shape[1]} columns, {piece.rotation} has {rotation_width(piece.rotation)}",
            )
        if piece.scale != 1:
            scale = np.asarray(piece.scale, np.float64)
            if scale.size not in (1, taken.shape[1]):
                raise RejectedError("dims", f"{piece.feature} gives {taken.shape[1]} columns, scale has {scale.size}")
            taken = (taken * scale).astype(np.float32)
        gripper = piece.encoding == "gripper"
        columns.append(opening(taken, piece.closed, piece.open, piece.relative) if gripper else taken)
    joined = np.concatenate(columns, axis=1) if columns else np.zeros((episode.length, 0), np.float32)
    return joined, tuple(column.shape[1] for column in columns)


def _feature(episode: Episode, name: str) -> NDArray[Any] | list[bytes]:
    if name not in episode.steps:
        if name in episode.frames:
            problem = episode.frames[name].check() or "contains images, expected numbers"
            raise RejectedError("features", f"{name}: {problem}")
        there = ", ".join(sorted({*episode.steps, *episode.frames}))
        raise RejectedError("features", f"no step feature {name}; there are {there}")
    return episode.steps[name]


def _language(entry: DatasetEntry, episode: Episode) -> str:
    if entry.language is None:
        return ""
    if entry.language in episode.steps:
        value = episode.steps[entry.language][entry.drop_first]
    elif entry.language in episode.metadata:
        value = episode.metadata[entry.language]
    else:
        raise RejectedError("language", f"no feature {entry.language}")
    if entry.language_format == "codepoints":
        value = _codepoints(np.asarray(value))
    value = only_value(value)
    if isinstance(value, float | np.floating) and np.isnan(value):  # so a column without any text gives it
        value = None
    if value is None or (isinstance(value, list | tuple | np.ndarray) and not len(value)):
        value = ""
    if not isinstance(value, str | bytes):
        raise RejectedError("language", f"{entry.language} is {reprlib.repr(value)}, expected one text")
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise RejectedError("language", f"{entry.language} is not UTF-8") from None
    if not is_unicode(text):
        raise RejectedError(
            "language", f"{entry.language} is {text!r}, which is no Unicode text; it was not written as UTF-8"
        )
    text = " ".join(text.split())
    if not text and entry.filters.language:
        raise RejectedError("language", f"{entry.language} is empty", filtered=True)
    return text


def _codepoints(numbers: NDArray[Any]) -> str:
    """Returns Unicode code points as text, up to the first zero."""
    flat = numbers.ravel().tolist()
    stop = flat.index(0) if 0 in flat else len(flat)
    try:
        return "".join(map(chr, flat[:stop]))
    except (ValueError, OverflowError, TypeError):
        raise RejectedError("language", f"not unicode code points: {flat[:4]} ...") from None
