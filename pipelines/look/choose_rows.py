"""Chooses the rows that `inspect` shows: drawn evenly over sources, in storage order from a given row on, or by their ids."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fasttok.common.kinds import RecordKind
from fasttok.errors import InputError, unknown_name
from mixtures.quota import interleave
from pipelines.look.scan import rows_of, scan, shard_starts
from pipelines.shards import ShardReader


@dataclass(frozen=True)
class RowChoice:
    """Which rows the user asked for.

    Attributes:
        count: how many, at least 1.
        seed: seed of the draw.
        start: instead of a draw, the rows from this number on.
        sample_ids: instead of a draw, the rows with these ids.
        sources: only rows of these sources; () for all.
        kind: only rows of this kind; None for all.
    """

    count: int
    seed: int = 0
    start: int | None = None
    sample_ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    kind: RecordKind | None = None


def choose_rows(reader: ShardReader, choice: RowChoice) -> list[int]:
    """Returns the numbers of the rows to show, in storage order.

    Raises:
        InputError: a source or sample_id is unknown, no rows fit, or a number is out of range.
    """
    for name in choice.sources:
        if name not in reader.sources:
            raise unknown_name("source", name, reader.sources)
    wanted = [
        name
        for name, source in reader.manifest.sources.items()
        if (not choice.sources or name in choice.sources) and choice.kind in (None, source.kind)
    ]
    if choice.sample_ids:
        return sorted(find_ids(reader, choice.sample_ids))
    count, start = choice.count, choice.start
    if count < 1 or (start is not None and not 0 <= start < max(reader.num_rows, 1)):
        raise InputError(f"--rows must be >= 1 and --start in [0, {reader.num_rows}); got {count} and {start}")
    if choice.seed < 0:
        raise InputError(f"--seed is {choice.seed}, expected at least 0")
    numbers = draw(reader, wanted, count, choice.seed) if start is None else following(reader, wanted, start, count)
    if not numbers:
        sources = ", ".join(f"{n} ({s.kind}, {s.written:,} rows)" for n, s in reader.manifest.sources.items())
        raise InputError(f"{reader.path}: no such rows; the sources are {sources or 'none'}")
    return numbers


def draw(reader: ShardReader, names: Sequence[str], count: int, seed: int) -> list[int]:
    """Draws `count` rows (or all if there are fewer) without repeats, evenly over sources; reads nothing but the manifest."""
    columns = [reader.sources.index(name) for name in names]
    written = [sum(shard.rows_per_source[column] for shard in reader.manifest.shards) for column in columns]
    takes = [0] * len(names)
    while sum(takes) < min(count, sum(written)):
        for i in range(len(takes)):
            if takes[i] < written[i] and sum(takes) < count:
                takes[i] += 1
    numbers: list[int] = []
    for name, take, rows in zip(names, takes, written, strict=True):
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        index = np.sort(random.choice(rows, take, replace=False)) if take else np.zeros(0)
        numbers += rows_of(reader, name, index.astype(np.int64)).tolist()
    return sorted(numbers)


def following(reader: ShardReader, names: Sequence[str], start: int, count: int) -> list[int]:
    """Returns the first `count` rows of these sources from row `start` on."""
    numbers: list[int] = []
    firsts = shard_starts(reader)
    for shard, first in zip(reader.manifest.shards, firsts.tolist(), strict=True):
        if first + shard.rows <= start:
            continue
        order = interleave(shard.rows_per_source)
        here = first + np.flatnonzero(np.isin(order, [reader.sources.index(name) for name in names]))
        numbers += here[here >= start][: count - len(numbers)].tolist()
        if len(numbers) == count:
            break
    return numbers


def find_ids(reader: ShardReader, ids: Sequence[str]) -> list[int]:
    """Returns the numbers of the rows with these sample_ids; reads that column until all are found.

    Raises:
        InputError: no row has one of the ids.
    """
    starts, numbers = shard_starts(reader), {}
    wanted = pa.array(ids, pa.string())
    example = ""
    for number, at, batch in scan(reader, "looking for sample_id"):
        column = batch.column("sample_id")
        example = example or (column[0].as_py() if len(column) else "")
        for i in np.flatnonzero(pc.is_in(column, value_set=wanted).to_numpy(zero_copy_only=False)).tolist():
            numbers[column[i].as_py()] = int(starts[number]) + at + i
        if len(numbers) == len(set(ids)):
            break
    lost = [name for name in ids if name not in numbers]
    if lost:
        raise InputError(f"{reader.path}: no row has the sample_id {lost[0]!r}; they look like {example!r}")
    return list(numbers.values())
