"""Reads the episodes of LeRobot v2 and v3 folders, without their videos.

meta/info.json says the control frequency, and data/**/*.parquet contain the steps. v2 has one episode per file. v3 has many, and
an episode may continue in the next file. In both, `episode_index` numbers the episodes, and the rows are in order.
"""

import logging
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from fasttok.common import stores
from fasttok.episodes.dataset_name import dataset_name
from fasttok.episodes.episode import ACTIONS, BadRecord, Episode, Where
from fasttok.episodes.lerobot_info import EVERY, INFO, NO_ROBOT, STATES, LerobotInfo, split_range, with_gaps
from fasttok.episodes.lerobot_listing import is_table
from fasttok.episodes.lerobot_meta import episode_lengths
from fasttok.episodes.order import natural, rows_fault
from fasttok.episodes.step_tables import episode_tables, step_columns
from fasttok.errors import InputError

logger = logging.getLogger(__name__)
Metadata = dict[str, object]  # as in `Episode.metadata`


def read(path: str, info: LerobotInfo, split: str) -> Iterator[Episode | BadRecord]:
    """Yields the episodes of a split, in the order of their files. `observation.state` is also called `proprio`.

    It compares what the folder declares with what it finds: episodes, steps of each, frequency, and numbers per step.

    Raises:
        InputError: there are no steps, there is no such split, the rows are not in the order of episodes, or a table of a v3
            folder is unreadable and meta/ does not say how long the episodes are.
    """
    lengths = episode_lengths(path)
    whole, assumed = with_gaps(info, lengths)
    for line in (*info.assumed, *assumed):
        logger.warning("assumed: %s", line)
    first, last = split_range(whole, split)
    filesystem, root = stores.filesystem(path)
    files = sorted((f for f in filesystem.find(f"{root}/data") if is_table(f)), key=natural)
    if not files:
        raise InputError(f"{path} has no data/**/*.parquet; the frames of a LeRobot dataset are there")
    urls = [stores.join_scheme(path, file) for file in files]
    shared = shared_metadata(path, info)
    found: set[int] = set()
    rows = unreadable = 0
    for table_or_bad in episode_tables(urls, across=True, wanted=without_images):
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
            # numbered as in an INDEX: a fit of either sets the same episodes aside
            place = Where(where.file, number=number)
            yield lerobot_episode(place, number, (key, table), info, lengths.get(number), shared)
    known = set(lengths) if assumed or (lengths and info.total_episodes is None) else None
    yield from _not_as_declared(path, whole, (first, last), found, known, unreadable)
    if info.total_frames is not None and info.total_frames != rows:
        logger.warning("%s/%s says %d frames, data/ has %d", path, INFO, info.total_frames, rows)


def shared_metadata(path: str, info: LerobotInfo) -> Metadata:
    """Returns the metadata that all episodes of a folder share."""
    action = info.features.get(info.action)
    state = next((info.features[name] for name in STATES if name in info.features), None)
    return {
        "dataset": dataset_name(path),
        "control_hz": info.fps,
        "embodiment": None if info.robot_type.lower() in NO_ROBOT else info.robot_type,
        "action_names": list(action.names) if action else [],
        "columns": {
            **{
                name: feature.names
                for name, feature in info.features.items()
                if len(feature.names) == math.prod(feature.shape)
            },
            "action": action.names if action else (),
            "state": state.names if state else (),
        },
    }


def lerobot_episode(
    where: Where, number: int, rows: tuple[str, pa.Table], info: LerobotInfo, length: int | None, shared: Metadata
) -> Episode | BadRecord:
    """Returns an episode of a folder, or a BadRecord if it is not as the folder declares. The state is also called `proprio`.

    Args:
        where: where the episode is.
        number: its episode_index.
        rows: (name of the column that numbers episodes, rows of the episode).
        info: info of the folder.
        length: number of steps that the episode should have, None if that is not recorded.
        shared: metadata that all episodes of the folder share.
    """
    key, table = rows
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
    for usual, names in (("action", ACTIONS), ("proprio", STATES)):
        own = next((name for name in names if name in steps), None)
        if own is not None and usual not in steps:
            steps[usual] = steps[own]
    return Episode(steps, shared | {"episode": number}, where)


def without_images(schema: pa.Schema) -> list[str]:
    """Returns the columns of a table except images, which take most of the bytes and are not needed for actions."""
    return [field.name for field in schema if not is_image(field.type)]


def is_image(kind: pa.DataType) -> bool:
    """Returns whether a column contains images as LeRobot and `datasets` store them: their bytes, or the path of a file."""
    return bool(pa.types.is_struct(kind)) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}


def _not_as_declared(
    path: str,
    info: LerobotInfo,
    span: tuple[int, int],
    found: set[int],
    listed: set[int] | None,
    unreadable: int,
) -> Iterator[BadRecord]:
    """Yields a BadRecord for episodes of a split that are declared but not found, and one for those found but not declared.

    The episodes in `listed` are declared; if it is None, as many as info.json says. Each unreadable file already counts as one
    missing episode.
    """
    where = Where(f"{path}/{INFO}")
    first, last = span
    if listed is not None:
        declared = {number for number in listed if first <= number < last}
    elif info.total_episodes is not None:
        declared = set(range(first, min(last, info.total_episodes)))
    else:
        declared = set(range(first, min(last, max(found, default=-1) + 1) if last >= EVERY else last))
    missing = sorted(declared - found)
    if len(missing) > unreadable:
        detail = f"{len(declared)} episodes are declared, {len(missing)} of them are not in data/: {few(missing)}"
        if unreadable:
            detail += f" ({unreadable} files are unreadable)"
        yield BadRecord(where, "missing", detail, len(missing) - unreadable)
    extra = (
        []
        if info.total_episodes is None or listed is not None
        else sorted(n for n in found if n >= info.total_episodes)
    )
    if extra:
        detail = f"total_episodes is {info.total_episodes}, but data/ also has {few(extra)}"
        yield BadRecord(where, "undeclared", detail, len(extra))


def few(items: Sequence[object], most: int = 8) -> str:
    """Returns the first items of a list as text, for messages."""
    return ", ".join(map(str, items[:most])) + (" ..." if len(items) > most else "")
