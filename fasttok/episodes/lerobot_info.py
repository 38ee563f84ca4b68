"""Reads meta/info.json of a LeRobot v2 or v3 folder: what it declares, and where it says that the files are."""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from fasttok.common import stores
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.episodes.episode import ACTIONS
from fasttok.errors import InputError

INFO = "meta/info.json"
NO_ROBOT = ("", "unknown", "none", "null", "other", "custom", "robot")  # robot types that name no robot
STATES = ("observation.state", "state", "observation/state")
OTHERS = ("meta/episodes.jsonl", "meta/episodes", "meta/tasks.jsonl", "meta/tasks.parquet")
VERSIONS = ("v2", "v3")
EVERY = 2**62  # more episodes than any dataset has
MOST_FOLDERS = 200  # inner folders that are checked for datasets
CHUNK = 1000  # episodes per folder of v2, if info.json does not say how many
DATA = {
    "v2": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    "v3": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
}
VIDEO = {
    "v2": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    "v3": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}


@dataclass(frozen=True)
class LerobotFeature:
    """What info.json says about one column or camera.

    Attributes:
        dtype: such as "float32", "string"; "image" for a camera in the tables, "video" for one in video files.
        shape: shape of one step.
        names: names of its numbers, () if they are not recorded.
        fps: frames per second of a video, None if it is not recorded.
        depth: whether a video contains distances instead of colours.
    """

    dtype: str = ""
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    fps: float | None = None
    depth: bool = False


@dataclass(frozen=True)
class LerobotInfo:
    """The part of meta/info.json that is read; the file has more keys.

    Attributes:
        codebase_version: format version, such as "v2.1".
        fps: control frequency in Hz, None if it is not recorded.
        robot_type: the robot's name, "" if it is not recorded.
        total_episodes: number of episodes, None if it is not recorded.
        splits: split -> range of episode numbers, such as "0:50".
        total_frames: number of steps of all episodes, None if it is not recorded.
        features: name -> feature.
        data_path: template of the tables' paths.
        video_path: template of the videos' paths.
        chunks_size: number of episodes per folder, in v2.
        total_videos: number of video files, None if it is not recorded.
        assumed: what was assumed because the file does not say it, for messages.
    """

    codebase_version: str
    fps: float | None = None
    robot_type: str = ""
    total_episodes: int | None = None
    splits: dict[str, str] = field(default_factory=dict)
    total_frames: int | None = None
    features: dict[str, LerobotFeature] = field(default_factory=dict)
    data_path: str = DATA["v2"]
    video_path: str = VIDEO["v2"]
    chunks_size: int = CHUNK
    total_videos: int | None = None
    assumed: tuple[str, ...] = ()

    @property
    def packed(self) -> bool:
        """Whether a file contains many episodes, as in v3."""
        return self.codebase_version.startswith("v3")

    @property
    def action(self) -> str:
        """Name of the feature with the actions; "action" if none is declared."""
        return next((name for name in ACTIONS if name in self.features), ACTIONS[0])

    @property
    def dims(self) -> dict[str, int]:
        """Numbers per step of the actions and of the state, by name, if they are recorded."""
        wanted = {name: self.features[name] for name in (*ACTIONS, *STATES) if name in self.features}
        return {name: math.prod(feature.shape) for name, feature in wanted.items() if feature.shape}

    @property
    def cameras(self) -> list[str]:
        """Features that are video files."""
        return [name for name, feature in self.features.items() if feature.dtype == "video"]


def is_lerobot(path: str) -> bool:
    """Returns whether the folder has meta/info.json.

    Raises:
        InputError: the folder has other files of a LeRobot folder but not this one, or meta/info.json is a folder.
    """
    filesystem, root = stores.filesystem(path)
    kind = stores.kind_at(filesystem, f"{root}/{INFO}")
    if kind == "directory":
        raise InputError(f"{path}/{INFO} is a folder, expected the info file of a LeRobot folder; copy the file again")
    if not kind:
        others = [name for name in OTHERS if stores.kind_at(filesystem, f"{root}/{name}")]
        if others:
            raise InputError(
                f"{path} looks like a LeRobot folder, as it has {others[0]}, but {INFO} is missing; copy the whole meta folder"
            )
    return kind == "file"


def refuse_folder_of(path: str) -> None:
    """Refuses a folder that contains LeRobot datasets in folders, such as all datasets of an organisation.

    Raises:
        InputError: `path` is such a folder; the error names some of the datasets.
    """
    filesystem, root = stores.filesystem(path)
    if stores.kind_at(filesystem, root) != "directory":
        return
    inner = sorted(str(entry) for entry in filesystem.ls(root, detail=False))[:MOST_FOLDERS]
    found = [entry for entry in inner if stores.kind_at(filesystem, f"{entry}/{INFO}") == "file"]
    if found:
        names = ", ".join(stores.join_scheme(path, entry) for entry in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise InputError(f"{path} is a folder of LeRobot datasets: {names}{more}; give these, one or several of them")


def open_info(path: str) -> LerobotInfo:
    """Reads meta/info.json.

    Raises:
        InputError: it is damaged or has a wrong value, or this package does not read its version.
    """
    where = f"{path}/{INFO}"
    try:
        with stores.open_file(where) as stream:
            raw = json.load(stream)
        if not isinstance(raw, dict):
            raise ValueError(
                f"it contains {type(raw).__name__}, expected an object with codebase_version, fps, features"
            )
        version, assumed = _version(raw, path)
        info = replace(_parsed(raw, version), assumed=assumed)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        refuse_pointer_at(where)
        raise InputError(f"{where} is not a LeRobot info file: {error}; copy the file again, or correct it") from None
    if info.fps is not None and not 0 < info.fps < math.inf:
        raise InputError(f"{where}: fps is {info.fps:g}, expected a positive control frequency in Hz")
    if not info.codebase_version.startswith(VERSIONS):
        older = re.match(r"v[01](\.|$)", info.codebase_version)
        advice = (
            "lerobot converts older folders with its scripts (`convert_dataset_v1_to_v2.py`)"
            if older
            else "a newer fasttok may read it"
        )
        raise InputError(
            f"{path} is LeRobot {info.codebase_version}; this fasttok reads {' and '.join(VERSIONS)}; {advice}"
        )
    if info.chunks_size < 1:
        raise InputError(f"{where}: chunks_size is {info.chunks_size}, expected a number of episodes")
    for template in (info.data_path, info.video_path):
        fill(template, {})
    return info


def _version(raw: Mapping[str, object], path: str) -> tuple[str, tuple[str, ...]]:
    """Returns the version of the format, such as "v2.1", and what was assumed."""
    version = str(raw.get("codebase_version") or "").strip()
    if version:
        return (version if version.startswith("v") else f"v{version}"), ()
    filesystem, root = stores.filesystem(path)
    packed = stores.kind_at(filesystem, f"{root}/meta/episodes") == "directory"
    version, why = ("v3.0", "has") if packed else ("v2.1", "has not")
    return version, (f"version: {version}, as info.json has no codebase_version and the folder {why} meta/episodes/",)


def _parsed(raw: Mapping[str, object], version: str) -> LerobotInfo:
    known = version[:2] if version.startswith(VERSIONS) else VERSIONS[0]
    features, splits = raw.get("features") or {}, raw.get("splits") or {}
    if not isinstance(features, dict):
        raise TypeError(f"features is a {type(features).__name__}, expected an object: name -> dtype, shape, names")
    if not isinstance(splits, dict):
        raise TypeError(f'splits is {splits!r}, expected ranges of episodes such as {{"train": "0:50"}}')
    return LerobotInfo(
        version,
        _number(raw, "fps"),
        str(raw.get("robot_type") or ""),
        _whole(raw, "total_episodes"),
        {str(name): _range(numbers) for name, numbers in splits.items()},
        _whole(raw, "total_frames"),
        {str(name): _feature(str(name), feature) for name, feature in features.items()},
        str(raw.get("data_path") or DATA[known]),
        str(raw.get("video_path") or VIDEO[known]),
        _whole(raw, "chunks_size") or CHUNK,
        _whole(raw, "total_videos"),
    )


def _number(raw: Mapping[str, object], key: str) -> float | None:
    value = raw.get(key)
    try:
        return None if value is None else float(str(value))
    except ValueError:
        raise ValueError(f"{key} is {value!r}, expected a number") from None


def _whole(raw: Mapping[str, object], key: str) -> int | None:
    value = raw.get(key)
    try:
        return None if value is None else int(str(value))
    except ValueError:
        raise ValueError(f"{key} is {value!r}, expected a whole number") from None


def _range(numbers: object) -> str:
    """Returns the range of a split as text; a list of more than two consecutive numbers becomes a range.

    >>> _range([4, 5, 6]), _range("0:50")
    ('4:7', '0:50')
    """
    if isinstance(numbers, list) and len(numbers) > 2 and all(type(n) is int for n in numbers):
        first, last = numbers[0], numbers[-1]
        if numbers == [*range(first, first + len(numbers))]:
            return f"{first}:{last + 1}"
    return str(numbers)


def _feature(name: str, raw: object) -> LerobotFeature:
    """Reads a feature. Facts about a video are in `info` or `video_info`, under names with or without "video."."""
    if not isinstance(raw, dict):
        raise TypeError(f"the feature {name} is {raw!r}, expected an object with dtype, shape, names")
    shape = raw.get("shape") or ()
    shape = [shape] if isinstance(shape, int) else shape
    facts: dict[str, object] = {}
    for key in ("video_info", "info"):
        more = raw.get(key)
        facts |= {str(k).removeprefix("video."): v for k, v in more.items()} if isinstance(more, dict) else {}
    fps = facts.get("fps")
    return LerobotFeature(
        str(raw.get("dtype") or ""),
        tuple(int(n) for n in (shape if isinstance(shape, list) else [])),
        tuple(_names(raw.get("names"))),
        float(fps) if isinstance(fps, int | float) and fps > 0 else None,
        facts.get("is_depth_map") is True,
    )


def _names(names: object) -> Iterator[str]:
    """Yields the names of dims. LeRobot writes them as a list, a list of lists, under "motors" or "axes", or with their numbers.

    >>> [*_names({"motors": [["a", "b"], "c"]})], [*_names({"y": 1, "x": 0})], [*_names({"0": "x", "1": "y"})]
    (['a', 'b', 'c'], ['x', 'y'], ['x', 'y'])
    """
    if isinstance(names, dict):
        numbers = [*range(len(names))]
        if all(type(value) is int for value in names.values()) and sorted(names.values()) == numbers:
            yield from (str(name) for name in sorted(names, key=lambda name: names[name]))
        elif set(map(str, names)) == set(map(str, numbers)) and all(isinstance(v, str) for v in names.values()):
            yield from (str(names[key]) for key in sorted(names, key=int))
        else:
            for name, inner in names.items():
                if isinstance(inner, list | dict):
                    yield from _names(inner)
                else:
                    yield str(name)
    elif isinstance(names, list):
        for inner in names:
            yield from _names(inner)
    elif names is not None:
        yield str(names)


def fill(template: str, values: Mapping[str, int | str]) -> str:
    """Fills a template of info.json and returns the path, relative to the folder.

    Args:
        template: such as "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet".
        values: variable -> value; a variable without a value stays in the path as it is written.

    Raises:
        InputError: the path leads out of the folder, or a number has another format than leading zeros.

    >>> fill("data/{episode_index:06d}.parquet", {"episode_index": 7})
    'data/000007.parquet'
    """

    def put(match: re.Match[str]) -> str:
        value = values.get(match[1])
        return match[0] if value is None else str(value).zfill(int(match[2] or 0))

    path = re.sub(r"\{(\w+)(?::0?(\d{1,2})d)?\}", put, template)
    pieces = path.replace("\\", "/").split("/")
    if path.startswith("/") or ".." in pieces or ":" in re.sub(r"\{[^{}]*\}", "", path):
        raise InputError(f"{INFO}: the path {template!r} leads out of the dataset's folder")
    return path


def split_range(info: LerobotInfo, split: str) -> tuple[int, int]:
    """Returns the episode numbers [first, last) of a split.

    Raises:
        InputError: there is no such split, or it is not a range.

    >>> split_range(LerobotInfo("v2.1", splits={"train": "0:50"}), "train")
    (0, 50)
    """
    splits = split_ranges(info)
    if split not in splits:
        raise InputError(f"no split {split!r} in {INFO}; there are {', '.join(splits)}")
    found = re.fullmatch(r"\s*(\d*)\s*:\s*(\d*)\s*", splits[split])
    if not found:
        raise InputError(f"{INFO}: split {split!r} is {splits[split]!r}, expected a range such as 0:50")
    return int(found[1] or 0), int(
        found[2] or EVERY if info.total_episodes is None else found[2] or info.total_episodes
    )


def split_ranges(info: LerobotInfo) -> dict[str, str]:
    """Returns the splits of info.json, name -> range; if it has none, all episodes are `train`."""
    every = EVERY if info.total_episodes is None else info.total_episodes
    return info.splits or {"train": f"0:{every}"}


def with_gaps(info: LerobotInfo, numbers: Collection[int]) -> tuple[LerobotInfo, list[str]]:
    """Widens the only split of a folder to all its episodes, if these are as many as declared but numbered with gaps.

    Returns the info, changed or unchanged, and what was assumed.

    Args:
        info: info of the folder.
        numbers: numbers of the episodes that meta/ lists.

    >>> with_gaps(LerobotInfo("v2.1", total_episodes=2, splits={"train": "0:2"}), {3, 7})[0].splits
    {'train': '0:8'}
    """
    splits = split_ranges(info)
    last = max(numbers, default=-1)
    if info.total_episodes is None or len(splits) != 1 or len(numbers) != info.total_episodes or last < len(numbers):
        return info, []
    (name,) = splits
    first, stop = split_range(info, name)
    if first or stop < info.total_episodes or stop > last:
        return info, []
    said = f"split {name}: all {len(numbers)} episodes that meta/ lists; their numbers have gaps, up to {last}"
    return replace(info, splits={name: f"0:{last + 1}"}), [said]


def count(info: LerobotInfo, split: str) -> int | None:
    """Returns the number of episodes of a split, None if it is not recorded.

    >>> count(LerobotInfo("v2.1", total_episodes=40, splits={"train": "0:50"}), "train")
    40
    """
    first, last = split_range(info, split)
    if info.total_episodes is None and not info.splits:
        return None
    return min(last, last if info.total_episodes is None else info.total_episodes) - first
