"""What an INDEX holds of a mixture's sources, after each source's filters: the sizes that shares and plans are made from.

Records are counted in groups of neighbours: an episode of 32 steps or more is a group, shorter ones and questions share one.
A group is what a plan places, so a plan of a hundred million questions stays small and a worker reads neighbours at once.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fasttok.episodes.index import read_parquet
from fasttok.errors import InputError, unknown_name
from mixtures.spec import Filters, Source

GROUP_FRAMES = 32


@dataclass(frozen=True, eq=False)
class Held:
    """A source's records, by file and place in it.

    Attributes:
        file: (g,) int32, number of each group's file among the split's.
        row: (g,) int64, place of its first record among the file's.
        records: (g,) int32, how many neighbours it has.
        frames: (g,) int64, steps (or questions, captions) in all of them.
        image_bytes: encoded images of all its frames.
        text_bytes: targets of all its records.
        left_out: records that the filters left out, by filter.
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
        """Frames of all groups."""
        return int(self.frames.sum())


def split_counts(index: dict[str, Any], dataset: str, split: str) -> dict[str, Any]:
    """The counts of a dataset's split in an index.json.

    Raises:
        InputError: the INDEX lacks the dataset or the split; names what it has.
    """
    known = index["datasets"]
    if dataset not in known:
        raise unknown_name(
            "dataset", dataset, known, "Index it too: fasttok-pipelines index DATASET_DIR... --out INDEX"
        )
    splits: dict[str, dict[str, Any]] = known[dataset]["splits"]
    if split not in splits:
        raise unknown_name(f"split of {dataset}", split, splits)
    return splits[split]


def episode_files(folder: str, source: Source, files: list[str] | tuple[str, ...]) -> list[str]:
    """The INDEX's episode tables of a source, one a source file."""
    return [f"{folder.rstrip('/')}/{source.dataset}/{source.split}/{stem}.episodes.parquet" for stem in files]


def held(folder: str, source: Source, files: list[str] | tuple[str, ...]) -> Held:
    """Reads what a source holds: a few columns, file after file.

    Args:
        folder: the INDEX. files: stems of the split's files, in order.

    Raises:
        InputError: a file of the INDEX is missing or damaged, or a pattern is not one.
    """
    tables = _tables(episode_files(folder, source, files), source.filters)
    every = source.filters.records
    passing = (
        sum(int(mask.sum()) for _, mask, _ in _tables(episode_files(folder, source, files), source.filters))
        if every
        else 0
    )
    parts: list[tuple[NDArray, ...]] = []
    images = texts = seen = 0
    left_out: Counter[str] = Counter()
    for number, (table, mask, reasons) in enumerate(tables):
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
        parts.append((np.full(1, number), *group(rows, steps)))
    sizes = [len(part[1]) for part in parts]
    joined = [np.concatenate([part[i] for part in parts]) if parts else np.zeros(0, np.int64) for i in (1, 2, 3)]
    file = np.repeat(np.arange(len(parts), dtype=np.int32), sizes)
    dropped = {reason: count for reason, count in left_out.items() if count}
    return Held(file, joined[0], joined[1].astype(np.int32), joined[2], images, texts, dropped)


def group(rows: NDArray[np.int64], steps: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Neighbouring records as groups: those that begin within the same 32 frames, without a gap between their rows.

    Args:
        rows: (n,) places of the records, ascending. steps: (n,) frames of each; records without any are left out.

    Returns:
        (first row, records, frames) of each group, int64.

    >>> [part.tolist() for part in group(np.arange(5), np.array([20, 20, 40, 1, 1]))]
    [[0, 2, 3], [2, 1, 2], [40, 40, 2]]
    """
    rows, steps = rows[steps > 0], steps[steps > 0]
    if not len(rows):
        return (np.zeros(0, np.int64),) * 3
    bucket = (np.cumsum(steps) - steps) // GROUP_FRAMES
    new = np.concatenate([[True], (np.diff(bucket) != 0) | (np.diff(rows) != 1)])
    first = np.flatnonzero(new)
    return rows[first], np.diff(np.append(first, len(rows))), np.add.reduceat(steps, first)


def _tables(files: list[str], filters: Filters) -> Iterator[tuple[pa.Table, NDArray[np.bool_], Counter[str]]]:
    """(columns, which rows pass, how many fail by filter) of each file; a row counts for the first filter that it fails."""
    texts = filters.language or filters.matches is not None or filters.excludes is not None
    columns = [
        "steps",
        "image_bytes",
        "target",
        *(["language"] if texts else []),
        *(["cameras"] if filters.cameras else []),
        *(["file", "id"] if filters.part is not None else []),
    ]
    for file in files:
        table = read_parquet(file, columns)
        mask, reasons = np.ones(table.num_rows, bool), Counter[str]()
        for name, passes in _passes(table, filters):
            reasons[name] += int((mask & ~passes).sum())
            mask &= passes
        yield table, mask, reasons


def _passes(table: pa.Table, filters: Filters) -> Iterator[tuple[str, NDArray[np.bool_]]]:
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
                found = pc.match_substring_regex(table.column("language"), pattern)
            except pa.ArrowInvalid as error:
                raise InputError(f"filters: {name}: {pattern!r} is not a pattern: {error}") from None
            yield name, found.to_numpy(zero_copy_only=False).astype(bool) == (name == "matches")
    if filters.cameras:
        wanted = set(filters.cameras)
        yield "cameras", np.array([wanted <= set(held) for held in table.column("cameras").to_pylist()], bool)
    if filters.part is not None:
        low, high = filters.part
        names = zip(table.column("file").to_pylist(), table.column("id").to_pylist(), strict=True)
        places = np.array([place(file, record) for file, record in names], np.float64)
        yield "part", (places >= low) & (places < high)


def place(file: str, record: str) -> float:
    """Where a record lies in [0, 1): a hash of its file's name, without folders, and its id.

    >>> 0 <= place("/data/a.tfrecord", "7") < 1
    True
    """
    key = f"{file.rsplit('/', 1)[-1]}\0{record}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=6).digest()) / 2**48


def _lengths(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64)
