"""Reads and writes chunks and ids in batches: npz, Parquet, JSON lines, stdin and stdout. A few MB of memory suffice for GBs.

chunks: npz `actions` (n, T, D); Parquet and JSON lines `actions`, per row T lists of D numbers
ids:    npz `ids` (all rows concatenated) and `lengths` (n,); Parquet and JSON lines `ids`, one list per row; and what made
        them, see `ids_origin`
Decoded rows also have `ok` and, in JSON lines, `error`. Files of relative chunks, and of their ids, also have `reference`
or `state`, see `state_column`.
"""

import contextlib
import io
import itertools
import json
import math
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, TextIO, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import DTypeLike, NDArray

from fasttok.actions.chunks import stacks
from fasttok.codec.bpe import split
from fasttok.common import json_files
from fasttok.common.archive_damage import DAMAGE
from fasttok.common.lasting_stdout import stdout_that_ends
from fasttok.common.lfs_pointer import refuse_pointer, refuse_pointer_at
from fasttok.common.output_file import half_written, make_folder
from fasttok.common.temporary import unnamed_file
from fasttok.errors import InputError
from fasttok.storage.ids_origin import KEY, STRUCT, IdsOrigin, parse

BATCH = 4096
LONGEST_TEXT = 1 << 16  # bytes
FileKind = Literal["npz", "parquet", "jsonl"]
FILE_KINDS: tuple[FileKind, ...] = get_args(FileKind)


def kind_of(path: str) -> FileKind:
    """Returns the kind of a file by its suffix: npz, parquet or jsonl; "-" (stdin, stdout) is jsonl.

    Raises:
        InputError: the path has another suffix.

    >>> kind_of("ids.npz"), kind_of("-")
    ('npz', 'jsonl')
    """
    if path == "-":
        return "jsonl"
    for kind in FILE_KINDS:
        if Path(path).suffix == f".{kind}":
            return kind
    endings = ", ".join(f".{kind}" for kind in FILE_KINDS)
    raise InputError(f"{path}: expected a name that ends in {endings}, or - for JSON lines on stdin or stdout")


def read_chunks(path: str) -> Iterator[NDArray[Any]]:
    """Yields batches (n, T, D); T and D may change from one batch to the next, except in npz.

    Raises:
        InputError: the file cannot be read, a row is not a chunk, or a value is NaN or inf (the message names its place).
    """
    if kind_of(path) == "npz":
        with NpzFile(path) as archive:
            yield from _finite(path, archive.rows("actions", 3))
        return
    yield from _finite(path, stacks((_chunk(path, *row) for row in read_column(path, "actions")), BATCH))


def _finite(path: str, batches: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    first = 0
    for chunks in batches:
        bad = np.argwhere(~np.isfinite(chunks))
        if len(bad):
            b, t, d = bad[0]
            raise InputError(
                f"{path}: chunk {first + b}, step {t}, dim {d}: actions is {chunks[b, t, d]}, expected a finite number; "
                "repair or remove the chunk"
            )
        first += len(chunks)
        yield chunks


def _chunk(path: str, number: int, row: Any) -> NDArray[np.float64]:
    try:
        chunk = np.asarray(row, np.float64)
    except (ValueError, TypeError, OverflowError):  # OverflowError: a whole number beyond float64
        chunk = np.zeros(0)
    if chunk.ndim != 2:
        raise InputError(f"{path}: row {number}: actions are not T lists of D numbers each")
    return chunk


def read_ids(path: str) -> Iterator[list[NDArray[np.int64]]]:
    """Yields batches of rows of ids, whatever made them.

    Raises:
        InputError: the file cannot be read, or a row is not ids.
    """
    return (rows for _, rows in read_encoded(path))


def read_encoded(path: str) -> Iterator[tuple[IdsOrigin | None, list[NDArray[np.int64]]]]:
    """Yields (what made the ids, or None if the file does not say; a batch of rows of ids).

    Raises:
        InputError: the file cannot be read, or a row is not ids.
    """
    if kind_of(path) == "npz":
        with NpzFile(path) as archive, NpzFile(path) as other:
            origin = parse(archive.text(KEY) if KEY in archive.names else None, path)
            flat = archive.values("ids")
            if flat.dtype.kind not in "iu":
                raise InputError(f"{path}: ids is {flat.dtype}, expected whole numbers")
            for lengths in other.rows("lengths", 1):
                if lengths.dtype.kind not in "iu":
                    raise InputError(f"{path}: lengths is {lengths.dtype}, expected whole numbers")
                if (lengths < 0).any():
                    raise InputError(f"{path}: negative lengths")
                yield origin, split(flat.take(sum(lengths.tolist())), lengths)
            if flat.left:
                raise InputError(f"{path}: {flat.left} ids more than the lengths say")
        return
    for origin, rows in itertools.groupby(_id_rows(path), lambda row: row[0]):
        while batch := [ids for _, ids in itertools.islice(rows, BATCH)]:
            yield origin, batch


def _id_rows(path: str) -> Iterator[tuple[IdsOrigin | None, NDArray[np.int64]]]:
    said: Any = None
    origin = None
    for number, row, now in read_columns(path, "ids", KEY):
        try:
            if not isinstance(row, list) or not all(type(i) is int for i in row):
                raise OverflowError
            ids = np.array(row, np.int64)
        except OverflowError:
            raise InputError(f"{path}: row {number}: ids are not a list of whole numbers") from None
        if now != said:
            said, origin = now, parse(now, f"{path}: row {number}")
        yield origin, ids


def read_column(path: str, field: str) -> Iterator[tuple[int, Any]]:
    """Yields (number, value of the field) of each row of Parquet or JSON lines."""
    return ((number, value) for number, value, _ in read_columns(path, field))


def read_columns(path: str, field: str, also: str = "") -> Iterator[tuple[int, Any, Any]]:
    """Yields what `read_column` yields, and the value of another field, None if it is missing."""
    if kind_of(path) == "parquet":
        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException, ValueError) as error:
            refuse_pointer_at(path)
            raise InputError(f"{path} is not a readable Parquet file: {error}") from None
        with file:
            yield from _parquet_rows(file, path, field, also)
        return
    with _open_lines(path) as stream:
        for number, line in enumerate(_lines(stream, path)):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                yield number, row[field], row.get(also)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                refuse_pointer(line, path)
                raise InputError(f"{path}: line {number + 1} is not a JSON object with {field!r}: {error}") from None


def _parquet_rows(file: pq.ParquetFile, path: str, field: str, also: str) -> Iterator[tuple[int, Any, Any]]:
    number = 0
    try:
        names = file.schema_arrow.names
        if field not in names:
            raise InputError(f"{path} has no column {field!r}; it has {', '.join(names)}")
        for name in (field, also):
            if names.count(name) > 1:
                raise InputError(f"{path} has several columns called {name!r}; give each column a name of its own")
        for batch in file.iter_batches(BATCH, columns=[field, *([also] if also in names else [])]):
            values = batch.column(field).to_pylist()
            others = batch.column(also).to_pylist() if also in names else itertools.repeat(None)
            for value, other in zip(values, others, strict=False):
                yield number, value, other
                number += 1
    except InputError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:  # ValueError: a text that is not UTF-8
        raise InputError(f"{path} is damaged after row {number}: {error}; copy or write the file again") from None


def _lines(stream: TextIO, path: str) -> Iterator[str]:
    try:
        for number, line in enumerate(stream):
            yield line if number else line.removeprefix("\ufeff")  # stdin may begin with a byte order mark, too
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not JSON lines: byte {error.start} of a block is not UTF-8 text") from None


def _open_lines(path: str) -> TextIO:
    try:
        return sys.stdin if path == "-" else Path(path).open(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


@contextmanager
def _damage_is_said(what: str) -> Iterator[None]:
    """Turns what a damaged archive raises into an error that says so."""
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{what} is damaged: {error or type(error).__name__}; copy or write the file again") from None


class NpzFile:
    """Reads arrays of an npz file piece by piece. It unpickles nothing."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except DAMAGE as error:
            refuse_pointer_at(path)
            raise InputError(f"{path} is not a readable npz: {error}") from None

    def __enter__(self) -> "NpzFile":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return [name.removesuffix(".npy") for name in self._zip.namelist() if name.endswith(".npy")]

    def text(self, name: str) -> str:
        """Reads an array that is one short text.

        Raises:
            InputError: the array is something else.
        """
        stream, shape, _, dtype = self._opened(name)
        with stream, _damage_is_said(f"{self.path}: {name}"):
            raw = stream.read(LONGEST_TEXT)
        if dtype.kind != "U" or shape != () or len(raw) != dtype.itemsize:
            raise InputError(f"{self.path}: {name} is {dtype} {shape}, expected one short text")
        return str(np.frombuffer(raw, dtype)[0])

    def _opened(self, name: str) -> tuple[IO[bytes], tuple[int, ...], bool, np.dtype[Any]]:
        """Returns (stream at the first value, shape, whether in Fortran order, dtype) of an array."""
        if name not in self.names:
            raise InputError(f"{self.path} has no array {name!r}; it has {', '.join(self.names) or 'none'}")
        with _damage_is_said(f"{self.path}: {name}"):
            stream = self._zip.open(f"{name}.npy")
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(stream)
            if min(shape, default=0) < 0:
                raise ValueError(f"its shape is {shape}")
            return stream, shape, fortran, dtype

    def rows(self, name: str, ndim: int) -> Iterator[NDArray[Any]]:
        """Yields batches along the first axis."""
        values = self.values(name)
        if len(values.shape) != ndim:
            raise InputError(f"{self.path}: {name} has shape {values.shape}, expected {ndim} axes")
        width = math.prod(values.shape[1:])
        step = max(1, min(BATCH, (1 << 22) // max(1, width)))
        for start in range(0, values.shape[0], step):
            count = min(step, values.shape[0] - start)
            yield values.take(count * width).reshape(count, *values.shape[1:])

    def values(self, name: str) -> "NpzArray":
        """Opens an array, to read it from its beginning.

        Raises:
            InputError: there is no such array, or it is not an array of plain numbers.
        """
        stream, shape, fortran, dtype = self._opened(name)
        if dtype.kind not in "fiub":
            raise InputError(f"{self.path}: {name} is {dtype}; expected plain numbers")
        if fortran and len(shape) > 1:  # such as a choice of columns; it has to be in memory to be transposed
            with _damage_is_said(f"{self.path}: {name}"):
                columns = np.frombuffer(stream.read(), dtype)
            if columns.size == math.prod(shape):
                stream = io.BytesIO(np.ascontiguousarray(columns.reshape(shape[::-1]).T).tobytes())
        return NpzArray(stream, shape, dtype, f"{self.path}: {name}")


class NpzArray:
    """The numbers of one array, in order."""

    def __init__(self, stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
        self._stream, self.shape, self.dtype, self._where = stream, shape, dtype, where
        self.left = math.prod(shape)

    def take(self, count: int) -> NDArray[Any]:
        """Returns the next `count` numbers.

        Raises:
            InputError: there are fewer numbers left.
        """
        with _damage_is_said(self._where):
            raw = b"" if count > self.left else self._stream.read(count * self.dtype.itemsize)
        if len(raw) < count * self.dtype.itemsize:
            raise InputError(f"{self._where} ends early: {count} more values expected, {self.left} there")
        self.left -= count
        return np.frombuffer(raw, self.dtype)


class RowWriter:
    """Writes rows to a file that is complete or not there at all; a context manager."""

    def __init__(self, path: str, fields: dict[str, DTypeLike], row_shapes: Mapping[str, tuple[int, ...]] = {}) -> None:
        """Nothing is written until the first `write`.

        Args:
            path: .npz, .parquet, .jsonl, or - for JSON lines on stdout.
            fields: fields of each row, with the dtype that npz stores. "ids" may vary in length; other fields have equal shapes.
            row_shapes: shape of a row of fields that are more than one number per row, for a file in which no row is written.
        """
        self.path, self.kind, self.fields = path, kind_of(path), fields
        self._columns = {name: unnamed_file() for name in fields} if self.kind == "npz" else {}
        self._row_shapes = row_shapes
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._counts = dict.fromkeys(fields, 0)
        self._temporary: Path | None = None
        self._name = contextlib.ExitStack()
        self._parquet: pq.ParquetWriter | None = None
        self._lines: Any = None
        self._origin: IdsOrigin | None = None

    def __enter__(self) -> "RowWriter":
        if self.path != "-":
            make_folder(self.path)
            self._temporary = self._name.enter_context(half_written(Path(self.path)))
        if self.kind == "jsonl":
            self._lines = stdout_that_ends() if self._temporary is None else self._temporary.open("w", encoding="utf-8")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._lines is not None and self._temporary is not None:
                self._lines.close()
            elif self._lines is not None and kind is None:
                self._lines.flush()
            if kind is None and self.kind == "parquet" and self._parquet is None:
                self._parquet = pq.ParquetWriter(str(self._temporary), self._schema())
            if self._parquet is not None:
                self._parquet.close()
            if kind is None and self._temporary is not None:
                if self.kind == "npz":
                    self._join()
                self._temporary.replace(self.path)
                self._temporary = None
        finally:
            for column in self._columns.values():
                column.close()
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)
            self._name.close()

    def write(self, origin: IdsOrigin | None = None, /, **columns: Sequence[Any] | NDArray[Any]) -> None:
        """Writes a batch: one sequence of rows for each field; `origin` is what made the ids."""
        if self.kind == "npz":
            self._origin = origin if self._origin is None or origin is None else self._origin.joined(origin)
            for name, rows in columns.items():
                array = np.concatenate([*rows]) if name == "ids" and len(rows) else np.asarray(rows)
                array = np.ascontiguousarray(array, self.fields[name])
                shape = array.shape[1:]
                if self._shapes.setdefault(name, shape) != shape:
                    raise InputError(f"{self.path}: chunks of {shape} after {self._shapes[name]}; write .jsonl instead")
                self._counts[name] += len(array)
                self._columns[name].write(array.data)
            return
        plain = {name: [_plain(row) for row in rows] for name, rows in columns.items() if name != "lengths"}
        made = [] if origin is None else [json_files.encode(origin)] * len(next(iter(plain.values())))
        if self.kind == "parquet":
            plain.pop("error", None)
            table = pa.table(plain)
            if origin is not None:
                table = table.append_column(KEY, pa.array(made, STRUCT))
            if self._parquet is None:
                self._parquet = pq.ParquetWriter(str(self._temporary), table.schema)
            self._parquet.write_table(table)
            return
        if origin is not None:
            plain[KEY] = made
        for values in zip(*plain.values(), strict=True):
            self._lines.write(json.dumps(dict(zip(plain, values, strict=True))) + "\n")

    def _schema(self) -> pa.Schema:
        """Returns the schema of a Parquet file without rows: that which pyarrow gives to rows of plain numbers."""
        columns = []
        for name, dtype in self.fields.items():
            if name not in ("lengths", "error"):
                column = {"b": pa.bool_(), "i": pa.int64(), "f": pa.float64()}[np.dtype(dtype).kind]
                for _ in ("ids",) if name == "ids" else self._row_shapes.get(name, ()):
                    column = pa.list_(column)
                columns.append((name, column))
        return pa.schema(columns)

    def _join(self) -> None:
        with zipfile.ZipFile(str(self._temporary), "w", allowZip64=True) as archive:
            for name, column in self._columns.items():
                if name == "error":
                    continue
                column.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                    shape = self._shapes.get(name, self._row_shapes.get(name, ()))
                    _copy_npy(column, stream, (self._counts[name], *shape), np.dtype(self.fields[name]))
            if self._origin is not None:
                with archive.open(f"{KEY}.npy", "w") as stream:
                    text = np.array(json.dumps(json_files.encode(self._origin)))
                    np.lib.format.write_array(stream, text, allow_pickle=False)


def _copy_npy(column: IO[bytes], stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    shutil.copyfileobj(column, stream, 1 << 20)


def _plain(row: Any) -> Any:
    return row.tolist() if isinstance(row, np.ndarray | np.generic) else row
