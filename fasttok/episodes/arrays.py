"""Episodes in npz and parquet files: for actions that never were a robot dataset, or were exported from one.

- npz: `actions` (n, T, D) is n episodes of equal length; otherwise the file is one episode, and each array is a step column.
- parquet: an `episode` (or `episode_index`) column and list<float> columns such as `action`, rows in step order.
"""

import io
import itertools
import zipfile
from collections.abc import Iterator

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fasttok.episodes.episode import BadRecord, Episode, Where
from fasttok.errors import InputError

BATCH_ROWS = 16_384
EPISODE_COLUMNS = ("episode", "episode_index", "episode_id")


def files(path: str, suffix: str) -> list[str]:
    """The file itself, or the folder's files with this suffix, sorted."""
    filesystem, root = fsspec.core.url_to_fs(path)
    if filesystem.isfile(root):
        return [path] if root.endswith(suffix) else []
    protocol = path[: path.index("://") + 3] if "://" in path else ""
    return sorted(protocol + entry for entry in filesystem.ls(root, detail=False) if entry.endswith(suffix))


def read_npz(paths: list[str], name: str) -> Iterator[Episode | BadRecord]:
    """Episodes of npz files; nothing is unpickled."""
    for path in paths:
        with fsspec.open(path, "rb") as stream:
            raw = stream.read()
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
                columns = {key: archive[key] for key in archive.files}
        except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
            yield BadRecord(Where(path), "npz", str(error).split("\n")[0])
            continue
        stacked = columns.get("actions")
        if stacked is not None and stacked.ndim == 3:
            for i, chunk in enumerate(stacked):
                yield Episode({"action": chunk}, {"dataset": name}, Where(path, number=i))
        else:
            yield from _one(columns, path, name)


def _one(columns: dict[str, np.ndarray], path: str, name: str) -> Iterator[Episode | BadRecord]:
    if "actions" in columns and "action" not in columns:
        columns["action"] = columns.pop("actions")
    lengths = {key: len(value) for key, value in columns.items() if value.ndim}
    if not lengths or len(set(lengths.values())) > 1:
        yield BadRecord(Where(path), "features", f"step columns of different lengths: {lengths}")
    elif 0 in lengths.values():
        yield BadRecord(Where(path), "empty", "an episode of 0 steps")
    else:
        steps: dict[str, np.ndarray | list[bytes]] = {key: columns[key] for key in lengths}
        yield Episode(steps, {k: v.item() for k, v in columns.items() if not v.ndim} | {"dataset": name}, Where(path))


def parquet_batches(path: str) -> Iterator[pa.Table]:
    """A Parquet file in pieces; memory does not grow with it.

    Raises:
        InputError: not a Parquet file.
    """
    try:
        with fsspec.open(path, "rb") as stream:
            for batch in pq.ParquetFile(stream).iter_batches(BATCH_ROWS):
                yield pa.Table.from_batches([batch])
    except pa.ArrowException as error:
        raise InputError(f"{path} is not a parquet file: {error}") from None


def step_columns(table: pa.Table, number: str) -> dict[str, np.ndarray | list[bytes]]:
    """The columns of one episode's rows, without the one that numbers episodes.

    Raises:
        ValueError: the lists of a column differ in length.

    >>> step_columns(pa.table({"episode": [0, 0], "action": [[1.0, 2.0], [3.0, 4.0]]}), "episode")["action"].shape
    (2, 2)
    """
    return {name: _column(table[name]) for name in table.column_names if name != number}


def episode_tables(paths: list[str], across: bool = False) -> Iterator[tuple[Where, str, pa.Table]]:
    """(where it begins, the column that numbers episodes, its rows) of each episode.

    Args:
        paths: Parquet files, in order.
        across: whether an episode may go on in the next file.

    Raises:
        InputError: no column numbers the episodes.
    """
    parts: list[pa.Table] = []
    where, key, count = Where(""), "", 0
    for path in paths:
        if parts and not across:
            yield where, key, pa.concat_tables(parts)
            parts = []
        count = 0
        for batch in parquet_batches(path):
            key = next((column for column in EPISODE_COLUMNS if column in batch.column_names), "")
            if not key:
                raise InputError(
                    f"{path} has no column that numbers its episodes; expected one of {', '.join(EPISODE_COLUMNS)}, got "
                    f"{', '.join(batch.column_names)}"
                )
            ids = batch[key].to_numpy()
            edges = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)] if len(ids) else []
            for start, stop in itertools.pairwise(edges):
                if parts and ids[start] != parts[0][key][0].as_py():
                    yield where, key, pa.concat_tables(parts)
                    parts = []
                if not parts:
                    where, count = Where(path, number=count), count + 1
                parts.append(batch.slice(start, stop - start))
    if parts:
        yield where, key, pa.concat_tables(parts)


def read_parquet(paths: list[str], name: str) -> Iterator[Episode | BadRecord]:
    """Episodes of parquet files; an episode must not cross files."""
    for where, key, table in episode_tables(paths):
        try:
            steps = step_columns(table, key)
        except ValueError as error:
            yield BadRecord(where, "features", str(error))
        else:
            yield Episode(steps, {"dataset": name, "episode": table[key][0].as_py()}, where)


def _column(column: pa.ChunkedArray) -> np.ndarray | list[bytes]:
    """A step column: (T, D) for lists, (T,) for numbers, bytes for texts."""
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type) or pa.types.is_large_list(column.type):
        return np.stack([np.asarray(row) for row in column.to_pylist()])
    if pa.types.is_string(column.type):
        return [value.encode() for value in column.to_pylist()]
    values: np.ndarray | list[bytes] = column.to_pylist() if pa.types.is_binary(column.type) else column.to_numpy()
    return values
