"""LeRobot v2 and v3 with their images: tables of steps, and videos of which a build reads the frames that it needs.

An episode's place is its table and its own number (`episode_index`). What meta/ declares decides: an episode that it lists and
that is not there is a reject, and so is one that is there and not listed.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fasttok.episodes import BadRecord, Episode, Where
from fasttok.episodes.episode import UNREADABLE
from fasttok.episodes.frames import Frames
from fasttok.episodes.lerobot import is_image, lerobot_episode, shared_metadata
from fasttok.episodes.lerobot_folder import EPISODES, TASKS, LerobotEpisode, LerobotFolder, VideoPlace, open_folder
from fasttok.episodes.lerobot_info import INFO, split_range, split_ranges
from fasttok.episodes.step_tables import episode_tables, in_order
from fasttok.errors import InputError
from pipelines.common.files import file_version, filesystem, join
from pipelines.recordings.absent_frames import AbsentFrames
from pipelines.recordings.dataset_name import dataset_name
from pipelines.recordings.recordings import Part
from pipelines.recordings.video import VideoFrames

PART_TABLES = 128  # most files of a part, so that small ones share a job and large sets are many jobs
PART_STEPS = 50_000  # about the most steps of a part of several files
TASK = "task"  # step feature: the words that task_index stands for
SLACK = 1e-4  # seconds by which time stamps in float32 may be off


class LerobotRecordings:
    """A LeRobot folder."""

    def __init__(self, directory: str, version: str = "") -> None:
        self.directory = directory
        self.folder = _folder(directory, version or file_version(join(directory, INFO)))
        self._shared = shared_metadata(filesystem(directory)[1].rstrip("/"), self.folder.info)

    @property
    def name(self) -> str:
        """The folder's."""
        return dataset_name(self.directory)

    def described(self) -> list[str]:
        """The files of meta/ that decide what an episode is."""
        names = (INFO, *EPISODES, *TASKS)
        fs, root = filesystem(self.directory)
        files = [path for name in names if fs.exists(f"{root}/{name}") for path in fs.find(f"{root}/{name}")]
        base = str(fs._strip_protocol(root)).rstrip("/") + "/"
        return [join(self.directory, str(fs._strip_protocol(path)).removeprefix(base)) for path in files]

    def parts(self) -> dict[str, list[Part]]:
        """Files of v3, or about so many steps in small files of v2; then what is declared or there, but not both."""
        folder, info = self.folder, self.folder.info
        known = {number: folder.found(episode, look=True) for number, episode in folder.episodes.items()}
        most = max(known, default=-1) + 1
        total = most if info.total_episodes is None else max(info.total_episodes, 0)
        found: dict[str, list[Part]] = {}
        for split in split_ranges(info):
            first, last = split_range(info, split)
            mine = [episode for number, episode in known.items() if first <= number < last]
            lacking = [number for number in range(first, min(last, total)) if number not in known]
            found[split] = [self._part(group) for group in _groups(mine, info.packed)]
            found[split] += [Part(join(self.directory, INFO), start, stop) for start, stop in _ranges(lacking)]
        if found:
            taken = {episode.table for episode in known.values()}
            tables = sorted(path for paths in folder.listing.tables.values() for path in paths)
            extra = [path for path in tables if path not in taken and path.startswith("data/")]
            next(iter(found.values())).extend(Part(join(self.directory, path), 0, 0) for path in extra)
        return found

    def read(self, part: Part, verify: bool) -> Iterator[Episode | BadRecord]:
        """Every episode of a part, by its number."""
        del verify  # Parquet and video files check themselves
        if part.stop == part.start:
            yield BadRecord(Where(part.file), "undeclared", "meta/ lists no episode that lies in this file")
            return
        numbers = range(part.start, part.stop or 0)
        if part.file.endswith(INFO):
            for number in numbers:
                yield BadRecord(
                    Where(part.file, number=number), "missing", "total_episodes counts it, and meta/ lists it not"
                )
            return
        episodes = [
            self.folder.found(self.folder.episodes[n], look=False) for n in numbers if n in self.folder.episodes
        ]
        if self.folder.info.packed:
            episodes = [episode for episode in episodes if self._url(episode.table) == part.file]
        for table in dict.fromkeys(episode.table for episode in episodes):
            yield from self._table(table, {e.number: e for e in episodes if e.table == table})

    def read_at(self, where: Where) -> Episode | BadRecord:
        """The episode of this number."""
        episode = self.folder.episodes.get(where.number)
        if episode is None:
            return BadRecord(where, "missing", f"meta/ lists no episode {where.number}; index again")
        episode = self.folder.found(episode, look=False)
        url = self._url(episode.table)
        try:
            key, table = _opened(url, file_version(url)).rows(episode.number)
        except (OSError, KeyError, pa.ArrowException) as error:
            return BadRecord(where, UNREADABLE, f"cannot be read: {error}")
        return self._episode(where, episode, key, table)

    def _table(self, table: str, wanted: dict[int, LerobotEpisode]) -> Iterator[Episode | BadRecord]:
        """The episodes of one file, and those that it lacks."""
        url = self._url(table)
        left = dict(wanted)
        listed = (
            {e.number for e in self.folder.episodes.values() if e.table == table}
            if self.folder.info.packed
            else set(wanted)
        )
        reason, detail = "missing", f"meta/ says that it lies in {table}, which has no row of it"
        try:
            for found in episode_tables([url]):
                if isinstance(found, BadRecord):
                    reason, detail = found.reason, found.detail
                    continue
                where, key, rows = found
                number = rows[key][0].as_py()
                place = Where(url, number=number if isinstance(number, int) else where.number)
                if number in left:
                    yield self._episode(place, left.pop(number), key, rows)
                elif number not in listed:
                    yield BadRecord(
                        place, "undeclared", f"{key} is {number!r}, and meta/ lists no such episode in {table}"
                    )
        except FileNotFoundError:
            detail = f"{table} is not there"
        except (InputError, OSError, pa.ArrowException) as error:
            reason, detail = UNREADABLE, str(error)
        for number in left:
            yield BadRecord(Where(url, number=number), reason, f"episode {number}: {detail}")

    def _episode(self, where: Where, episode: LerobotEpisode, key: str, rows: pa.Table) -> Episode | BadRecord:
        """An episode's columns, its task in words, and its cameras."""
        images = [field.name for field in rows.schema if is_image(field.type)]
        numbers = rows.drop_columns(images) if images else rows
        found = lerobot_episode(where, episode.number, (key, numbers), self.folder.info, episode.length, self._shared)
        if isinstance(found, BadRecord):
            return found
        found.steps.update({name: pc.struct_field(rows[name], "bytes").to_pylist() for name in images})
        if TASK not in found.steps:
            index = found.steps.get("task_index")
            words = [""] * found.length
            if isinstance(index, np.ndarray) and self.folder.tasks:
                words = [self.folder.tasks.get(int(i), "") for i in index.ravel().tolist()]
            elif episode.tasks:
                words = [episode.tasks[0]] * found.length
            found.steps[TASK] = [text.encode() for text in words]
        frames = {camera: self._frames(camera, place, found) for camera, place in episode.videos.items()}
        return replace(found, frames=frames, where=replace(where, checksum=_checksum(found)))

    def _frames(self, camera: str, place: VideoPlace, episode: Episode) -> Frames:
        """A camera's frames, at the times of the steps."""
        info = self.folder.info
        feature = info.features[camera]
        if feature.depth:
            return AbsentFrames(episode.length, f"{camera} is depth stored as video; {INFO} says is_depth_map")
        if "{" in place.file:
            return AbsentFrames(episode.length, f"{camera}: meta/ does not say in which file its frames are")
        rate = feature.fps or info.fps
        times = _times(episode, info.fps)
        if rate is None or times is None:
            return AbsentFrames(episode.length, f"{camera}: neither fps nor timestamp says when a step was")
        return VideoFrames(self._url(place.file), times + place.start, 0.5 / rate + SLACK, camera)

    def _part(self, group: Sequence[LerobotEpisode]) -> Part:
        files = dict.fromkeys(self._url(e.table) for e in group)
        files |= dict.fromkeys(self._url(place.file) for e in group for place in e.videos.values())
        first, *others = files
        info = replace(self.folder.info, total_episodes=None, total_frames=None, splits={})
        decides = [asdict(info), [asdict(episode) for episode in group], self.folder.tasks]
        digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]
        return Part(first, group[0].number, group[-1].number + 1, tuple(others), digest)

    def _url(self, path: str) -> str:
        return join(self.directory, path)


def _groups(episodes: Sequence[LerobotEpisode], packed: bool) -> Iterator[list[LerobotEpisode]]:
    """Episodes that are read together, in order of their numbers."""
    if packed:
        by_table: dict[str, list[LerobotEpisode]] = {}
        for episode in episodes:
            by_table.setdefault(episode.table, []).append(episode)
        yield from by_table.values()
        return
    group: list[LerobotEpisode] = []
    steps = 0
    for episode in episodes:
        if group and (len(group) == PART_TABLES or steps + (episode.length or 0) > PART_STEPS):
            yield group
            group, steps = [], 0
        group.append(episode)
        steps += episode.length or 0
    if group:
        yield group


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbours, as [start, stop).

    >>> [*_ranges([3, 4, 7])]
    [(3, 5), (7, 8)]
    """
    start = stop = None
    for number in numbers:
        if start is not None and number == stop:
            stop = number + 1
            continue
        if start is not None and stop is not None:
            yield start, stop
        start, stop = number, number + 1
    if start is not None and stop is not None:
        yield start, stop


def _checksum(episode: Episode) -> int:
    """Of all numbers of an episode, so that a build notices other ones in the same place."""
    value = 0
    for name in sorted(episode.steps):
        column = episode.steps[name]
        if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
            value = google_crc32c.extend(value, np.ascontiguousarray(column).tobytes())
    return int(value)


def _times(episode: Episode, fps: float | None) -> NDArray[np.float64] | None:
    """(T,) seconds of each step since the episode's beginning."""
    stamps = episode.steps.get("timestamp")
    if isinstance(stamps, np.ndarray) and stamps.dtype.kind == "f" and stamps.size == episode.length:
        return stamps.astype(np.float64).ravel()
    return None if fps is None else np.arange(episode.length) / fps


class OpenTable:
    """A table from which single episodes are read; neighbours share the rows that were read last."""

    def __init__(self, url: str) -> None:
        fs, path = filesystem(url)
        self._file = pq.ParquetFile(fs.open(path, "rb"))
        names = self._file.schema_arrow.names
        self._key = next(name for name in ("episode_index", "episode", "episode_id") if name in names)
        self._numbers = self._file.read([self._key])[self._key].to_numpy()
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._last: tuple[tuple[int, int], pa.Table] | None = None

    def rows(self, number: int) -> tuple[str, pa.Table]:
        """The column that numbers episodes, and one episode's rows.

        Raises:
            KeyError: it has none.
        """
        at = np.flatnonzero(self._numbers == number)
        if not len(at):
            raise KeyError(f"no row of episode {number}")
        first = int(np.searchsorted(self._starts, at[0], side="right")) - 1
        last = int(np.searchsorted(self._starts, at[-1], side="right"))
        if self._last is None or self._last[0] != (first, last):
            self._last = (first, last), self._file.read_row_groups(range(first, last))
        return self._key, in_order([self._last[1].take(at - self._starts[first])])


@lru_cache(maxsize=8)
def _opened(url: str, _version: str) -> OpenTable:
    return OpenTable(url)


@lru_cache(maxsize=16)
def _folder(directory: str, _version: str) -> LerobotFolder:
    return open_folder(directory)
