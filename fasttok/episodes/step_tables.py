"""Parquet files whose rows are steps: the rows of each episode, in the order of their frames.

Rows of a file that are out of order or interleaved are sorted if an episode and a frame column say how; otherwise they are
refused. A file that is in order is read in pieces, so memory does not grow with it.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fasttok.common import stores
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.episodes.episode import Where
from fasttok.episodes.order import EPISODE_COLUMNS, FRAME_COLUMNS, frame_column
from fasttok.errors import InputError

BATCH_ROWS = 16_384


def parquet_batches(path: str) -> Iterator[tuple[str, pa.Table]]:
    """(the column that numbers episodes, some rows) of a Parquet file; the rows of an episode follow each other.

    Raises:
        InputError: not a Parquet file, no column numbers the episodes, or nothing says how to put its rows in order.
    """
    try:
        with stores.open_file(path) as stream:
            file = pq.ParquetFile(stream)
            key, frame = _key(path, file.schema_arrow), frame_column(file.schema_arrow.names)
            if _grouped(path, key, file.read([key])[key]):
                for batch in file.iter_batches(BATCH_ROWS):
                    yield key, pa.Table.from_batches([batch])
            else:
                yield key, _sorted(path, key, frame, file)
    except pa.ArrowException as error:
        refuse_pointer_at(path)
        raise InputError(f"{path} is not a parquet file: {error}") from None


def episode_tables(paths: list[str], across: bool = False) -> Iterator[tuple[Where, str, pa.Table]]:
    """(where it begins, the column that numbers episodes, its rows) of each episode.

    Args:
        paths: Parquet files, in order.
        across: whether an episode may go on in the next file.

    Raises:
        InputError: no column numbers the episodes, or the rows of an episode do not follow each other.
    """
    parts: list[pa.Table] = []
    where, key, count = Where(""), "", 0
    seen: set[Any] = set()
    before: pa.Table | None = None
    for path in paths:
        if not across:
            if parts:
                yield where, key, in_order(parts)
            before, parts, seen = parts[-1] if parts else None, [], set()
        count = 0
        for key, batch in parquet_batches(path):
            if before is not None:
                _refuse_rest(before, key, batch, path)
                before = None
            for start, stop in _runs(batch[key].to_numpy()):
                number = batch[key][start].as_py()
                if parts and number != parts[0][key][0].as_py():
                    yield where, key, in_order(parts)
                    parts = []
                if not parts:
                    if number in seen:
                        raise InputError(
                            f"{path}: {key} {number!r} goes on after other episodes, in this or an earlier file; the rows of "
                            "an episode must follow each other: sort the rows by episode and write the files again"
                        )
                    seen.add(number)
                    where, count = Where(path, number=count), count + 1
                parts.append(batch.slice(start, stop - start))
    if parts:
        yield where, key, in_order(parts)


def in_order(parts: list[pa.Table]) -> pa.Table:
    """One episode's rows by their frame, if a column numbers them and each number is there once."""
    table = pa.concat_tables(parts)
    frame = frame_column(table.column_names)
    if not frame or not _numbers(table.schema.field(frame).type):
        return table
    frames = table[frame].to_numpy().astype(np.float64)  # differences of unsigned numbers are never negative
    if (np.diff(frames) > 0).all() or len(np.unique(frames)) < len(frames):
        return table
    return table.sort_by(frame)


def step_columns(table: pa.Table, number: str) -> dict[str, NDArray[Any] | list[bytes]]:
    """The columns of one episode's rows, without the one that numbers episodes.

    Raises:
        ValueError: the lists of a column differ in length.

    >>> step_columns(pa.table({"episode": [0, 0], "action": [[1.0, 2.0], [3.0, 4.0]]}), "episode")["action"].shape
    (2, 2)
    """
    columns: dict[str, NDArray[Any] | list[bytes]] = {}
    for name in table.column_names:
        if name != number:
            try:
                columns[name] = _column(table[name])
            except ValueError as error:
                raise ValueError(f"column {name!r}: {error}") from None
    return columns


def _key(path: str, schema: pa.Schema) -> str:
    key = next((column for column in EPISODE_COLUMNS if column in schema.names), "")
    if not key:
        raise InputError(
            f"{path} has no column that numbers its episodes; expected one of {', '.join(EPISODE_COLUMNS)}, got "
            f"{', '.join(schema.names)}"
        )
    kind = schema.field(key).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (_numbers(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"{path}: column {key!r} is {kind}, expected the number or the name of each row's episode")
    return key


def _numbers(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _runs(ids: NDArray[Any]) -> Iterator[tuple[int, int]]:
    edges = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)] if len(ids) else []
    yield from itertools.pairwise(edges)


def _grouped(path: str, key: str, column: pa.ChunkedArray) -> bool:
    """Whether the rows of each episode follow each other."""
    if column.null_count or (pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py()):
        raise InputError(
            f"{path}: column {key!r} has rows without a value, so their episode is not known; fill them in"
        )
    ids = column.to_numpy()
    starts = [ids[start] for start, _ in _runs(ids)]
    return len(set(starts)) == len(starts)


def _sorted(path: str, key: str, frame: str, file: pq.ParquetFile) -> pa.Table:
    found = f"{path}: the rows of an episode ({key!r}) do not follow each other"
    if not frame:
        raise InputError(
            f"{found}, and no column numbers their steps ({', '.join(FRAME_COLUMNS)}); sort the rows by episode and step"
        )
    table = file.read()
    pairs = table.select([key, frame]).group_by([key, frame], use_threads=False).aggregate([([], "count_all")])
    if len(pairs) < len(table):
        twice = pairs.filter(pc.greater(pairs["count_all"], 1)).slice(0, 1).to_pylist()[0]
        raise InputError(
            f"{found}, and {key} {twice[key]!r} has {frame} {twice[frame]!r} {twice['count_all']} times: are these several "
            "recordings with the same numbers? Give each episode a number of its own"
        )
    return table.sort_by([(key, "ascending"), (frame, "ascending")])


def _refuse_rest(before: pa.Table, key: str, batch: pa.Table, path: str) -> None:
    """Refuses a file that goes on with the last episode of the file before, which numbered frames tell."""
    frame = frame_column(batch.column_names)
    if not frame or not len(batch) or frame not in before.column_names or key not in before.column_names:
        return
    last, first = before[frame][-1].as_py(), batch[frame][0].as_py()
    if before[key][-1].as_py() == batch[key][0].as_py() and isinstance(last, int | float) and first == last + 1:
        raise InputError(
            f"{path} begins with {frame} {first} of {key} {batch[key][0].as_py()!r}, whose first steps are in the file before; "
            "an episode must not cross files, except in a LeRobot folder: write each episode into one file"
        )


def _column(column: pa.ChunkedArray) -> NDArray[Any] | list[bytes]:
    """A step column: (T, D) for lists, (T, ...) for lists of lists, (T,) for numbers, bytes for texts."""
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type) or pa.types.is_large_list(column.type):
        rows = [np.asarray(row) for row in column.to_pylist()]
        shapes = sorted({row.shape for row in rows})
        if len(shapes) > 1:
            raise ValueError(f"rows of different shapes, {shapes[0]} and {shapes[1]}")
        return np.stack(rows)
    if pa.types.is_string(column.type):
        return [value.encode() for value in column.to_pylist()]
    values: NDArray[Any] | list[bytes] = column.to_pylist() if pa.types.is_binary(column.type) else column.to_numpy()
    return values
