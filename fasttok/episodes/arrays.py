"""Episodes in npz and parquet files: for actions that never were a robot dataset, or were exported from one.

- npz: `actions` (n, T, D) is n episodes of equal length; otherwise the file is one episode, each array a step column.
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


def read_parquet(paths: list[str], name: str) -> Iterator[Episode | BadRecord]:
    """Episodes of parquet files; an episode must not cross files."""
    for path in paths:
        with fsspec.open(path, "rb") as stream:
            try:
                table = pq.read_table(stream)
            except pa.ArrowException as error:
                raise InputError(f"{path} is not a parquet file: {error}") from None
        key = next((column for column in EPISODE_COLUMNS if column in table.column_names), None)
        if key is None:
            raise InputError(
                f"{path} has no column that numbers its episodes; expected one of {', '.join(EPISODE_COLUMNS)}, got "
                f"{', '.join(table.column_names)}"
            )
        ids = table[key].to_numpy()
        edges = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)] if len(ids) else []
        for number, (start, stop) in enumerate(itertools.pairwise(edges)):
            part = table.slice(start, stop - start)
            where = Where(path, number=number)
            try:
                steps = {c: _column(part[c]) for c in part.column_names if c != key}
            except ValueError as error:
                yield BadRecord(where, "features", str(error))
            else:
                yield Episode(steps, {"dataset": name, "episode": ids[start].item()}, where)


def _column(column: pa.ChunkedArray) -> np.ndarray | list[bytes]:
    """A step column: (T, D) for lists, (T,) for numbers, bytes for texts."""
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type) or pa.types.is_large_list(column.type):
        return np.stack([np.asarray(row) for row in column.to_pylist()])
    if pa.types.is_string(column.type):
        return [value.encode() for value in column.to_pylist()]
    return column.to_pylist() if pa.types.is_binary(column.type) else column.to_numpy()
