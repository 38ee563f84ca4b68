"""Reads a sample of a dataset's episodes, spread over its files and splits, and looks at some of their cameras.

Episodes without pictures are read at 100,000 steps per second and more. So all of them are read, and every k-th is kept. RLDS
stores pictures with the numbers, so only the first few episodes of each file are read.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fasttok.common.console import progress
from fasttok.episodes import BadRecord, Episode, Where
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import InputError
from pipelines.check.camera_looks import FewFrames, few_frames, look, only_problem
from pipelines.check.columns_by_name import DatasetColumns, find_columns, values_of
from pipelines.check.dataset_findings import FoundAt
from pipelines.check.instructions import instructions
from pipelines.check.open_dataset import OpenedDataset
from pipelines.check.sampled import ActionDigest, EpisodeSample, SampledEpisode, action_digest
from pipelines.check.spread import spread

TIMES = ("timestamp", "timestamps", "time", "times", "time_stamp", "stamp")
MOST_FILMS = 15  # episodes per split if there are videos, which are decoded up to the last frame looked at
MOST_LOOKS = 30  # episodes per split whose cameras are decoded


@dataclass
class _Kept:
    episode: SampledEpisode
    frames: dict[str, FewFrames]


@dataclass
class Rejects:
    """Records that cannot be used as episodes.

    Attributes:
        first: (split, reason) -> the first such record.
        counts: (split, reason) -> number of records.
        read: split -> number of episodes that were read.
    """

    first: dict[tuple[str, str], BadRecord] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)

    def add(self, split: str, record: BadRecord) -> None:
        """Counts a bad record."""
        key = split, record.reason
        self.first.setdefault(key, record)
        self.counts[key] = self.counts.get(key, 0) + record.records


def read_sample(
    dataset: OpenedDataset, entry: DatasetEntry | None, splits: list[str], most: int, cameras: bool
) -> tuple[EpisodeSample, Rejects]:
    """Reads the sample. Returns it, and the records that cannot be used.

    Args:
        dataset: the dataset.
        entry: its entry, which says what its features mean; None if it has none.
        splits: the splits to read.
        most: number of episodes to keep, of all splits together.
        cameras: whether to look at cameras.
    """
    rejects = Rejects()
    columns: DatasetColumns | None = None
    episodes: list[SampledEpisode] = []
    digests: list[ActionDigest] = []
    recorded: float | None = None
    for split in splits:
        kept: list[_Kept] = []
        stride, at = 1, 0
        share = max(1, math.ceil(most / len(splits)))
        limit = share if dataset.pictures_inside else None
        total = dataset.count(split)
        with progress(f"reading {split}", min(total, share) if limit and total else total, "episodes") as advance:
            for record in _until_fault(dataset, split, limit):
                advance()
                if isinstance(record, BadRecord):
                    rejects.add(split, record)
                    continue
                rejects.read[split] = rejects.read.get(split, 0) + 1
                columns = columns if columns is not None and columns.action else find_columns(entry, record)
                recorded = recorded or record.metadata.get("control_hz")
                digests.append(_digested(record, split, columns))
                if at % stride == 0:
                    kept.append(_keep(record, split, columns, entry, cameras))
                    _forget_pictures(kept)
                    if len(kept) >= 2 * share:
                        kept, stride = kept[::2], 2 * stride
                at += 1
        kept = [kept[i] for i in spread(len(kept), share)]
        _look(kept, entry, split)
        episodes += [item.episode for item in kept]
    empty = DatasetColumns((), ())
    recorded = None if recorded is None else float(recorded)
    hz = float(entry.control_hz) if entry is not None and entry.control_hz else recorded
    return EpisodeSample(episodes, columns or empty, hz, digests, recorded), rejects


def _look(kept: list[_Kept], entry: DatasetEntry | None, split: str) -> None:
    """Adds the cameras: checks the headers of all episodes, and decodes frames of some whose headers are sound."""
    sound = []
    for item in kept:
        problems = {name: frames.problem() for name, frames in item.frames.items()}
        item.episode.cameras.update({name: only_problem(problem) for name, problem in problems.items() if problem})
        if item.frames and not any(problems.values()):
            sound.append(item)
    films = any(frames.frames is not None for item in sound for frames in item.frames.values())
    chosen = [sound[i] for i in spread(len(sound), MOST_FILMS if films else MOST_LOOKS)]
    with progress(f"looking at cameras of {split}", len(chosen), "episodes") as advance:
        for item in chosen:
            for name, frames in item.frames.items():
                bgr = entry is not None and any(entry.cameras.get(slot) == name for slot in entry.bgr)
                item.episode.cameras[name] = look(frames, bgr)
            advance()


def _forget_pictures(kept: list[_Kept]) -> None:
    """Drops the pictures of every second episode if too many are in memory. Videos do not count, as they are not read yet."""
    held = [item for item in kept if any(frames.held for frames in item.frames.values())]
    if len(held) > 2 * MOST_LOOKS:
        for item in held[1::2]:
            item.frames.clear()


def _until_fault(dataset: OpenedDataset, split: str, limit: int | None) -> Iterator[Episode | BadRecord]:
    """Yields records. An error that ends the reading becomes a bad record, so that the check reports it and goes on."""
    try:
        yield from dataset.read(split, limit)
    except InputError as error:
        yield BadRecord(Where(dataset.path), "unreadable", f"the rest of split {split} cannot be read: {error}")


def _digested(episode: Episode, split: str, columns: DatasetColumns) -> ActionDigest:
    where = _numbered(episode)
    return ActionDigest(
        action_digest(values_of(columns.action, episode)), FoundAt(where.file, where.number, split=split)
    )


def _numbered(episode: Episode) -> Where:
    """Returns where the episode came from, with LeRobot's own number if it has one."""
    number = episode.metadata.get("episode")
    where = episode.where
    if isinstance(number, int) and not isinstance(number, bool):
        return Where(where.file, where.offset, where.length, number)
    return where


def _keep(episode: Episode, split: str, columns: DatasetColumns, entry: DatasetEntry | None, cameras: bool) -> _Kept:
    drop = entry.drop_first if entry is not None and entry.drop_first < episode.length else 0
    language, changes = instructions(entry, episode)
    sampled = SampledEpisode(
        split,
        _numbered(episode),
        values_of(columns.action, episode)[drop:],
        values_of(columns.state, episode)[drop:],
        _times(episode),
        language,
        dropped=drop,
        language_changes=changes,
    )
    return _Kept(sampled, few_frames(episode, entry) if cameras else {})


def _times(episode: Episode) -> NDArray[np.float64] | None:
    for name, values in episode.steps.items():
        if name.replace(".", "/").rsplit("/", 1)[-1].lower() in TIMES and isinstance(values, np.ndarray):
            flat = values.reshape(len(values), -1)
            if flat.shape[1] == 1 and flat.dtype.kind in "fiu":
                times: NDArray[np.float64] = flat[:, 0].astype(np.float64)
                return times
    return None
