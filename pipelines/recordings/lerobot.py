"""Reads LeRobot v2 and v3 with their images: tables of steps, and videos, of which a build reads only the frames that it needs.

An episode is found by its table and its number (`episode_index`). The lists in meta/ decide which episodes there are: an episode
that is listed but missing is a reject, and so is one that is there but not listed.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fasttok.common import json_files
from fasttok.episodes import BadRecord, Episode, Where
from fasttok.episodes.dataset_name import dataset_name
from fasttok.episodes.episode import UNREADABLE
from fasttok.episodes.frames import Frames
from fasttok.episodes.lerobot import is_image, lerobot_episode, shared_metadata
from fasttok.episodes.lerobot_folder import LerobotEpisode, LerobotFolder, VideoPlace, open_folder
from fasttok.episodes.lerobot_info import INFO, split_range, split_ranges
from fasttok.episodes.lerobot_meta import EPISODES, TASKS
from fasttok.episodes.step_tables import episode_tables, in_order
from fasttok.errors import InputError
from pipelines.common.files import file_version, filesystem, join
from pipelines.recordings.absent_frames import AbsentFrames
from pipelines.recordings.clocks import clock_start, usual_rate
from pipelines.recordings.lerobot_declared import assumed_places, not_as_declared, overlaps
from pipelines.recordings.pictures import is_picture
from pipelines.recordings.recordings import Section
from pipelines.recordings.video import EpisodePart, VideoFrames

logger = logging.getLogger(__name__)
PART_TABLES = 128  # most tables of a section, so that small ones share a job and a large dataset has many jobs
PART_STEPS = 50_000  # most steps of a section of several tables, roughly
TASK = "task"  # step feature: the text of the task that task_index names
SLACK = 1e-4  # seconds: possible error of time stamps in float32


class LerobotRecordings:
    """A LeRobot folder. `sections` logs what was assumed about it, except for lines in `said`, which the user has read before."""

    def __init__(self, directory: str, version: str = "", said: Sequence[str] = ()) -> None:
        self.directory, self._said = directory, said
        self.folder = _folder(directory, version or file_version(join(directory, INFO)))
        self._shared_frames = overlaps(self.folder)
        self._shared = shared_metadata(directory, self.folder.info)

    @property
    def name(self) -> str:
        """Name of the dataset, from the name of the folder."""
        return dataset_name(self.directory)

    def described(self) -> list[str]:
        """Returns the files of meta/ that decide what an episode is."""
        names, files = (INFO, *EPISODES, *TASKS), sorted(self.folder.listing.sizes)
        found = [file for name in names for file in files if file == name or file.startswith(f"{name}/")]
        return [join(self.directory, file) for file in found]

    def sections(self) -> dict[str, list[Section]]:
        """Returns split -> sections, and logs what differs from meta/ or was assumed.

        A section is a table of v3, or small tables of v2 with about PART_STEPS steps in all. The last sections give the rejects
        for what is declared but missing, or there but not declared.
        """
        known = self.known()
        for line in not_as_declared(self.folder, known):
            logger.warning("%s: %s", self.directory, line)
        for line in assumed_places(self.folder, known):
            if line not in self._said:
                logger.warning("assumed: %s", line)
        return self.sections_of(known)

    def known(self) -> dict[int, LerobotEpisode]:
        """Returns number -> episode for all listed episodes, with the true paths of their files."""
        _ = self.folder.listing  # lists the folder once, so that no file needs a request of its own
        return {number: self.folder.found(episode) for number, episode in self.folder.episodes.items()}

    def sections_of(self, known: dict[int, LerobotEpisode]) -> dict[str, list[Section]]:
        """Returns the same as `sections`, from the result of `known`; logs nothing."""
        info, listing = self.folder.info, self.folder.listing
        total = info.total_episodes or 0
        found: dict[str, list[Section]] = {}
        for split in split_ranges(info):
            first, last = split_range(info, split)
            mine = [episode for number, episode in known.items() if first <= number < last]
            lacking = [n for n in range(first, min(last, total)) if n not in known] if len(known) < total else []
            found[split] = [self._section(group) for group in _groups(mine, info.packed)]
            info_file = join(self.directory, INFO)
            found[split] += [Section(info_file, start, stop, count=stop - start) for start, stop in _ranges(lacking)]
        if found:
            taken = {episode.table for episode in known.values()}
            tables = sorted(path for paths in listing.tables.values() for path in paths)
            extra = [path for path in tables if path not in taken and path.startswith("data/")]
            next(iter(found.values())).extend(Section(join(self.directory, path), 0, 0, count=1) for path in extra)
        return found

    def read(self, section: Section, verify: bool) -> Iterator[Episode | BadRecord]:
        """Yields every episode of a section, or a reject for its number."""
        del verify  # Parquet and video files check themselves
        if section.stop == section.start:
            yield BadRecord(Where(section.file), "undeclared", "meta/ lists no episode that is in this file")
            return
        numbers = range(section.start, section.stop or 0)
        if section.file.endswith(INFO):
            for number in numbers:
                yield BadRecord(
                    Where(section.file, number=number), "missing", "total_episodes counts it, and meta/ lists it not"
                )
            return
        episodes = [self.folder.found(self.folder.episodes[n]) for n in numbers if n in self.folder.episodes]
        if self.folder.info.packed:
            episodes = [episode for episode in episodes if self._url(episode.table) == section.file]
        for table in dict.fromkeys(episode.table for episode in episodes):
            yield from self._table(table, {e.number: e for e in episodes if e.table == table})

    def read_at(self, where: Where) -> Episode | BadRecord:
        """Returns the episode with this number."""
        episode = self.folder.episodes.get(where.number)
        if episode is None:
            return BadRecord(where, "missing", f"meta/ lists no episode {where.number}; index again")
        episode = self.folder.found(episode)
        url = self._url(episode.table)
        try:
            key, table = _opened(url, file_version(url)).rows(episode.number)
        except (OSError, KeyError, pa.ArrowException) as error:
            return BadRecord(where, UNREADABLE, f"cannot be read: {error}")
        return self._episode(where, episode, key, table)

    def _table(self, table: str, wanted: dict[int, LerobotEpisode]) -> Iterator[Episode | BadRecord]:
        """Yields the wanted episodes of a table, and rejects: for those that it lacks, and for those that meta/ does not list."""
        url = self._url(table)
        left = dict(wanted)
        reason, detail = "missing", f"meta/ says that it is in {table}, which has no row of it"
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
                elif number not in wanted and not self._lies_in(number, table):
                    yield BadRecord(
                        place, "undeclared", f"{key} is {number!r}, and meta/ lists no such episode in {table}"
                    )
        except FileNotFoundError:
            detail = f"{table} is not there"
        except (InputError, OSError, pa.ArrowException) as error:
            reason, detail = UNREADABLE, str(error)
        for number in left:
            yield BadRecord(Where(url, number=number), reason, f"episode {number}: {detail}")

    def _lies_in(self, number: object, table: str) -> bool:
        """Returns whether meta/ lists an episode in this table, so that another section reads it."""
        episode = self.folder.episodes.get(number) if isinstance(number, int) else None
        return episode is not None and self.folder.found(episode).table == table

    def _episode(self, where: Where, episode: LerobotEpisode, key: str, rows: pa.Table) -> Episode | BadRecord:
        """Makes an episode from its rows: its columns, its task in words, and its cameras."""
        images = [field.name for field in rows.schema if is_image(field.type)]
        empty = [name for name in images if not pc.count(pc.struct_field(rows[name], "bytes")).as_py()]
        numbers = rows.drop_columns(images) if images else rows
        found = lerobot_episode(where, episode.number, (key, numbers), self.folder.info, episode.length, self._shared)
        if isinstance(found, BadRecord):
            return found
        found.steps.update({name: _with_gaps(values) for name, values in found.steps.items()})
        held = [name for name in images if name not in empty]
        found.steps.update({name: pc.struct_field(rows[name], "bytes").to_pylist() for name in held})
        if TASK not in found.steps:
            found.steps[TASK] = [
                text.encode(errors="surrogatepass")  # half a character, as JSON can name it, stays: it is no UTF-8
                for text in _words(found, episode, self.folder.tasks)
            ]
        frames: dict[str, Frames] = {name: _paths_only(name, rows) for name in empty}
        stored = {name for name, values in found.steps.items() if is_picture(values)}
        frames |= {c: self._frames(c, place, found) for c, place in episode.videos.items() if c not in stored}
        return replace(found, frames=frames, where=replace(where, checksum=_checksum(found)))

    def _frames(self, camera: str, place: VideoPlace, episode: Episode) -> Frames:
        """Returns the frames of a camera at the times of the steps, or absent frames that say why there are none."""
        info = self.folder.info
        feature = info.features[camera]
        if feature.depth:
            return AbsentFrames(episode.length, f"{camera} is depth stored as video; {INFO} says is_depth_map")
        if "{" in place.file:
            return AbsentFrames(episode.length, f"{camera}: meta/ does not say in which file its frames are")
        problem = self._shared_frames.get((int(str(episode.metadata["episode"])), camera))
        if problem:
            return AbsentFrames(episode.length, f"{camera}: {problem}")
        times = _times(episode, info.fps)
        rate = feature.fps or info.fps or (usual_rate(times) if times is not None else None)
        if rate is None or times is None:
            return AbsentFrames(episode.length, f"{camera}: neither fps nor timestamp says when a step was")
        part = EpisodePart(place.start, place.stop, len(times), float(times[-1]) + place.start) if len(times) else None
        return VideoFrames(self._url(place.file), times + place.start, 0.5 / rate + SLACK, camera, part)

    def _section(self, group: Sequence[LerobotEpisode]) -> Section:
        files = dict.fromkeys(self._url(e.table) for e in group)
        files |= dict.fromkeys(self._url(place.file) for e in group for place in e.videos.values())
        first, *others = files
        info = replace(
            self.folder.info, total_episodes=None, total_frames=None, total_videos=None, splits={}, assumed=()
        )
        decides = [asdict(info), [asdict(episode) for episode in group], self.folder.tasks]
        digest = json_files.digest(decides)
        return Section(first, group[0].number, group[-1].number + 1, tuple(others), digest, count=len(group))

    def _url(self, path: str) -> str:
        return join(self.directory, path)


def _groups(episodes: Sequence[LerobotEpisode], packed: bool) -> Iterator[list[LerobotEpisode]]:
    """Yields groups of episodes that are read together, in the order of their numbers."""
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
    """Yields runs of consecutive numbers, as [start, stop).

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
    """Returns a checksum of all numbers of an episode, so that a build notices when other numbers are in the same place."""
    value = 0
    for name in sorted(episode.steps):
        column = episode.steps[name]
        if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
            value = google_crc32c.extend(value, np.ascontiguousarray(column).tobytes())
    return int(value)


def _words(found: Episode, episode: LerobotEpisode, tasks: dict[int, str]) -> list[str]:
    """Returns the task of each step: the one that `task_index` names, or else the only task of the episode; "" without both."""
    only = episode.tasks[0] if len(set(episode.tasks)) == 1 else ""
    index = found.steps.get("task_index")
    if isinstance(index, np.ndarray) and index.size == found.length and index.dtype.kind in "iuf" and tasks:
        return [tasks.get(int(i), only) if np.isfinite(i) else only for i in index.ravel().tolist()]
    return [only] * found.length


def _with_gaps(values: NDArray[Any] | list[Any]) -> NDArray[Any] | list[Any]:
    """Returns numbers with NaN for missing ones, so that a check of numbers finds them; any other values as they are."""
    if not isinstance(values, np.ndarray) or values.dtype != object:
        return values
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        return values


def _paths_only(name: str, rows: pa.Table) -> AbsentFrames:
    paths = pc.struct_field(rows[name], "path").drop_null()
    first = f", such as {paths[0].as_py()}" if len(paths) else ""
    return AbsentFrames(
        len(rows), f"{name}: the table has paths of images{first}, and not their bytes; write it with the images inside"
    )


def _times(episode: Episode, fps: float | None) -> NDArray[np.float64] | None:
    """Returns the (T,) times of the steps in seconds since the episode's beginning; None if nothing says them."""
    stamps = episode.steps.get("timestamp")
    if isinstance(stamps, np.ndarray) and stamps.dtype.kind == "f" and stamps.size == episode.length:
        times = stamps.astype(np.float64).ravel()
        return times - clock_start(episode.steps, times, fps)
    return None if fps is None else np.arange(episode.length) / fps


class OpenTable:
    """A table from which single episodes are read. It keeps the row groups that it read last, which neighbours often share."""

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
        """Returns (name of the column that numbers episodes, rows of the episode with this number).

        Raises:
            KeyError: the table has no row of this episode.
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
