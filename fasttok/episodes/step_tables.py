"""Reads Parquet files whose rows are steps: the rows of each episode, in the order of their frame numbers.

If the rows of a file are out of order or the episodes are interleaved, they are sorted by an episode column and a frame column;
without these they are refused. A file that is in order is read in pieces, so memory does not grow with it.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fasttok.common import stores
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.episodes.episode import UNREADABLE, BadRecord, Where
from fasttok.episodes.order import EPISODE_COLUMNS, FRAME_COLUMNS, frame_column
from fasttok.errors import InputError

BATCH_ROWS = 16_384
LISTS = (
    pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view, pa.types.is_large_list_view,
)  # fmt: skip
BYTES = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view,
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary,
)  # fmt: skip
Wanted = Callable[[pa.Schema], list[str]]  # the columns to read


class UnreadableFileError(InputError):
    """A file that is damaged or is not of its format."""


def parquet_batches(path: str, wanted: Wanted | None = None) -> Iterator[tuple[str, pa.Table]]:
    """Yields (name of the column that numbers episodes, some rows) of a Parquet file. The rows of an episode follow each other.

    Args:
        path: path or URL of the file.
        wanted: function from the schema to the columns to read; all columns by default.

    Raises:
        UnreadableFileError: the file is damaged, is not a Parquet file, or has no column that numbers the episodes.
        InputError: that column has an unexpected type or missing values, or nothing says how to put the rows in order.
    """
    try:
        with stores.open_file(path) as stream, pq.ParquetFile(stream) as file:
            key, frame = _key(path, file.schema_arrow), frame_column(file.schema_arrow.names)
            names = None if wanted is None else wanted(file.schema_arrow)
            if _grouped(path, key, file.read([key])[key]):
                for batch in file.iter_batches(BATCH_ROWS, columns=names):
                    yield key, pa.Table.from_batches([batch])
            else:
                yield key, _sorted(path, key, frame, file, names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if stores.tells_of_store(error):
            raise  # a disk or a network that fails says nothing about the file
        refuse_pointer_at(path)
        why = str(error).split("\n")[0].rstrip(".")
        raise UnreadableFileError(f"is not a readable Parquet file ({why})") from None


def episode_tables(
    paths: list[str], across: bool = False, wanted: Wanted | None = None
) -> Iterator[tuple[Where, str, pa.Table] | BadRecord]:
    """Yields (where it begins, name of the column that numbers episodes, its rows) of each episode.

    For a file that cannot be read, it yields a BadRecord. The last episode before such a file may continue in it; only the caller
    can know how long that episode should be.

    Args:
        paths: Parquet files, in order.
        across: whether an episode may continue in the next file.
        wanted: function from the schema to the columns to read; all columns by default.

    Raises:
        InputError: the numbers of episodes are missing or of an unexpected type, or the rows of an episode do not follow each
            other.
    """
    run = _Run(across, wanted)
    for path in paths:
        try:
            yield from run.file(path)
        except UnreadableFileError as error:
            lost = f"; {run.count - 1} episodes before the damage were read" if run.count > 1 else ""
            yield from run.ended()
            yield BadRecord(Where(path, number=max(0, run.count - 1)), UNREADABLE, f"{error}{lost}")
    if run.parts:
        yield run.where, run.key, in_order(run.parts)


@dataclass(frozen=True, eq=False)
class FileEnds:
    """First and last row of a Parquet file in the order of reading, with only the columns that number episodes and frames.

    Attributes:
        path: path or URL of the file.
        key: name of the column that numbers episodes.
        first: the first row.
        last: the last row.
    """

    path: str
    key: str
    first: pa.Table
    last: pa.Table


def file_ends(path: str) -> FileEnds | None:
    """Returns the ends of a Parquet file; None if it has no rows, or cannot be read, which its reader reports."""

    def numbering(schema: pa.Schema) -> list[str]:
        return [*filter(None, (_key(path, schema), frame_column(schema.names)))]

    found: FileEnds | None = None
    try:
        for key, batch in parquet_batches(path, numbering):
            if len(batch):
                first = batch.slice(0, 1) if found is None else found.first
                found = FileEnds(path, key, first, batch.slice(len(batch) - 1))
    except (InputError, OSError):
        return None
    return found


def refuse_crossing(files: Sequence[FileEnds | None]) -> None:
    """Checks that no episode begins in one file and goes on in the next, for readers that read each file alone.

    Args:
        files: ends of the files, in order.

    Raises:
        InputError: an episode does; the error is that of `episode_tables`, which names the second file.
    """
    for before, after in itertools.pairwise(files):
        if before is not None and after is not None:
            _refuse_rest(before.last, after.key, after.first, after.path)


class _Run:
    """The episode that is being read, and what came before it.

    Attributes:
        across: whether an episode may continue in the next file.
        parts: rows of the episode so far.
        where: where the episode begins.
        key: name of the column that numbers episodes.
        count: number of episodes of this file that have begun.
    """

    def __init__(self, across: bool, wanted: Wanted | None) -> None:
        self.across, self._wanted = across, wanted
        self.parts: list[pa.Table] = []
        self.where, self.key, self.count = Where(""), "", 0
        self._seen: set[Any] = set()
        self._before: pa.Table | None = None
        self._here = False  # whether rows of this file are in `parts`

    def file(self, path: str) -> Iterator[tuple[Where, str, pa.Table]]:
        """Yields the episodes that end in a file, or ended with the file before."""
        if not self.across:
            if self.parts:
                yield self.where, self.key, in_order(self.parts)
            self._before, self.parts, self._seen = self.parts[-1] if self.parts else None, [], set()
        self.count, self._here = 0, False
        for key, batch in parquet_batches(path, self._wanted):
            self.key = key
            if self._before is not None:
                _refuse_rest(self._before, key, batch, path)
                self._before = None
            for start, stop in _runs(batch[key].to_numpy()):
                number = batch[key][start].as_py()
                if self.parts and number != self.parts[0][key][0].as_py():
                    yield self.where, key, in_order(self.parts)
                    self.parts = []
                if not self.parts:
                    if number in self._seen:
                        raise InputError(
                            f"{path}: {key} {number!r} goes on after other episodes, in this or an earlier file; the rows of "
                            "an episode must follow each other: sort the rows by episode and write the files again"
                        )
                    self._seen.add(number)
                    self.where, self.count = Where(path, number=self.count), self.count + 1
                self.parts.append(batch.slice(start, stop - start))
                self._here = True

    def ended(self) -> Iterator[tuple[Where, str, pa.Table]]:
        """Yields the last episode of the files before a damaged file, unless the damaged file added rows to it.

        An episode to which it added rows is lost.
        """
        if self.parts and not self._here:
            yield self.where, self.key, in_order(self.parts)
        self.parts, self._before, self._here = [], None, False


def in_order(parts: list[pa.Table]) -> pa.Table:
    """Returns the rows of one episode, sorted by frame number if a column has one and no number occurs twice."""
    table = pa.concat_tables(parts)
    frame = frame_column(table.column_names)
    if not frame or not _numbers(table.schema.field(frame).type):
        return table
    frames = table[frame].to_numpy().astype(np.float64)  # differences of unsigned numbers are never negative
    if (np.diff(frames) > 0).all() or len(np.unique(frames)) < len(frames):
        return table
    return table.sort_by(frame)


def step_columns(table: pa.Table, number: str) -> dict[str, NDArray[Any] | list[bytes]]:
    """Returns the columns of one episode's rows, without the column `number`, which numbers the episodes.

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
    twin = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if twin is not None:
        raise UnreadableFileError(f"has several columns called {twin!r}; give each column a name of its own")
    key = next((column for column in EPISODE_COLUMNS if column in schema.names), "")
    if not key:
        raise UnreadableFileError(
            f"has no column that numbers its episodes; expected one of {', '.join(EPISODE_COLUMNS)}, got "
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
    """Returns whether the rows of each episode follow each other."""
    if column.null_count or (pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py()):
        raise InputError(
            f"{path}: column {key!r} has rows without a value, so their episode is not known; fill them in"
        )
    ids = column.to_numpy()
    starts = [ids[start] for start, _ in _runs(ids)]
    return len(set(starts)) == len(starts)


def _sorted(path: str, key: str, frame: str, file: pq.ParquetFile, names: list[str] | None) -> pa.Table:
    found = f"{path}: the rows of an episode ({key!r}) do not follow each other"
    if not frame:
        raise InputError(
            f"{found}, and no column numbers their steps ({', '.join(FRAME_COLUMNS)}); sort the rows by episode and step"
        )
    table = file.read(names)
    pairs = table.select([key, frame]).group_by([key, frame], use_threads=False).aggregate([([], "count_all")])
    if len(pairs) < len(table):
        twice = pairs.filter(pc.greater(pairs["count_all"], 1)).slice(0, 1).to_pylist()[0]
        raise InputError(
            f"{found}, and {key} {twice[key]!r} has {frame} {twice[frame]!r} {twice['count_all']} times: are these several "
            "recordings with the same numbers? Give each episode a number of its own"
        )
    return table.sort_by([(key, "ascending"), (frame, "ascending")])


def _refuse_rest(before: pa.Table, key: str, batch: pa.Table, path: str) -> None:
    """Refuses a file that continues the last episode of the file before, which its frame numbers show."""
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
    """Returns a step column: (T, D) for lists, (T, ...) for lists of lists, (T,) for numbers, T bytes objects for texts.

    A missing text is b"".
    """
    if pa.types.is_dictionary(column.type):  # its to_numpy() gives another row's value for a missing one
        column = column.cast(column.type.value_type)
    if any(is_list(column.type) for is_list in LISTS):
        return _stacked(column)
    if any(is_bytes(column.type) for is_bytes in BYTES):
        return [value or b"" for value in column.cast(pa.large_binary()).to_pylist()]
    values: NDArray[Any] = column.to_numpy()
    return values


def _stacked(column: pa.ChunkedArray) -> NDArray[Any]:
    """Stacks lists to one array. If a row is missing, all of its numbers are None, and the array has dtype object."""
    rows = [None if value is None else np.asarray(value) for value in column.to_pylist()]
    present = [row for row in rows if row is not None]
    shapes = sorted({row.shape for row in present})
    if len(shapes) > 1:
        raise ValueError(f"rows of different shapes, {shapes[0]} and {shapes[1]}")
    if len(present) == len(rows):
        return np.stack(present)
    if not present:
        raise ValueError("no row has a value")
    lost = np.full(shapes[0], None, object)
    return np.stack([lost if row is None else row for row in rows])
