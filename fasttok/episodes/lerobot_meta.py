"""Reads what meta/ of a LeRobot folder lists: the words of its tasks, and a row for every episode."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fasttok.common import stores
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.episodes.lerobot_listing import is_table
from fasttok.errors import InputError

EPISODES = ("meta/episodes.jsonl", "meta/episodes")
TASKS = ("meta/tasks.jsonl", "meta/tasks.parquet")
WORDS = (
    "task",
    "__index_level_0__",
    "index",
)  # columns of meta/tasks.parquet that may contain the words, which LeRobot stores as the index of a data frame
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, pa.ArrowException)
Row = dict[str, Any]


def read_tasks(path: str) -> tuple[dict[int, str], list[str]]:
    """Reads meta/tasks.jsonl or meta/tasks.parquet.

    Returns number of a task -> its words ({} if there is no such file), and what was assumed.

    Raises:
        InputError: the file is damaged, or does not say which words a number stands for.
    """
    filesystem, root = stores.filesystem(path)
    name = next((name for name in TASKS if stores.kind_at(filesystem, f"{root}/{name}") == "file"), "")
    if not name:
        return {}, []
    where, assumed = f"{path}/{name}", ""
    try:
        rows = list(_rows(where))
        found: dict[int, str] = {}
        for row in rows:
            number, (column, words) = int(row["task_index"]), _words(row)
            if found.setdefault(number, words) != words:
                raise ValueError(f"task_index {number} is both {found[number]!r} and {words!r}")
            if column not in WORDS:
                assumed = f"language: the words of a task are in {name}'s column {column!r}, the only one with text"
    except DAMAGE as error:
        _raise_damage(error, where, "list of tasks")
    return found, [assumed] if assumed else []


def _words(row: Row) -> tuple[str, str]:
    """Returns (column, words) of a task. The words are "" if they are not recorded."""
    column = next((name for name in WORDS if isinstance(row.get(name), str)), "")
    if not column:
        texts = [name for name, value in row.items() if isinstance(value, str)]
        if len(texts) > 1 or (not texts and not any(name in row for name in WORDS)):
            raise ValueError(f"no column is called task; there are {', '.join(row)}")
        odd = [row[name] for name in WORDS if row.get(name) is not None]
        if not texts and odd and not (isinstance(odd[0], float) and odd[0] != odd[0]):
            raise ValueError(f"task {row['task_index']} is {odd[0]!r}, expected a text")
        column = texts[0] if texts else WORDS[0]
    value = row.get(column)
    return column, value if isinstance(value, str) else ""


def episode_rows(path: str) -> Iterator[Row]:
    """Yields the rows of meta/episodes.jsonl (v2), or of meta/episodes/ without the statistics (v3).

    Raises:
        InputError: a file is damaged.
    """
    filesystem, root = stores.filesystem(path)
    lines, folder = (f"{root}/{name}" for name in EPISODES)
    files = [lines] if stores.kind_at(filesystem, lines) == "file" else []
    if not files and stores.kind_at(filesystem, folder) == "directory":
        files = sorted(file for file in filesystem.find(folder) if is_table(file))
    for file in files:
        where = stores.join_scheme(path, file)
        try:
            for row in _rows(where):
                yield row | {"episode_index": int(row["episode_index"])}
        except DAMAGE as error:
            _raise_damage(error, where, "list of episodes")


def episode_lengths(path: str) -> dict[int, int]:
    """Returns number of an episode -> number of its steps, for the episodes whose length is in meta/.

    Raises:
        InputError: the list of episodes is damaged.
    """
    try:
        return {row["episode_index"]: int(row["length"]) for row in episode_rows(path) if row.get("length") is not None}
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}/meta: the list of episodes is damaged: {error!r}") from None


def _rows(where: str) -> Iterator[Row]:
    with stores.open_file(where) as stream:
        if where.endswith(".jsonl"):
            yield from json_lines(stream.read())
            return
        table = pq.ParquetFile(stream)
        names = [name for name in table.schema_arrow.names if not name.startswith("stats/")]
        yield from table.read(names).to_pylist()


def _raise_damage(error: Exception, where: str, what: str) -> None:
    """Raises an InputError which says that a file is damaged, or `error` itself if it is about a disk or a network.

    Arrow raises OSErrors for damage, too.
    """
    if isinstance(error, InputError):
        raise error
    if stores.tells_of_store(error):
        raise error
    refuse_pointer_at(where)
    why = f"it has no {error}" if isinstance(error, KeyError) else str(error).split("\n")[0]
    raise InputError(f"{where}: the {what} is damaged: {why}; copy the file again, or correct it") from None


def json_lines(data: bytes) -> Iterator[Row]:
    """Yields the objects of a JSON Lines file. Only a line feed ends a line, because texts may contain other line ends.

    Raises:
        ValueError: a line is not a JSON object; the error gives its number.
    """
    for number, line in enumerate(data.decode("utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number}: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no object")
            yield row
