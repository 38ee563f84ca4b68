"""Finds pictures that were taken during a row's chunk of actions: those of other rows of the same episode."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.common.files import filesystem, is_local
from pipelines.look.scan import scan, shard_starts
from pipelines.look.stored_row import StoredRow, stored_row
from pipelines.shards import ShardReader

MOST_ROWS = 400_000  # larger shards are not searched: it would take too long for a page of a few rows
MOST_MOMENTS = 6  # pictures per camera after the first one

Episode = tuple[str, str, int]  # source, file, number in the file


def later_rows(reader: ShardReader, rows: Sequence[StoredRow]) -> dict[int, list[StoredRow]]:
    """Returns number of a robot row -> the rows of the same episode whose step is inside its chunk, in order.

    Reads no pictures but those that are returned. Returns {} for shards that are remote or very large.

    Args:
        reader: reader of the shards.
        rows: rows of a page.
    """
    robots = [row for row in rows if row.kind == "robot" and row.action_steps > 1]
    fs, _ = filesystem(reader.path)
    if not robots or reader.num_rows > MOST_ROWS or not is_local(fs):
        return {}
    steps = _steps(reader, {_episode(row) for row in robots})
    return {row.number: [stored_row(reader, n) for n in _inside(row, steps.get(_episode(row), {}))] for row in robots}


def _episode(row: StoredRow) -> Episode:
    return row.source, row.file, row.episode


def _steps(reader: ShardReader, wanted: set[Episode]) -> dict[Episode, dict[int, int]]:
    """Returns episode -> step -> number of a row with this step."""
    starts, out = shard_starts(reader), dict[Episode, dict[int, int]]()
    files = pa.array(sorted({file for _, file, _ in wanted}), pa.string())
    for shard, first, batch in scan(reader, "looking for later pictures"):
        here = np.flatnonzero(pc.is_in(batch.column("file"), value_set=files).to_numpy(zero_copy_only=False))
        columns = [
            batch.column(name).take(pa.array(here)).to_pylist() for name in ("source", "file", "episode", "step")
        ]
        for row, source, file, episode, step in zip(here.tolist(), *columns, strict=True):
            if (source, file, episode) in wanted:
                out.setdefault((source, file, episode), {}).setdefault(step, int(starts[shard]) + first + row)
    return out


def _inside(row: StoredRow, numbers: dict[int, int]) -> list[int]:
    """Returns the numbers of the rows inside a row's chunk, evenly spread if there are many."""
    found = sorted(step for step in numbers if row.step < step < row.step + row.action_steps)
    if len(found) > MOST_MOMENTS:
        found = [found[i] for i in np.unique(np.linspace(0, len(found) - 1, MOST_MOMENTS).astype(int))]
    return [numbers[step] for step in found]
