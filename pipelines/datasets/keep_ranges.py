"""Keeps the steps that a file of ranges lists, such as openpi's file for DROID: {"KEY": [[start, stop], ...], ...}.

keep_ranges: {file: ranges.json, key: [episode_metadata/recording_folderpath, episode_metadata/file_path], joined: "--"}
"""

import hashlib
import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fasttok.common import stores
from fasttok.common.lfs_pointer import refuse_pointer
from fasttok.episodes import Episode
from fasttok.episodes.dataset_entry import DatasetEntry, KeepRanges
from fasttok.errors import InputError
from mixtures.yaml_lines import Keys
from mixtures.yaml_values import CheckedValues, shown
from pipelines.datasets.filters import RejectedError, text_of

Ranges = dict[str, tuple[tuple[int, int], ...]]


def check_keep_ranges(keys: Keys, reader: CheckedValues) -> None:
    """Checks an entry's `keep_ranges`.

    Args:
        keys: keys of the entry.
        reader: checks values of the entry's file.

    Raises:
        InputError: a key is unknown, no features make up the key, or the file is outside the entry's folder.
    """
    made = reader.mapping(keys, "keep_ranges", ("file", "key", "joined"), "{file: ranges.json, key: [feature]}")
    if made is None:
        return
    if not reader.texts(made, "key"):
        raise reader.error(made, "key", "keep_ranges needs key, the text features that name an episode in the file")
    reader.text(made, "joined", "--")
    file = reader.text(made, "file", "")
    if file.startswith("/") or ".." in file.split("/") or ":" in file:
        raise reader.error(
            made,
            "file",
            f"file is {file!r}, expected a path below the entry's folder; others are given by --keep-ranges",
        )


def with_ranges(entry: DatasetEntry, given: tuple[str, ...]) -> DatasetEntry:
    """Returns the entry with a digest of its file of ranges, after checking the file. Without a file, it has no ranges.

    Args:
        entry: the entry that was found, with the full path of its file.
        given: NAME=FILE texts of --keep-ranges, which replace the entry's file.

    Raises:
        InputError: a text is not NAME=FILE, the entry has no `keep_ranges`, or the file is not a file of ranges.
    """
    files = dict(text.partition("=")[::2] for text in given)
    if not all(name and file for name, file in files.items()):
        raise InputError(f"--keep-ranges {' '.join(given)}: expected NAME=FILE, such as droid=keep_ranges_1_0_1.json")
    file = files.get(entry.name, entry.keep_ranges.file if entry.keep_ranges else "")
    if not file:
        return replace(entry, keep_ranges=None)
    if entry.keep_ranges is None:
        raise InputError(
            f"--keep-ranges {entry.name}={file}: its entry does not say how episodes are named in such files; add "
            "`keep_ranges: {key: [feature]}` to it"
        )
    digest = hashlib.sha256(_bytes(file)).hexdigest()
    _loaded(file, digest)
    return replace(entry, keep_ranges=replace(entry.keep_ranges, file=file, digest=digest))


def kept_steps(ranges: KeepRanges | None, episode: Episode) -> NDArray[np.bool_]:
    """Returns (T,) bool: whether a range contains the step; True for all steps if there are no ranges.

    Args:
        ranges: `keep_ranges` of the entry.
        episode: the stored episode.

    Raises:
        RejectedError: the file does not name the episode, or a feature of the key is missing.
    """
    if ranges is None or not ranges.file:
        return np.ones(episode.length, bool)
    key = ranges.joined.join(text_of(episode, feature, "keep_ranges") for feature in ranges.key)
    found = _loaded(ranges.file, ranges.digest).get(key)
    if found is None:
        raise RejectedError("keep_ranges", f"{ranges.file} does not name {key!r}", filtered=True)
    kept = np.zeros(episode.length, bool)
    for start, stop in found:
        kept[start:stop] = True
    return kept


def _bytes(file: str) -> bytes:
    try:
        with stores.open_file(file) as stream:
            return bytes(stream.read())
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"keep-ranges {file} cannot be read: {error}") from None


@lru_cache(maxsize=4)
def _loaded(file: str, digest: str) -> Ranges:
    """Returns the ranges of a file, after checking that it has not changed since the dataset was indexed."""
    data = _bytes(file)
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(f"keep-ranges {file} has changed since the dataset was indexed; index it again")
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        refuse_pointer(data, f"keep-ranges {file}")
        raise InputError(f"keep-ranges {file} is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f'keep-ranges {file}: expected {{"KEY": [[start, stop], ...]}}, got {type(raw).__name__}')
    return {key: _pairs(value, key, file) for key, value in raw.items()}


def _pairs(value: object, key: str, file: str) -> tuple[tuple[int, int], ...]:
    found = []
    for pair in value if isinstance(value, list) else [value]:
        match pair:
            case [int(start), int(stop)] if 0 <= start <= stop:
                found.append((start, stop))
            case _:
                raise InputError(
                    f"keep-ranges {file}: {key!r} has {shown(pair)}, expected [start, stop] with 0 <= start <= stop"
                )
    return tuple(found)
