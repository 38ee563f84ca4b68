"""meta/info.json of a LeRobot v2 or v3 folder: what it declares, and where it says that files lie."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fasttok.common import stores
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.errors import InputError

INFO = "meta/info.json"
NO_ROBOT = ("", "unknown", "none", "null", "other", "custom", "robot")  # robot types that say nothing
ACTIONS = ("action", "actions")
STATES = ("observation.state", "state", "observation/state")
VERSIONS = ("v2", "v3")
CHUNK = 1000  # episodes of a folder of v2, if nothing says how many
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
    """What info.json says of one column or camera.

    Attributes:
        dtype: such as "float32", "string"; "image" for a camera in the tables, "video" for one in video files.
        shape: of one step.
        names: of its numbers, () if they are not recorded.
        fps: frames per second of a video, None if it is not recorded.
        depth: whether a video holds distances instead of colours.
    """

    dtype: str = ""
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    fps: float | None = None
    depth: bool = False


@dataclass(frozen=True)
class LerobotInfo:
    """What is read of meta/info.json, which has more keys.

    Attributes:
        codebase_version: format version, such as "v2.1".
        fps: control frequency in Hz, None if it is not recorded.
        robot_type: the robot's name, "" if it is not recorded.
        total_episodes: number of episodes, None if it is not recorded.
        splits: split -> range of episode numbers, such as "0:50".
        total_frames: number of steps of all episodes, None if it is not recorded.
        features: by name.
        data_path: template of the tables' paths.
        video_path: template of the videos' paths.
        chunks_size: episodes of a folder, in v2.
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

    @property
    def packed(self) -> bool:
        """Whether a file holds many episodes, as in v3."""
        return self.codebase_version.startswith("v3")

    @property
    def action(self) -> str:
        """Name of the actions, as far as it is declared."""
        return next((name for name in ACTIONS if name in self.features), ACTIONS[0])

    @property
    def dims(self) -> dict[str, int]:
        """Numbers per step of the actions and the state, where they are recorded."""
        wanted = {name: self.features[name] for name in (*ACTIONS, *STATES) if name in self.features}
        return {name: math.prod(feature.shape) for name, feature in wanted.items() if feature.shape}

    @property
    def cameras(self) -> list[str]:
        """Features that are video files."""
        return [name for name, feature in self.features.items() if feature.dtype == "video"]


def is_lerobot(path: str) -> bool:
    """Whether the folder has meta/info.json."""
    filesystem, root = stores.filesystem(path)
    return stores.kind_at(filesystem, f"{root}/{INFO}") == "file"


def open_info(path: str) -> LerobotInfo:
    """meta/info.json.

    Raises:
        InputError: not JSON, or of a version this package does not read.
    """
    where = f"{path}/{INFO}"
    try:
        with stores.open_file(where) as stream:
            info = _parsed(json.load(stream))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        refuse_pointer_at(where)
        raise InputError(f"{where} is not a LeRobot info file: {error!r}") from None
    if info.fps is not None and not 0 < info.fps < math.inf:
        raise InputError(f"{where}: fps is {info.fps:g}, expected a positive control frequency in Hz")
    if not info.codebase_version.startswith(VERSIONS):
        raise InputError(f"{path} is LeRobot {info.codebase_version}; this fasttok reads {' and '.join(VERSIONS)}")
    if info.chunks_size < 1:
        raise InputError(f"{where}: chunks_size is {info.chunks_size}, expected a number of episodes")
    for template in (info.data_path, info.video_path):
        fill(template, {})
    return info


def _parsed(raw: Mapping[str, object]) -> LerobotInfo:
    version = str(raw["codebase_version"])
    known = version[:2] if version.startswith(VERSIONS) else VERSIONS[0]
    episodes, frames, fps = raw.get("total_episodes"), raw.get("total_frames"), raw.get("fps")
    features, splits = raw.get("features") or {}, raw.get("splits") or {}
    if not isinstance(features, dict) or not isinstance(splits, dict):
        raise TypeError("features and splits must be objects")
    return LerobotInfo(
        version,
        None if fps is None else float(str(fps)),
        str(raw.get("robot_type") or ""),
        None if episodes is None else int(str(episodes)),
        {str(name): str(numbers) for name, numbers in splits.items()},
        None if frames is None else int(str(frames)),
        {str(name): _feature(feature) for name, feature in features.items()},
        str(raw.get("data_path") or DATA[known]),
        str(raw.get("video_path") or VIDEO[known]),
        int(str(raw.get("chunks_size") or CHUNK)),
    )


def _feature(raw: Mapping[str, object]) -> LerobotFeature:
    """A feature; a video's facts lie in `info` or `video_info`, under names with or without "video."."""
    shape = raw.get("shape") or ()
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
    """The names of dims, which LeRobot writes as a list, as a list of lists, or under "motors".

    >>> [*_names({"motors": [["a", "b"], "c"]})]
    ['a', 'b', 'c']
    """
    if isinstance(names, dict):
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
    """A path below the folder, by a template of info.json.

    Args:
        template: such as "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet".
        values: of its variables; one that is missing stays as it is written.

    Raises:
        InputError: it leads out of the folder, or numbers are asked for in another way than with leading zeros.

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
    """Episode numbers [first, last) of a split.

    Raises:
        InputError: no such split, or not a range.

    >>> split_range(LerobotInfo("v2.1", splits={"train": "0:50"}), "train")
    (0, 50)
    """
    splits = split_ranges(info)
    if split not in splits:
        raise InputError(f"no split {split!r} in {INFO}; there are {', '.join(splits)}")
    try:
        first, last = map(int, splits[split].split(":"))
    except ValueError:
        raise InputError(f"{INFO}: split {split!r} is {splits[split]!r}, expected a range such as 0:50") from None
    return first, last


def split_ranges(info: LerobotInfo) -> dict[str, str]:
    """Splits as info.json has them; all episodes are `train` if it has none."""
    every = 2**62 if info.total_episodes is None else info.total_episodes
    return info.splits or {"train": f"0:{every}"}


def count(info: LerobotInfo, split: str) -> int | None:
    """Number of episodes of a split, None if it is not recorded.

    >>> count(LerobotInfo("v2.1", total_episodes=40, splits={"train": "0:50"}), "train")
    40
    """
    first, last = split_range(info, split)
    if info.total_episodes is None and not info.splits:
        return None
    return min(last, last if info.total_episodes is None else info.total_episodes) - first
