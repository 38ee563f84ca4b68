"""LeRobot v2 and v3 folders: meta/info.json says the frequency, data/**/*.parquet hold the frames; videos are not read.

v2 keeps an episode a file, v3 many episodes a file and an episode may go on in the next one; both number them in
`episode_index`, rows in order.
"""

import json
import logging
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fasttok.common import stores
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.episodes.episode import BadRecord, Episode, Where
from fasttok.episodes.order import rows_fault
from fasttok.episodes.step_tables import episode_tables, step_columns
from fasttok.errors import InputError

logger = logging.getLogger(__name__)
INFO = "meta/info.json"
NO_ROBOT = ("", "unknown", "none", "null", "other", "custom", "robot")  # robot types that say nothing
ACTION, STATE = "action", "observation.state"
VERSIONS = ("v2", "v3")


def is_lerobot(path: str) -> bool:
    """Whether the folder has meta/info.json."""
    filesystem, root = stores.filesystem(path)
    return stores.kind_at(filesystem, f"{root}/{INFO}") == "file"


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
        dims: numbers per step of `action` and `observation.state`, where they are recorded.
        names: of the dims of `action`, () if they are not recorded.
        state_names: of the dims of `observation.state`, () if they are not recorded.
    """

    codebase_version: str
    fps: float | None = None
    robot_type: str = ""
    total_episodes: int | None = None
    splits: dict[str, str] = field(default_factory=dict)
    total_frames: int | None = None
    dims: dict[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()


def open_info(path: str) -> LerobotInfo:
    """meta/info.json.

    Raises:
        InputError: not JSON, or of a version this package does not read.
    """
    try:
        with stores.open_file(f"{path}/{INFO}") as stream:
            raw = json.load(stream)
        episodes, frames, fps = raw.get("total_episodes"), raw.get("total_frames"), raw.get("fps")
        features = raw.get("features") or {}
        shapes = {key: features[key].get("shape") for key in (ACTION, STATE) if key in features}
        info = LerobotInfo(
            str(raw["codebase_version"]),
            None if fps is None else float(fps),
            str(raw.get("robot_type") or ""),
            None if episodes is None else int(episodes),
            {str(name): str(numbers) for name, numbers in (raw.get("splits") or {}).items()},
            None if frames is None else int(frames),
            {key: math.prod(map(int, shape)) for key, shape in shapes.items() if shape},
            *(tuple(_names(features[key].get("names"))) if key in features else () for key in (ACTION, STATE)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        refuse_pointer_at(f"{path}/{INFO}")
        raise InputError(f"{path}/{INFO} is not a LeRobot info file: {error!r}") from None
    if info.fps is not None and not 0 < info.fps < math.inf:
        raise InputError(f"{path}/{INFO}: fps is {info.fps:g}, expected a positive control frequency in Hz")
    if not info.codebase_version.startswith(VERSIONS):
        raise InputError(f"{path} is LeRobot {info.codebase_version}; this fasttok reads {' and '.join(VERSIONS)}")
    return info


def read(path: str, info: LerobotInfo, split: str) -> Iterator[Episode | BadRecord]:
    """Episodes of a split, in the order of their files; `observation.state` is also called `proprio`.

    What the folder declares is compared with what is found: episodes, steps of each, frequency, and numbers per step.

    Raises:
        InputError: no frames, no such split, or rows that are not in the order of episodes.
    """
    first, last = split_range(info, split)
    filesystem, root = stores.filesystem(path)
    files = sorted((f for f in filesystem.find(f"{root}/data") if _is_table(f)), key=_natural)
    if not files:
        raise InputError(f"{path} has no data/**/*.parquet; the frames of a LeRobot dataset lie there")
    lengths = episode_lengths(path)
    shared: dict[str, object] = {
        "dataset": root.rsplit("/", 1)[-1],
        "control_hz": info.fps,
        "embodiment": None if info.robot_type.lower() in NO_ROBOT else info.robot_type,
        "action_names": list(info.names),
        "columns": {"action": info.names, "state": info.state_names},
    }
    found: set[int] = set()
    rows = unreadable = 0
    for table_or_bad in episode_tables([stores.join_scheme(path, file) for file in files], across=True):
        if isinstance(table_or_bad, BadRecord):
            unreadable += 1
            if not lengths and not info.codebase_version.startswith("v2"):
                raise InputError(
                    f"{table_or_bad}, and meta/ does not say how long episodes are, so those that cross into it cannot be told; "
                    "fetch or repair the file"
                )
            yield table_or_bad
            continue
        where, key, table = table_or_bad
        number = table[key][0].as_py()
        if not isinstance(number, int):
            raise InputError(f"{where}: {key} is {number!r}, expected a whole number, as LeRobot writes it")
        found.add(number)
        rows += len(table)
        if first <= number < last:
            yield _episode(where, number, table, key, info, lengths.get(number), shared)
    yield from _not_as_declared(path, info, (first, last), found, lengths, unreadable)
    if info.total_frames is not None and info.total_frames != rows:
        logger.warning("%s/%s says %d frames, data/ has %d", path, INFO, info.total_frames, rows)


def _episode(
    where: Where,
    number: int,
    table: pa.Table,
    key: str,
    info: LerobotInfo,
    length: int | None,
    shared: dict[str, object],
) -> Episode | BadRecord:
    try:
        steps = step_columns(table, key)
    except ValueError as error:
        return BadRecord(where, "features", str(error))
    for name, dim in info.dims.items():
        width = np.asarray(steps[name]).reshape(len(table), -1).shape[1] if name in steps else dim
        if width != dim:
            return BadRecord(where, "features", f"{name} has {width} numbers per step, {INFO} says {dim}")
    fault = rows_fault(steps, info.fps, whole=True)
    if not fault and length is not None and length != len(table):
        fault = f"meta/ says {length} steps, there are {len(table)}"
    if fault:
        return BadRecord(where, "frames", f"episode {number}: {fault}")
    if STATE in steps:
        steps["proprio"] = steps[STATE]
    return Episode(steps, shared | {"episode": number}, where)


def _not_as_declared(
    path: str,
    info: LerobotInfo,
    span: tuple[int, int],
    found: set[int],
    lengths: dict[int, int],
    unreadable: int,
) -> Iterator[BadRecord]:
    """Episodes of a split that are declared and not found, and found and not declared.

    Each of the `unreadable` files is counted as one episode already.
    """
    where = Where(f"{path}/{INFO}")
    first, last = span
    if info.total_episodes is not None:
        declared = set(range(first, min(last, info.total_episodes)))
    elif info.splits:
        declared = set(range(first, last))
    else:
        declared = set(lengths)
    missing = sorted(declared - found)
    if len(missing) > unreadable:
        detail = f"{len(declared)} episodes are declared, {len(missing)} of them are not in data/: {_few(missing)}"
        if unreadable:
            detail += f" ({unreadable} files are unreadable)"
        yield BadRecord(where, "missing", detail, len(missing) - unreadable)
    extra = [] if info.total_episodes is None else sorted(n for n in found if n >= info.total_episodes)
    if extra:
        detail = f"total_episodes is {info.total_episodes}, but data/ also has {_few(extra)}"
        yield BadRecord(where, "undeclared", detail, len(extra))


def episode_lengths(path: str) -> dict[int, int]:
    """Number of steps of each episode, from meta/episodes.jsonl (v2) or meta/episodes/ (v3); {} if it is not recorded.

    Raises:
        InputError: the file is damaged.
    """
    filesystem, root = stores.filesystem(path)
    lines, folder = f"{root}/meta/episodes.jsonl", f"{root}/meta/episodes"
    try:
        if stores.kind_at(filesystem, lines) == "file":
            text = str(filesystem.cat_file(lines), "utf-8")
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = []
            for file in sorted(filesystem.find(folder)):
                if _is_table(file):
                    with filesystem.open(file, "rb") as stream:
                        rows += pq.read_table(stream, columns=["episode_index", "length"]).to_pylist()
        return {int(row["episode_index"]): int(row["length"]) for row in rows if row.get("length") is not None}
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise InputError(f"{path}/meta: the list of episodes is damaged: {error!r}") from None


def _is_table(file: str) -> bool:
    return file.endswith(".parquet") and not file.rsplit("/", 1)[-1].startswith("._")


def _natural(file: str) -> list[tuple[int, str]]:
    """Sorts file-999 before file-1000."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", file)]


def _few(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (" ..." if len(numbers) > 8 else "")


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


def count(info: LerobotInfo, split: str) -> int | None:
    """Number of episodes of a split, None if it is not recorded.

    >>> count(LerobotInfo("v2.1", total_episodes=40, splits={"train": "0:50"}), "train")
    40
    """
    first, last = split_range(info, split)
    if info.total_episodes is None and not info.splits:
        return None
    return min(last, last if info.total_episodes is None else info.total_episodes) - first
