"""Finds the episodes of a LeRobot folder: their tables, their videos and their tasks.

v2 has one table per episode, and one video per episode and camera; meta/episodes.jsonl and meta/tasks.jsonl list them. v3 packs
many episodes into one file, and has video files for each camera; meta/episodes/ says which file contains an episode, and from
which second on. Real folders have files in other places than info.json says. If only one file can be the missing one, it is used.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fasttok.common import stores
from fasttok.episodes.lerobot_info import LerobotFeature, LerobotInfo, fill, open_info, with_gaps
from fasttok.episodes.lerobot_listing import FolderListing
from fasttok.episodes.lerobot_meta import episode_rows, read_tasks
from fasttok.episodes.order import EPISODE_COLUMNS
from fasttok.errors import InputError

NUMBERED = re.compile(r"episode_(\d+)\.parquet")


@dataclass(frozen=True)
class VideoPlace:
    """Where the frames of one camera are for one episode.

    Attributes:
        file: path of the video, relative to the folder.
        start: second of the video at which the episode begins.
        stop: second of the video at which the episode ends, None for the end of the video.
    """

    file: str
    start: float = 0.0
    stop: float | None = None


@dataclass(frozen=True)
class LerobotEpisode:
    """One episode that the folder declares.

    Attributes:
        number: its episode_index.
        table: path of the file that contains its steps, relative to the folder.
        length: number of steps, None if it is not recorded.
        tasks: words of its tasks.
        videos: camera -> where its frames are.
    """

    number: int
    table: str
    length: int | None = None
    tasks: tuple[str, ...] = ()
    videos: dict[str, VideoPlace] = field(default_factory=dict)


@dataclass(frozen=True)
class LerobotFolder:
    """A LeRobot folder.

    Attributes:
        path: a path or URL.
        info: contents of meta/info.json.
        episodes: number -> episode, in order.
        tasks: number of a task -> its words.
        assumed: what was assumed because the folder does not say it, for messages.
    """

    path: str
    info: LerobotInfo
    episodes: dict[int, LerobotEpisode]
    tasks: dict[int, str]
    assumed: tuple[str, ...] = ()

    @cached_property
    def listing(self) -> FolderListing:
        """The files of the folder."""
        return FolderListing.of(self.path)

    @cached_property
    def by_content(self) -> dict[int, str]:
        """Number of an episode -> the only table that contains its rows, among the tables that meta/ does not mention."""
        declared = {episode.table for episode in self.episodes.values()}
        found: dict[int, list[str]] = {}
        for file in sorted(path for paths in self.listing.tables.values() for path in paths):
            for number in _numbers_in(f"{self.path}/{file}") if file not in declared else ():
                found.setdefault(number, []).append(file)
        return {number: files[0] for number, files in found.items() if len(files) == 1}

    def found(self, episode: LerobotEpisode) -> LerobotEpisode:
        """Returns the episode with the true paths of its files. A file that cannot be found keeps its declared path."""
        table = episode.table
        if not self._there(table):
            table = self.listing.table(table)
            if table == episode.table:
                table = self.by_content.get(episode.number, table)
        videos = {
            camera: place if self._there(place.file) else replace(place, file=self.listing.video(place.file, camera))
            for camera, place in episode.videos.items()
        }
        return replace(episode, table=table, videos=videos)

    @cached_property
    def _seen(self) -> dict[str, bool]:
        return {}

    def _there(self, file: str) -> bool:
        """Returns whether a file is where meta/ says. It does not list the folder for this."""
        if "listing" in self.__dict__:
            return file in self.listing.sizes
        if file not in self._seen:
            filesystem, root = stores.filesystem(self.path)
            self._seen[file] = stores.kind_at(filesystem, f"{root}/{file}") == "file"
        return self._seen[file]


def open_folder(path: str) -> LerobotFolder:
    """Reads what meta/ of a folder says, and returns the folder.

    Raises:
        InputError: meta/ is missing or damaged, or leads out of the folder.
    """
    info = open_info(path)
    tasks, assumed = read_tasks(path)
    info, videos = _with_cameras(path, info)
    episodes: dict[int, LerobotEpisode] = {}
    for row in episode_rows(path):
        try:
            episode = _declared(info, row, tasks)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{path}/meta: the list of episodes is damaged: {error!r}") from None
        if episode.number in episodes or episode.number < 0:
            raise InputError(f"{path}/meta: episode {episode.number} is listed twice, or is below 0")
        episodes[episode.number] = episode
    info, gaps = with_gaps(info, episodes)
    every = (*info.assumed, *assumed, *videos, *gaps)
    folder = LerobotFolder(path, info, dict(sorted(episodes.items())), tasks, every)
    return folder if episodes or info.total_episodes == 0 else _of_tables(folder)


def _with_cameras(path: str, info: LerobotInfo) -> tuple[LerobotInfo, list[str]]:
    """Adds cameras for the folders with video files, if info.json declares none. Returns the info and what was assumed."""
    filesystem, root = stores.filesystem(path)
    if info.cameras or stores.kind_at(filesystem, f"{root}/videos") != "directory":
        return info, []
    found = FolderListing.of(path).cameras
    images = [name for name, feature in info.features.items() if feature.dtype == "image"]
    found = [name for name in found if name in images or not images]
    if not found:
        return info, []
    said = f"cameras: {', '.join(found)} by the folders in videos/, as info.json declares no video"
    known = {name: info.features.get(name, LerobotFeature()) for name in found}
    return replace(info, features=info.features | {k: replace(f, dtype="video") for k, f in known.items()}), [said]


def _declared(info: LerobotInfo, row: dict[str, Any], tasks: dict[int, str]) -> LerobotEpisode:
    """Returns an episode as a row of meta/ describes it."""
    number = int(row["episode_index"])
    length = row.get("length")
    words = row.get("tasks")
    named = (words,) if isinstance(words, str) else tuple(str(word) for word in (words if words is not None else ()))
    if not named and isinstance(row.get("task_index"), int):
        named = (tasks.get(row["task_index"], ""),)
    return LerobotEpisode(
        number,
        fill(info.data_path, _values(info, number, row, "data")),
        None if length is None else int(length),
        named,
        {camera: _video(info, number, row, camera) for camera in info.cameras},
    )


def _values(info: LerobotInfo, number: int, row: dict[str, Any], what: str) -> dict[str, int | str]:
    """Returns the values of the variables in a path's template."""
    values: dict[str, int | str] = {"episode_index": number, "episode_chunk": number // info.chunks_size}
    for name in ("chunk_index", "file_index"):
        place = row.get(f"{what}/{name}")
        if place is not None:
            values[name] = int(place)
    return values


def _video(info: LerobotInfo, number: int, row: dict[str, Any], camera: str) -> VideoPlace:
    key = f"videos/{camera}"
    file = fill(info.video_path, {**_values(info, number, row, key), "video_key": camera})
    start, stop = row.get(f"{key}/from_timestamp"), row.get(f"{key}/to_timestamp")
    return VideoPlace(file, float(start or 0.0), None if stop is None else float(stop))


def _of_tables(folder: LerobotFolder) -> LerobotFolder:
    """Finds the episodes by the tables, if meta/ lists none. The tables' names (v2) or rows give the numbers of the episodes.

    Raises:
        InputError: the folder is v3 with videos, for which only meta/ says where the frames of an episode are.
    """
    info = folder.info
    if info.packed and info.cameras:
        raise InputError(
            f"{folder.path} has no meta/episodes/*/*.parquet, which says where the episodes of a v3 folder are; copy the whole "
            "meta folder"
        )
    names = [NUMBERED.fullmatch(name) for name in sorted(folder.listing.tables)]
    named = not info.packed and all(names)
    numbers: Sequence[int] = [int(name[1]) for name in names if name] if named else sorted(folder.by_content)
    said = f"episodes: {len(numbers)}, by {'the names' if named else 'the rows'} of {len(names)} tables, as meta/ lists none"
    episodes = {number: _declared(info, {"episode_index": number}, folder.tasks) for number in dict.fromkeys(numbers)}
    if not named:
        episodes = {number: replace(e, table=folder.by_content[number]) for number, e in episodes.items()}
    return replace(folder, episodes=episodes, assumed=(*folder.assumed, *([said] if numbers else [])))


def _numbers_in(url: str) -> list[int]:
    """Returns the numbers of the episodes in a table, [] if it cannot be read or has none."""
    try:
        with stores.open_file(url) as stream, pq.ParquetFile(stream) as file:
            key = next((name for name in EPISODE_COLUMNS if name in file.schema_arrow.names), "")
            found = file.read([key])[key].unique().to_pylist() if key else []
    except (OSError, ValueError, pa.ArrowException):
        return []
    return [number for number in found if isinstance(number, int)]
