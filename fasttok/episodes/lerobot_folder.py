"""Where the episodes of a LeRobot folder lie: their tables, their videos, their tasks.

v2 has a table and a video a camera for every episode; meta/episodes.jsonl and meta/tasks.jsonl name them. v3 packs many episodes
into a file, and each camera into files of its own; meta/episodes/ says which file holds which, and from which second on.
Folders in the wild have files in other places than info.json says. A file that only one place can be is taken from there.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fasttok.common import stores
from fasttok.episodes.lerobot_info import LerobotInfo, fill, open_info
from fasttok.errors import InputError

logger = logging.getLogger(__name__)
EPISODES = ("meta/episodes.jsonl", "meta/episodes")
TASKS = ("meta/tasks.jsonl", "meta/tasks.parquet")
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, pa.ArrowException)


@dataclass(frozen=True)
class VideoPlace:
    """Where the frames of an episode and a camera are.

    Attributes:
        file: path below the folder.
        start: second of the file at which the episode begins.
        stop: second at which it ends, None for that of the file.
    """

    file: str
    start: float = 0.0
    stop: float | None = None


@dataclass(frozen=True)
class LerobotEpisode:
    """One episode that the folder declares.

    Attributes:
        number: its episode_index.
        table: path below the folder of the file that holds its steps.
        length: number of steps, None if it is not recorded.
        tasks: in words.
        videos: camera -> place.
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
        info: of meta/info.json.
        episodes: by number, in order.
        tasks: number -> words.
        declared: whether meta/ lists the episodes; otherwise they are those of the files' names.
    """

    path: str
    info: LerobotInfo
    episodes: dict[int, LerobotEpisode]
    tasks: dict[int, str]
    declared: bool = True

    @cached_property
    def listing(self) -> "FolderListing":
        """What files there are."""
        return FolderListing.of(self.path)

    @cached_property
    def moved(self) -> bool:
        """Whether files lie elsewhere than info.json says, as far as the first episodes tell."""
        filesystem, root = stores.filesystem(self.path)
        some = list(self.episodes.values())[:3]
        return bool(some) and not any(
            stores.kind_at(filesystem, f"{root}/{episode.table}") == "file" for episode in some
        )

    def found(self, episode: LerobotEpisode, look: bool) -> LerobotEpisode:
        """The episode with its files' true places; a file that is nowhere keeps its declared place.

        Args:
            episode: of this folder.
            look: whether to list the folder even if the first files are where info.json says.
        """
        if not look and not self.moved:
            return episode
        table = self.listing.table(episode.table)
        videos = {
            camera: replace(place, file=self.listing.video(place.file, camera))
            for camera, place in episode.videos.items()
        }
        return replace(episode, table=table, videos=videos)


@dataclass(frozen=True)
class FolderListing:
    """The files of a folder, by path and by name.

    Attributes:
        sizes: path below the folder -> bytes.
        tables: name of a table -> its paths.
        movies: name of a video -> its paths.
    """

    sizes: dict[str, int]
    tables: dict[str, list[str]]
    movies: dict[str, list[str]]

    @classmethod
    def of(cls, path: str) -> "FolderListing":
        """Lists a folder, once."""
        filesystem, root = stores.filesystem(path)
        base = str(filesystem._strip_protocol(root)).rstrip("/") + "/"
        sizes = {
            str(filesystem._strip_protocol(file)).removeprefix(base): int(info.get("size") or 0)
            for file, info in filesystem.find(root, detail=True).items()
        }
        tables, movies = defaultdict(list), defaultdict(list)
        for file in sorted(sizes):
            name = file.rsplit("/", 1)[-1]
            if name.startswith("._"):
                continue
            if is_table(file) and not file.startswith("meta/"):
                tables[name].append(file)
            elif file.endswith((".mp4", ".mkv", ".webm", ".mov", ".avi")):
                movies[name].append(file)
        return cls(sizes, dict(tables), dict(movies))

    def table(self, declared: str) -> str:
        """The true path of a table."""
        return declared if declared in self.sizes else _only(declared, self.tables)

    def video(self, declared: str, camera: str) -> str:
        """The true path of a camera's video, whose path names the camera."""
        if declared in self.sizes:
            return declared
        stem = declared.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        places = [path for name, paths in self.movies.items() if name.rsplit(".", 1)[0] == stem for path in paths]
        short = camera.rsplit(".", 1)[-1].rsplit("/", 1)[-1]
        for names in ({camera, camera.replace("/", ".")}, {short}):
            named = [path for path in places if names & set(path.split("/")[:-1])]
            if len(named) == 1:
                return named[0]
        return declared


def _only(declared: str, by_name: dict[str, list[str]]) -> str:
    places = by_name.get(declared.rsplit("/", 1)[-1], [])
    return places[0] if len(places) == 1 else declared


def is_table(file: str) -> bool:
    """Whether a path is a Parquet file's, and no shadow of one that macOS leaves."""
    return file.endswith(".parquet") and not file.rsplit("/", 1)[-1].startswith("._")


def open_folder(path: str) -> LerobotFolder:
    """Reads what a folder says of itself.

    Raises:
        InputError: meta/ is missing or damaged, or leads out of the folder.
    """
    info = open_info(path)
    tasks = read_tasks(path)
    rows = list(episode_rows(path))
    episodes = {}
    for row in rows:
        try:
            episode = _declared(info, row, tasks)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{path}/meta: the list of episodes is damaged: {error!r}") from None
        if episode.number in episodes or episode.number < 0:
            raise InputError(f"{path}/meta: episode {episode.number} is listed twice, or is below 0")
        episodes[episode.number] = episode
    folder = LerobotFolder(path, info, dict(sorted(episodes.items())), tasks)
    return folder if rows else replace(folder, episodes=_of_names(folder), declared=False)


def episode_lengths(path: str) -> dict[int, int]:
    """Number of steps of each episode, as far as meta/ says it.

    Raises:
        InputError: the list of episodes is damaged.
    """
    try:
        return {
            int(row["episode_index"]): int(row["length"]) for row in episode_rows(path) if row.get("length") is not None
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}/meta: the list of episodes is damaged: {error!r}") from None


def _declared(info: LerobotInfo, row: dict[str, Any], tasks: dict[int, str]) -> LerobotEpisode:
    """An episode as a row of meta/ describes it."""
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
    """Variables of a path's template."""
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


def _of_names(folder: LerobotFolder) -> dict[int, LerobotEpisode]:
    """The episodes of a v2 folder whose meta/ lists none: a table is one, which its name numbers.

    Raises:
        InputError: v3, in which only meta/ says where an episode is.
    """
    info = folder.info
    if info.packed:
        raise InputError(
            f"{folder.path} has no meta/episodes/*/*.parquet, which says where the episodes of a v3 folder lie; copy the whole "
            "meta folder"
        )
    tables = sorted(folder.listing.tables)
    numbers = {name: "".join(c for c in name if c.isdigit()) for name in tables}
    rows = sorted(int(digits) for digits in numbers.values() if digits)
    if rows:
        logger.warning("%s: meta/ lists no episodes; taken from the names of %d tables", folder.path, len(rows))
    return {number: _declared(info, {"episode_index": number}, folder.tasks) for number in dict.fromkeys(rows)}


def read_tasks(path: str) -> dict[int, str]:
    """Number of each task -> words, from meta/tasks.jsonl (v2) or meta/tasks.parquet (v3); {} if none are recorded.

    Raises:
        InputError: the file is damaged.
    """
    filesystem, root = stores.filesystem(path)
    lines, table = (f"{root}/{name}" for name in TASKS)
    try:
        if stores.kind_at(filesystem, lines) == "file":
            rows = list(json_lines(filesystem.cat_file(lines)))
        elif stores.kind_at(filesystem, table) == "file":
            with filesystem.open(table, "rb") as stream:
                rows = [
                    {"task": row.get("task", row.get("__index_level_0__", row.get("index"))), **row}
                    for row in pq.read_table(stream).to_pylist()
                ]
        else:
            return {}
        return {int(row["task_index"]): str(row["task"]) for row in rows}
    except DAMAGE as error:
        _raise_if_store(error)
        raise InputError(f"{path}/meta: the list of tasks is damaged: {error!r}") from None


def episode_rows(path: str) -> Iterator[dict[str, Any]]:
    """The rows of meta/episodes.jsonl (v2) or meta/episodes/ (v3), without their statistics.

    Raises:
        InputError: a file is damaged.
    """
    filesystem, root = stores.filesystem(path)
    lines, folder = (f"{root}/{name}" for name in EPISODES)
    try:
        if stores.kind_at(filesystem, lines) == "file":
            yield from json_lines(filesystem.cat_file(lines))
            return
        for file in sorted(filesystem.find(folder)) if stores.kind_at(filesystem, folder) == "directory" else []:
            if is_table(file):
                with filesystem.open(file, "rb") as stream:
                    table = pq.ParquetFile(stream)
                    names = [name for name in table.schema_arrow.names if not name.startswith("stats/")]
                    yield from table.read(names).to_pylist()
    except DAMAGE as error:
        _raise_if_store(error)
        raise InputError(f"{path}/meta: the list of episodes is damaged: {error!r}") from None


def _raise_if_store(error: Exception) -> None:
    """Raises an error that tells of a disk or a network; Arrow's errors for damaged files are OSErrors, too."""
    if isinstance(error, OSError) and (error.errno is not None or stores.unreachable(error) is not None):
        raise error


def json_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file.

    Raises:
        ValueError: a line is not one; says which.
    """
    for number, line in enumerate(data.decode("utf-8").splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no object")
            yield row
