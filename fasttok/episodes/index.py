"""Reads episodes of an INDEX (docs/design.md "INDEX"): the standardised action and proprio columns, exactly as in shards."""

import errno
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fasttok.common import stores
from fasttok.common.kinds import Encoding
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.episodes.episode import Episode, Where
from fasttok.episodes.index_file import FILE, FORMAT_VERSION, IndexedDataset, open_index
from fasttok.errors import InputError, unknown_name

__all__ = [
    "FILE", "FORMAT_VERSION", "count", "matrix", "open_index", "open_table", "read", "read_file", "read_parquet", "reading_table",
    "robots",
]  # fmt: skip

LATER = {"checksum": pa.int64()}
"""Columns that an INDEX of version 0.1.0 lacks, with their types."""
NUMBERED = "step_numbers"
"""Metadata key of episodes from which `keep_ranges` may leave out steps: (T,) stored numbers of the steps. Chunks end at gaps."""
SharedMetadata = Mapping[str, str | float | list[Encoding] | dict[str, tuple[str, ...]] | None]
"""Metadata that all episodes of a dataset's split share."""


def robots(path: str, split: str) -> dict[str, IndexedDataset]:
    """Returns the robot datasets of the INDEX that have this split, by name.

    Raises:
        InputError: no robot dataset has it.
    """
    every = {name: d for name, d in open_index(path).datasets.items() if d.entry.kind == "robot"}
    having = {name: dataset for name, dataset in every.items() if split in dataset.splits}
    if not having:
        known = {name for dataset in every.values() for name in dataset.splits}
        raise unknown_name("split", split, known, f"of the robot datasets in {path}")
    return having


def count(path: str, split: str) -> int:
    """Returns the number of indexed robot episodes of a split."""
    return sum(dataset.splits[split].indexed for dataset in robots(path, split).values())


def read(path: str, split: str, keep: Callable[[str, int], Collection[int] | None] | None = None) -> Iterator[Episode]:
    """Yields the robot episodes of a split, by dataset and table.

    Args:
        path: folder or URL of the INDEX.
        split: split of the datasets.
        keep: function (dataset, number of its table) -> numbers of the rows to read in that table, or None to skip the table.
            By default everything is read.
    """
    for name, dataset in robots(path, split).items():
        shared: SharedMetadata = {
            "dataset": name,
            "split": split,
            "embodiment": dataset.entry.embodiment,
            "control_hz": dataset.entry.control_hz,
            "action_encoding": list(dataset.entry.action_encoding),
            "columns": {"action": dataset.entry.action_names, "state": dataset.entry.proprio_names},
            NUMBERED: dataset.entry.keep_ranges is not None,
        }
        found = 0
        for number, stem in enumerate(dataset.splits[split].files):
            rows = None if keep is None else keep(name, number)
            if keep is None or rows is not None:
                for episode in read_file(f"{path}/{name}/{split}/{stem}", shared, rows):
                    found += 1
                    yield replace(episode, folder=dataset.directory)
        declared = dataset.splits[split].indexed
        if keep is None and found != declared:
            raise InputError(
                f"{path}/{FILE} says {declared} episodes of {name} {split}, its tables have {found}; run the index job again"
            )


def read_file(base: str, shared: SharedMetadata, keep: Collection[int] | None = None) -> Iterator[Episode]:
    """Yields the episodes of one table of the INDEX.

    Args:
        base: path of the table, without `.episodes.parquet`.
        shared: metadata of every episode. If `NUMBERED` is true in it, each episode gets the numbers of its steps under that key.
        keep: numbers of the rows to read; all by default.
    """
    episodes = read_parquet(f"{base}.episodes.parquet")
    columns = read_parquet(f"{base}.steps.parquet")
    action, proprio = columns["action"].combine_chunks(), columns["proprio"].combine_chunks()
    rows = sum(episodes["steps"].to_pylist())
    if rows != len(action):
        raise InputError(
            f"{base}: .episodes.parquet says {rows} steps, .steps.parquet has {len(action)}; run the index job again"
        )
    start = 0
    for number, row in enumerate(episodes.to_pylist()):
        stop = start + row["steps"]
        if keep is not None and number not in keep:
            start = stop
            continue
        steps = {"action": matrix(action, start, stop)}
        if row["proprio_dim"]:
            steps["proprio"] = matrix(proprio, start, stop)
        where = Where(row["file"], row["offset"], row["length"], row["episode"])
        metadata: dict[str, Any] = {**shared, "language": row["language"]}
        if metadata.pop(NUMBERED, False):
            metadata[NUMBERED] = columns["step"].slice(start, stop - start).to_numpy()
        yield Episode({**steps}, metadata, where)
        start = stop


@contextmanager
def reading_table(path: str) -> Iterator[None]:
    """Raises an error in plain words if a Parquet file of the INDEX, which the block reads, is missing or damaged.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        yield
    except (OSError, pa.ArrowException, KeyError) as error:
        if getattr(error, "errno", None) not in (None, errno.ENOENT):  # pyarrow's own errors have no errno
            raise
        refuse_pointer_at(path)
        said = " ".join(str(error).split())  # some errors have several lines
        raise InputError(f"{path} is missing or damaged ({said}); run the index job again") from None


def open_table(stream: BinaryIO, codes: list[str] | None = None) -> pq.ParquetFile:
    """Opens a Parquet file of the INDEX. Whatever is read of it is compared with its checksums; older files have none.

    Args:
        stream: the file.
        codes: text columns to read as dictionary arrays.
    """
    return pq.ParquetFile(stream, read_dictionary=codes, page_checksum_verification=True)


def read_parquet(path: str, columns: list[str] | None = None, codes: list[str] | None = None) -> pa.Table:
    """Reads a Parquet file of the INDEX.

    Args:
        path: path or URL of the file.
        columns: columns to read; all by default. Those that an INDEX of an older version lacks are null.
        codes: text columns to read as dictionary arrays, which saves memory if many texts are equal.

    Raises:
        InputError: the file is missing or damaged.
    """
    with reading_table(path), stores.open_file(path) as stream:
        file = open_table(stream, codes)
        known = file.schema_arrow.names
        table = file.read(columns)  # without those that it lacks
        for name in columns or ():
            if name in LATER and name not in known:
                table = table.append_column(name, pa.nulls(table.num_rows, LATER[name]))
        return table.select(columns) if columns else table


def matrix(column: pa.Array, start: int, stop: int) -> NDArray[np.float32]:
    """Returns rows [start, stop) of a list<float> column as (stop - start, dim) float32. All lists have the same length."""
    rows = column.slice(start, stop - start)
    values: NDArray[np.float32] = (
        rows.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(stop - start, -1)
    )
    return values
