"""Reads what an INDEX contains of a mixture's sources, after each source's filters. Shares and plans are made from this.

Records are counted in groups of neighbours. A group is a long episode, several short ones, or 32 questions. A plan places
whole groups, so a plan of a hundred million questions stays small and a worker reads neighbours together. A table of the
INDEX contains the records of many source files; a group stays within one source file.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fasttok.common.stores import below
from fasttok.episodes.index import read_parquet
from fasttok.episodes.index_file import IndexFile, SplitCounts
from fasttok.errors import InputError, unknown_name
from mixtures.spec import Source, SourceFilters

GROUP_FRAMES = 32
AT_ONCE = 16  # tables of the INDEX that are read at the same time


@dataclass(frozen=True, eq=False)
class Holding:
    """What an INDEX contains of a source: its records in groups of neighbours, by file and row.

    Attributes:
        file: (g,) int32, number of each group's table among the split's.
        row: (g,) int64, row of each group's first record in the table.
        records: (g,) int32, records of each group.
        frames: (g,) int64, steps (or questions, captions) of each group.
        image_bytes: bytes of the encoded images of all frames.
        text_bytes: bytes of the targets of all records.
        left_out: filter -> number of records that it left out.
    """

    file: NDArray[np.int32]
    row: NDArray[np.int64]
    records: NDArray[np.int32]
    frames: NDArray[np.int64]
    image_bytes: int
    text_bytes: int
    left_out: dict[str, int]

    @property
    def total(self) -> int:
        """Number of frames in all groups."""
        return int(self.frames.sum())


def split_counts(index: IndexFile, dataset: str, split: str) -> SplitCounts:
    """Returns the counts of a dataset's split in an index.json.

    Raises:
        InputError: the INDEX lacks the dataset or the split; names what it has.

    >>> split_counts(IndexFile(3, "", {}), "bridge", "train")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    fasttok.errors.InputError: unknown dataset 'bridge'; Known: (none). Index it too: ...
    """
    known = index.datasets
    if dataset not in known:
        raise unknown_name(
            "dataset", dataset, known, "Index it too: fasttok-pipelines index DATASET_DIR... --out INDEX"
        )
    splits = known[dataset].splits
    if split not in splits:
        raise unknown_name(f"split of {dataset}", split, splits)
    return splits[split]


def episode_files(folder: str, source: Source, files: Sequence[str]) -> list[str]:
    """Returns the paths of the INDEX's episode tables of a source.

    >>> episode_files("INDEX/", Source("arm", "tabletop_arm"), ["a-00000"])
    ['INDEX/tabletop_arm/train/a-00000.episodes.parquet']
    """
    return [f"{folder.rstrip('/')}/{source.dataset}/{source.split}/{stem}.episodes.parquet" for stem in files]


def read_holding(folder: str, source: Source, files: Sequence[str], directory: str) -> Holding:
    """Reads what an INDEX contains of a source, from a few columns of each table.

    Args:
        folder: the INDEX.
        source: which dataset, split and filters.
        files: stems of the split's tables, in order.
        directory: path or URL of the dataset's source files, as in index.json.

    Raises:
        InputError: a file of the INDEX is missing or damaged, or a pattern of a filter is not valid.
    """
    paths = episode_files(folder, source, files)
    tables = _tables(paths, source.filters, directory)
    every = source.filters.records
    passing = sum(int(mask.sum()) for _, mask, _ in _tables(paths, source.filters, directory)) if every else 0
    groups: list[tuple[NDArray[np.int64], ...]] = []
    sizes: list[int] = []
    images = texts = seen = 0
    left_out: Counter[str] = Counter()
    for table, mask, reasons in tables:
        left_out.update(reasons)
        rows = np.flatnonzero(mask)
        if every:
            order = np.arange(seen, seen + len(rows))
            wanted = order * every // passing != (order - 1) * every // passing if every < passing else order >= 0
            seen += len(rows)
            left_out["records"] += int((~wanted).sum())
            rows = rows[wanted]
        steps = table.column("steps").to_numpy().astype(np.int64)[rows]
        images += int(table.column("image_bytes").to_numpy()[rows].sum())
        texts += int(_lengths(table.column("target"))[rows].sum())
        codes = table.column("file").combine_chunks().indices.to_numpy()
        ends = np.searchsorted(rows, np.flatnonzero(np.diff(codes)) + 1)  # where another source file begins
        own = [group(*part) for part in zip(np.split(rows, ends), np.split(steps, ends), strict=True)]
        sizes.append(sum(len(first) for first, _, _ in own))
        groups += own
    joined = [np.concatenate(columns) for columns in zip(*groups, strict=True)] or [np.zeros(0, np.int64)] * 3
    file = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    dropped = {reason: count for reason, count in left_out.items() if count}
    return Holding(file, joined[0], joined[1].astype(np.int32), joined[2], images, texts, dropped)


def refuse_empty(source: Source, holding: Holding) -> None:
    """Refuses a source of which an INDEX contains nothing.

    Raises:
        InputError: it has no frames.
    """
    if holding.total:
        return
    left = ", ".join(f"{n:,} left out by {name}" for name, n in holding.left_out.items())
    raise InputError(
        f"source {source.name!r}: the INDEX contains no usable record of {source.dataset}/{source.split}"
        f"{f' that passes its filters ({left})' if left else '; look at its rejected records'}; or take it out"
    )


def group(rows: NDArray[np.int64], steps: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Groups neighbouring records: those that begin within the same 32 frames, without a gap between their rows.

    Args:
        rows: (n,) row numbers of the records, ascending.
        steps: (n,) frames of each; records without frames are left out.

    Returns:
        (first row, records, frames) of each group, int64.

    >>> [column.tolist() for column in group(np.arange(5), np.array([20, 20, 40, 1, 1]))]
    [[0, 2, 3], [2, 1, 2], [40, 40, 2]]
    """
    rows, steps = rows[steps > 0], steps[steps > 0]
    if not len(rows):
        return (np.zeros(0, np.int64),) * 3
    bucket = (np.cumsum(steps) - steps) // GROUP_FRAMES
    new = np.concatenate([[True], (np.diff(bucket) != 0) | (np.diff(rows) != 1)])
    first = np.flatnonzero(new)
    return rows[first], np.diff(np.append(first, len(rows))), np.add.reduceat(steps, first)


def _tables(
    files: list[str], filters: SourceFilters, directory: str
) -> Iterator[tuple[pa.Table, NDArray[np.bool_], Counter[str]]]:
    """Yields (columns, rows that pass, filter -> rows that fail) of each file. A row counts for the first filter it fails."""
    texts = filters.language or filters.matches is not None or filters.excludes is not None
    columns = [
        "steps",
        "image_bytes",
        "target",
        "file",
        *(["language"] if texts else []),
        *(["cameras"] if filters.cameras else []),
        *(["id", "image", "checksum"] if filters.part is not None else []),
    ]
    for table in _read(files, columns):
        mask, reasons = np.ones(table.num_rows, bool), Counter[str]()
        for name, passes in _passes(table, filters, directory):
            reasons[name] += int((mask & ~passes).sum())
            mask &= passes
        yield table, mask, reasons


def _read(files: list[str], columns: list[str]) -> Iterator[pa.Table]:
    """Yields the tables in order. It reads several at the same time, as an object store is slow to answer."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(files), AT_ONCE):
            yield from pool.map(partial(read_parquet, columns=columns, codes=["file"]), files[start : start + AT_ONCE])


def _passes(table: pa.Table, filters: SourceFilters, directory: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    steps = table.column("steps").to_numpy()
    if filters.min_steps is not None:
        yield "min_steps", steps >= filters.min_steps
    if filters.max_steps is not None:
        yield "max_steps", steps <= filters.max_steps
    if filters.language:
        yield "language", _lengths(table.column("language")) > 0
    for name, pattern in (("matches", filters.matches), ("excludes", filters.excludes)):
        if pattern is not None:
            try:
                matching = pc.match_substring_regex(table.column("language"), pattern)
            except pa.ArrowInvalid as error:
                raise InputError(f"filters: {name}: {pattern!r} is not a pattern: {error}") from None
            yield name, matching.to_numpy(zero_copy_only=False).astype(bool) == (name == "matches")
    if filters.cameras:
        wanted = set(filters.cameras)
        yield "cameras", np.array([wanted <= set(slots) for slots in table.column("cameras").to_pylist()], bool)
    if filters.part is not None:
        low, high = filters.part
        codes = table.column("file").combine_chunks()
        places = [below(directory, file) for file in codes.dictionary.to_pylist()]
        columns = (table.column(name).to_pylist() for name in ("id", "image", "image_bytes", "checksum"))
        keys = [  # all records of an image are on one side, as a question about an image tells of its other answers
            (str(size), str(checksum)) if image else (places[code], record)
            for code, record, image, size, checksum in zip(codes.indices.to_pylist(), *columns, strict=True)
        ]
        hashes = np.array([hashed_place(*key) for key in keys], np.float64)
        yield "part", (hashes >= low) & (hashes < high)


def hashed_place(file: str, record: str) -> float:
    """Returns a record's place in [0, 1): a hash of its file's path below the dataset's folder, and its id.

    For questions and captions, these are the size and the CRC-32C of their image: one image may be in many rows or files.

    >>> 0 <= hashed_place("1/trajectory.h5", "0") < 1
    True
    """
    key = f"{file}\0{record}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=6).digest()) / 2**48


def _lengths(column: pa.ChunkedArray) -> NDArray[np.int64]:
    lengths: NDArray[np.int64] = pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64)
    return lengths
