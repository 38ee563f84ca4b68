"""Reads Parquet files as Hugging Face writes them: a column of images ({bytes, path}, binary, or a list of one), and texts.

A row is a record. With `conversations: COLUMN`, every pair of turns in that column is a record, as in `llava.py`. An image's
`path` is a label and is not read, so a row without bytes is rejected. The place of an image is the number of its row in the
file. A job is a range of row groups.

Memory: a batch of `BATCH` rows, and what Arrow keeps of the row group's pages. When single rows are read, it keeps a row group
of at most `KEPT` bytes, or the last batch of a larger one.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.episodes import BadRecord, Where
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import InputError, unknown_name
from pipelines.common.files import filesystem
from pipelines.vlm import llava
from pipelines.vlm.confined_folder import ConfinedFolder
from pipelines.vlm.image_files import ReadImage, check_image, unchanged
from pipelines.vlm.record import (
    PARTS,
    ImagePlace,
    Range,
    RecordError,
    SourceFile,
    Unwanted,
    VlmRecord,
    answer_of,
    id_of,
    rejected,
    shown,
    texts,
)
from pipelines.vlm.values import FieldValue

ROWS_PER_JOB = 10_000
BATCH = 32
KEPT = 1 << 28


def ranges(source: SourceFile) -> list[Range]:
    """Cuts the file into ranges of row groups: (first, one past the last, number of the first row).

    Raises:
        InputError: the file is not Parquet, lacks a column that the entry names, or has numbers of classes as answers.
    """
    fs, path = filesystem(source.file)
    try:
        with fs.open(path, "rb") as stream:
            metadata = pq.read_metadata(stream)
            schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        refuse_pointer_at(source.file)
        raise InputError(f"{source.file}: expected a Parquet file, got {error}") from None
    columns = set(schema.names)
    for column in sorted(class_numbers(schema) & {source.entry.target, source.entry.answers}):
        raise InputError(
            f"{source.file}: the column {column!r} has numbers of classes; write the names of the classes to a column of texts, "
            "and name that column"
        )
    for column in wanted(source.entry):
        if column not in columns and column != source.entry.id:
            raise unknown_name(
                "column", column, columns, f"of {source.file}; the entry of {source.entry.name} names it"
            )
    found: list[Range] = []
    start = first = row = 0
    for group in range(metadata.num_row_groups):
        row += metadata.row_group(group).num_rows
        if row - first >= ROWS_PER_JOB or group == metadata.num_row_groups - 1:
            found.append((start, group + 1, first))
            start, first = group + 1, row
    return found or [(0, 0, 0)]


def class_numbers(schema: pa.Schema) -> set[str]:
    """Returns the columns that are numbers of classes, by what Hugging Face's datasets say of their columns in a file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name for name, feature in features.items() if feature["_type"] == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return set()


def wanted(entry: DatasetEntry) -> list[str]:
    """Returns the columns that the entry names."""
    names: list[str | None] = [entry.image, entry.id]
    names += [entry.conversations] if entry.conversations else [entry.prompt, entry.target, entry.answers]
    return [name for name in dict.fromkeys(names) if name]


def read(source: SourceFile, span: Range) -> Iterator[VlmRecord | BadRecord]:
    """Yields the records of a range of row groups."""
    start, stop, number = span
    path = ConfinedFolder(source.directory).relative(source.file)
    fs, name = filesystem(source.file)
    with fs.open(name, "rb") as stream:
        file = pq.ParquetFile(stream)
        columns = [column for column in wanted(source.entry) if column in file.schema_arrow.names]
        for group in range(start, file.num_row_groups if stop is None else stop):
            last = number + file.metadata.row_group(group).num_rows
            try:
                for batch in file.iter_batches(BATCH, row_groups=[group], columns=columns):
                    for row in rows(batch):
                        yield from _records(source, path, number, row)
                        number += 1
            except (pa.ArrowException, OSError) as error:
                where = Where(source.file, number=number)
                yield BadRecord(where, "parquet", f"row group {group}: {error}", last - number)
                number = last


def rows(batch: pa.RecordBatch) -> Iterator[dict[str, FieldValue] | RecordError]:
    """Yields a batch's rows as plain values. A row with a text that is not UTF-8 becomes a RecordError."""
    columns = [
        column.cast(pa.string()).cast(pa.float64()) if pa.types.is_float32(column.type) else column
        for column in batch.columns  # so 0.1 is 0.1, and not the 0.10000000149011612 that its bits are
    ]
    batch = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass
    for i in range(len(batch)):
        try:
            yield batch.slice(i, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield RecordError("language", f"not UTF-8: {error}")


def _records(
    source: SourceFile, path: str, number: int, row: dict[str, FieldValue] | RecordError
) -> Iterator[VlmRecord | BadRecord]:
    entry, where = source.entry, Where(source.file, number=number)
    start = replace(where, number=number * PARTS) if entry.conversations else where
    try:
        if isinstance(row, RecordError):
            raise row
        if entry.conversations and has_no_image(row.get(entry.image)):
            yield Unwanted(start, "no image", f"column {entry.image!r} is empty")
            return
        name = id_of(row, entry.id, number)
        data = check_image(image_bytes(row.get(entry.image), entry.image), "")
        place = ImagePlace(path, number, len(data))
        if not entry.conversations:
            yield VlmRecord(where, name, place, data, *texts(entry, row))
            return
        found = llava.pairs(row.get(entry.conversations))
    except RecordError as error:
        yield rejected(start, error)
        return
    for turn, (ask, answer) in enumerate(found if entry.turns == "each" else found[:1]):
        at = replace(start, number=start.number + turn)
        try:
            yield VlmRecord(
                at, f"{name}/{turn}", place, data, llava.question(ask), answer_of(answer, entry.conversations)
            )
        except RecordError as error:
            yield rejected(at, error)


def has_no_image(value: object) -> bool:
    """Whether a cell says that a row has no image, as rows of text only have among conversations about images.

    >>> has_no_image(None), has_no_image([]), has_no_image({"bytes": None, "path": None}), has_no_image({"path": "a.jpg"})
    (True, True, True, False)
    """
    return value is None or value == [] or (isinstance(value, dict) and not any(value.values()))


def image_bytes(value: object, column: str) -> bytes:
    """Returns the encoded image of a cell.

    Raises:
        RecordError: the cell has no image, several, or only a path.
    """
    if isinstance(value, list):
        if len(value) != 1:
            raise RecordError("image", f"column {column!r} contains {len(value)} images, a row has one")
        value = value[0]
    if isinstance(value, dict):
        if value.get("bytes") is None and value.get("path"):
            raise RecordError("image", f"column {column!r} contains only the path {shown(value['path'])}, no bytes")
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise RecordError("image", f"column {column!r} contains no image")
    return value


def open_images(entry: DatasetEntry, directory: str) -> ReadImage:
    """Returns a function (path, row, length) -> (encoded bytes, "") or (b"", what is wrong)."""
    cells = ParquetCells(directory, entry.image)

    def read(path: str, offset: int, length: int) -> tuple[bytes, str]:
        try:
            return check_image(unchanged(image_bytes(cells.at(path, offset), entry.image), length), ""), ""
        except RecordError as error:
            return b"", str(error)
        except (pa.ArrowException, OSError) as error:
            return b"", f"not readable as Parquet: {error}"

    return read


class ParquetCells:
    """Reads single cells of a column in Parquet files. It keeps the last file open, and the rows around the last cell."""

    def __init__(self, directory: str, column: str) -> None:
        self._directory, self._column = ConfinedFolder(directory), column
        self._path = ""
        self._file: pq.ParquetFile | None = None
        self._starts = np.zeros(1, np.int64)
        self._rows, self._first = pa.chunked_array([], pa.binary()), 0

    def at(self, path: str, row: int) -> object:
        """Returns the cell of a row.

        Raises:
            RecordError: there is no such file or row.
        """
        if path != self._path or self._file is None:
            if self._file is not None:
                self._file.close(force=True)
            self._file, self._path = None, path
            self._file = pq.ParquetFile(self._directory.open(path))
            counts = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
            self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            self._rows = self._rows[:0]
        if not 0 <= row < self._starts[-1] or self._column not in self._file.schema_arrow.names:
            raise RecordError("image", f"no row {row} of column {self._column!r}: changed since the index")
        if not self._first <= row < self._first + len(self._rows):
            self._load(self._file, row)
        return self._rows[row - self._first].as_py()

    def _load(self, file: pq.ParquetFile, row: int) -> None:
        group = int(np.searchsorted(self._starts, row, "right")) - 1
        self._first = int(self._starts[group])
        self._rows = self._rows[:0]
        info = file.metadata.row_group(group)
        of_column = [info.column(i) for i in range(info.num_columns)]
        size = sum(c.total_uncompressed_size for c in of_column if c.path_in_schema.split(".")[0] == self._column)
        if size <= KEPT:
            self._rows = file.read_row_group(group, columns=[self._column])[self._column]
            return
        first = self._first
        for batch in file.iter_batches(BATCH, row_groups=[group], columns=[self._column]):
            if row < first + len(batch):
                self._first, self._rows = first, pa.chunked_array([batch.column(self._column)])
                return
            first += len(batch)
