"""Shards made again with something wrong in them, and a manifest that fits: what only a look at the rows can find."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.shards import ShardReader, write_shard
from pipelines.shards.records import ROWS_PER_BATCH, SCHEMA

Change = Callable[[list[dict[str, Any]]], None]


def batches(rows: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Rows as a shard holds them."""
    for start in range(0, len(rows), ROWS_PER_BATCH):
        part = rows[start : start + ROWS_PER_BATCH]
        yield pa.record_batch([pa.array([row[f.name] for row in part], f.type) for f in SCHEMA], schema=SCHEMA)


def reshard(shards: Path, out: Path, change: Change, manifest: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """Copies shards, lets `change` alter the list of all rows in place, writes them and a manifest with their digests."""
    shutil.copytree(shards, out)
    reader = ShardReader(str(shards))
    rows = [reader.row(i) for i in range(reader.num_rows)]
    change(rows)
    value = json.loads((out / "manifest.json").read_text())
    at = 0
    for shard in value["shards"]:
        written = write_shard(str(out / shard["name"]), batches(rows[at : at + shard["rows"]]))
        shard |= {"bytes": written.bytes, "sha256": written.sha256}
        at += shard["rows"]
    if manifest is not None:
        manifest(value)
    (out / "manifest.json").write_text(json.dumps(value))
    return out


def unchanged(rows: list[dict[str, Any]]) -> None:
    """Leaves the rows as they are."""
