"""LeRobot v2 and v3 folders: meta/info.json says the frequency, data/**/*.parquet hold the frames; videos are not read.

v2 keeps an episode a file, v3 many episodes a file and an episode may go on in the next one; both number them in
`episode_index`, rows in order.
"""

import json
from collections.abc import Iterator
from typing import Any

import fsspec

from fasttok.episodes.arrays import episode_tables, step_columns
from fasttok.episodes.episode import BadRecord, Episode
from fasttok.errors import InputError

INFO = "meta/info.json"
VERSIONS = ("v2", "v3")


def is_lerobot(path: str) -> bool:
    """Whether the folder has meta/info.json."""
    filesystem, root = fsspec.core.url_to_fs(path)
    return filesystem.isfile(f"{root}/{INFO}")


def open_info(path: str) -> dict[str, Any]:
    """meta/info.json.

    Raises:
        InputError: not JSON, or of a version this package does not read.
    """
    try:
        with fsspec.open(f"{path}/{INFO}", "r", encoding="utf-8") as stream:
            info = json.load(stream)
        version = str(info["codebase_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}/{INFO} is not a LeRobot info file: {error!r}") from None
    if not version.startswith(VERSIONS):
        raise InputError(f"{path} is LeRobot {version}; this fasttok reads {' and '.join(VERSIONS)}")
    return info


def read(path: str, info: dict[str, Any], split: str) -> Iterator[Episode | BadRecord]:
    """Episodes of a split, in the order of their files; `observation.state` is also called `proprio`."""
    first, last = split_range(info, split)
    filesystem, root = fsspec.core.url_to_fs(path)
    protocol = path[: path.index("://") + 3] if "://" in path else ""
    files = sorted(entry for entry in filesystem.find(f"{root}/data") if entry.endswith(".parquet"))
    if not files:
        raise InputError(f"{path} has no data/**/*.parquet; the frames of a LeRobot dataset lie there")
    shared = {
        "dataset": root.rsplit("/", 1)[-1],
        "control_hz": info.get("fps"),
        "embodiment": info.get("robot_type") or None,
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


def split_range(info: dict[str, Any], split: str) -> tuple[int, int]:
    """Episode numbers [first, last) of a split such as {"train": "0:50"}.

    Raises:
        InputError: no such split, or not a range.
    """
    splits = info.get("splits") or {"train": f"0:{info.get('total_episodes', 2**62)}"}
    if split not in splits:
        raise InputError(f"no split {split!r} in {INFO}; there are {', '.join(splits)}")
    try:
        first, last = map(int, str(splits[split]).split(":"))
    except ValueError:
        raise InputError(f"{INFO}: split {split!r} is {splits[split]!r}, expected a range such as 0:50") from None
    return first, last


def count(info: dict[str, Any], split: str) -> int:
    """Episodes of a split."""
    first, last = split_range(info, split)
    return min(last, int(info.get("total_episodes", last))) - first
