"""Reads the rows of shards once, in storage order and with a progress display, for `stats`, `lint` and `inspect`."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fasttok import ActionTokenizer
from fasttok.common.console import progress
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.common.next_command import command
from fasttok.errors import InputError
from mixtures.quota import positions
from pipelines.common.files import filesystem, is_local, join
from pipelines.shards import ShardReader
from pipelines.shards.tokenizer import load_tokenizer


def shard_starts(reader: ShardReader) -> NDArray[np.int64]:
    """Returns (shards,) int64: the number of each shard's first row, in storage order."""
    rows = np.array([shard.rows for shard in reader.manifest.shards], np.int64)
    return np.cumsum(rows) - rows


def rows_of(reader: ShardReader, name: str, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns (m,) int64: storage-order numbers of a source's rows `index` (m,), which count only that source. Reads nothing."""
    column = reader.sources.index(name)
    counts = np.array([shard.rows_per_source[column] for shard in reader.manifest.shards], np.int64)
    ends = np.cumsum(counts)
    shards = np.searchsorted(ends, index, side="right")
    numbers = shard_starts(reader)[shards]
    for number in np.unique(shards).tolist():
        of = shards == number
        draws = index[of] - (ends[number] - counts[number])
        numbers[of] += positions(reader.manifest.shards[number].rows_per_source, np.full(len(draws), column), draws)
    return numbers


def scan(
    reader: ShardReader, description: str, shards: Sequence[int] | None = None
) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """Goes through shards, one record batch at a time.

    Args:
        reader: reader of the shards.
        description: what is done, for the progress display.
        shards: numbers of the shards, None for all.

    Yields:
        (number of the shard, row in it at which the batch begins, the batch).

    Columns that the caller does not use are never read from a local shard.
    """
    numbers = range(len(reader.manifest.shards)) if shards is None else shards
    total = sum(reader.manifest.shards[number].rows for number in numbers)
    with progress(description, total, "rows") as advance:
        for number in numbers:
            at = 0
            for batch in shard_batches(reader, number):
                yield number, at, batch
                at += batch.num_rows
                advance(batch.num_rows)


def shard_batches(reader: ShardReader, number: int) -> Iterator[pa.RecordBatch]:
    """Yields the record batches of one shard.

    A local shard is mapped into memory only while it is read. `ShardReader` keeps its shards open, so after reading all of them,
    all would look like used memory (and would count as such in a container).

    Raises:
        InputError: the file is not a shard, or is damaged.
    """
    url = join(reader.path, reader.manifest.shards[number].name)
    fs, path = filesystem(url)
    try:
        if not is_local(fs):
            batches = reader.record_batches(number)
        else:
            file = pa.ipc.open_file(pa.memory_map(path))
            if not file.schema.equals(reader.schema):
                raise InputError(f"{url}: its schema is not the record schema of this version")
            batches = map(file.get_batch, range(file.num_record_batches))
        for batch in batches:
            batch.validate(full=True)  # wrong lengths and offsets would crash whoever follows them
            yield batch
    except (OSError, pa.ArrowException) as error:
        refuse_pointer_at(url)
        raise InputError(
            f"{url}: cannot be read as a shard ({error}); see: {command('fasttok-pipelines', 'lint', reader.path)}"
        ) from None


def source_codes(batch: pa.RecordBatch, names: Sequence[str]) -> NDArray[np.int64]:
    """Returns (rows,) int64: the number of each row's source in `names`, -1 if it is not there."""
    numbers = pc.index_in(batch.column("source"), value_set=pa.array(names, pa.string()))
    codes: NDArray[np.int64] = numbers.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def lists(column: pa.ListArray, rows: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Returns (length of each chosen row, their values joined) of a list column; `rows`: (rows,) bool.

    >>> lists(pa.array([[1, 2], [3], []]), np.array([True, False, True]))
    (array([2, 0]), array([1, 2]))
    """
    lengths = np.asarray(column.value_lengths()).astype(np.int64)
    values = column.flatten().to_numpy(zero_copy_only=False)
    return lengths[rows], values[np.repeat(rows, lengths)]


def shards_tokenizer(reader: ShardReader) -> tuple[ActionTokenizer | None, str]:
    """Returns (tokenizer, problem): the shards' tokenizer if it made their FAST ids, else None; problem is "" if all is well."""
    tok, problem = tokenizer_there(reader)
    made = reader.manifest.tokenizer.fingerprint if reader.manifest.tokenizer else None
    if tok is not None and tok.fingerprint != made:
        return (
            None,
            f"tokenizer/ is {tok.fingerprint}, but the shards hold ids of {made}: put back the folder of the build",
        )
    return tok, problem


def tokenizer_there(reader: ShardReader) -> tuple[ActionTokenizer | None, str]:
    """Returns (tokenizer, problem): the tokenizer with the shards, whichever it is, else None; problem is "" if all is well."""
    if reader.manifest.tokenizer is None:
        return None, ""
    try:
        return load_tokenizer(reader.tokenizer_folder), ""
    except InputError as error:
        return None, f"the shards' tokenizer does not load: {error}"
