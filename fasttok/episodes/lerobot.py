"""LeRobot v2 and v3 folders: meta/info.json says the frequency, data/**/*.parquet hold the frames; videos are not read.

v2 keeps an episode a file, v3 many episodes a file and an episode may go on in the next one; both number them in
`episode_index`, rows in order.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import fsspec

from fasttok.episodes.episode import BadRecord, Episode
from fasttok.episodes.step_tables import episode_tables, step_columns
from fasttok.errors import InputError

INFO = "meta/info.json"
VERSIONS = ("v2", "v3")


def is_lerobot(path: str) -> bool:
    """Whether the folder has meta/info.json."""
    filesystem, root = fsspec.core.url_to_fs(path)
    return bool(filesystem.isfile(f"{root}/{INFO}"))


@dataclass(frozen=True)
class LerobotInfo:
    """What is read of meta/info.json, which has more keys.

    Attributes:
        codebase_version: format version, such as "v2.1".
        fps: control frequency in Hz, None if it is not recorded.
        robot_type: the robot's name, "" if it is not recorded.
        total_episodes: number of episodes, None if it is not recorded.
        splits: split -> range of episode numbers, such as "0:50".
    """

    codebase_version: str
    fps: float | None = None
    robot_type: str = ""
    total_episodes: int | None = None
    splits: dict[str, str] = field(default_factory=dict)


def open_info(path: str) -> LerobotInfo:
    """meta/info.json.

    Raises:
        InputError: not JSON, or of a version this package does not read.
    """
    try:
        with fsspec.open(f"{path}/{INFO}", "r", encoding="utf-8") as stream:
            raw = json.load(stream)
        episodes = raw.get("total_episodes")
        info = LerobotInfo(
            str(raw["codebase_version"]),
            raw.get("fps"),
            str(raw.get("robot_type") or ""),
            None if episodes is None else int(episodes),
            {str(name): str(numbers) for name, numbers in (raw.get("splits") or {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}/{INFO} is not a LeRobot info file: {error!r}") from None
    if not info.codebase_version.startswith(VERSIONS):
        raise InputError(f"{path} is LeRobot {info.codebase_version}; this fasttok reads {' and '.join(VERSIONS)}")
    return info


def read(path: str, info: LerobotInfo, split: str) -> Iterator[Episode | BadRecord]:
    """Episodes of a split, in the order of their files; `observation.state` is also called `proprio`."""
    first, last = split_range(info, split)
    filesystem, root = fsspec.core.url_to_fs(path)
    protocol = path[: path.index("://") + 3] if "://" in path else ""
    files = sorted(entry for entry in filesystem.find(f"{root}/data") if entry.endswith(".parquet"))
    if not files:
        raise InputError(f"{path} has no data/**/*.parquet; the frames of a LeRobot dataset lie there")
    shared = {
        "dataset": root.rsplit("/", 1)[-1],
        "control_hz": info.fps,
        "embodiment": info.robot_type or None,
    }
    for where, key, table in episode_tables([protocol + file for file in files], across=True):
        number = table[key][0].as_py()
        if not first <= number < last:
            continue
        try:
            steps = step_columns(table, key)
        except ValueError as error:
            yield BadRecord(where, "features", str(error))
            continue
        if "observation.state" in steps:
            steps["proprio"] = steps["observation.state"]
        yield Episode(steps, shared | {"episode": number}, where)


def split_range(info: LerobotInfo, split: str) -> tuple[int, int]:
    """Episode numbers [first, last) of a split.

    Raises:
        InputError: no such split, or not a range.

    >>> split_range(LerobotInfo("v2.1", splits={"train": "0:50"}), "train")
    (0, 50)
    """
    every = 2**62 if info.total_episodes is None else info.total_episodes
    splits = info.splits or {"train": f"0:{every}"}
    if split not in splits:
        raise InputError(f"no split {split!r} in {INFO}; there are {', '.join(splits)}")
    try:
        first, last = map(int, splits[split].split(":"))
    except ValueError:
        raise InputError(f"{INFO}: split {split!r} is {splits[split]!r}, expected a range such as 0:50") from None
    return first, last


def count(info: LerobotInfo, split: str) -> int:
    """Number of episodes of a split.

    >>> count(LerobotInfo("v2.1", total_episodes=40, splits={"train": "0:50"}), "train")
    40
    """
    first, last = split_range(info, split)
    return min(last, last if info.total_episodes is None else info.total_episodes) - first
