"""SHARDS made by hand, in a moment: rows whose every value follows from (source, number), in the manifest's order."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mixtures.quota import interleave
from pipelines.shards import ShardReader, shard_name
from pipelines.shards.manifest import Manifest, ManifestSource, RowCounts, Shard
from pipelines.shards.records import ROWS_PER_BATCH, SCHEMA

NAMES = ("red", "green", "blue", "grün", "white", "black")


def value(field: pa.Field, source: str, number: int, horizon: int) -> Any:
    """What a column holds in a source's row `number`."""
    name = field.name
    if pa.types.is_list(field.type):
        length = horizon if name == "action" else number % 4
        if pa.types.is_string(field.type.value_type):
            return [f"{name} {number} {i} é" for i in range(length)]
        return [number + i for i in range(length)]
    if pa.types.is_binary(field.type):
        return (
            None if name == "image/wrist" and number % 3 == 0 else f"{name} {source} {number}".encode() * (number % 5)
        )
    if pa.types.is_string(field.type):
        fixed = {"kind": "robot", "source": source, "sample_id": f"{source}/{number}"}
        return fixed.get(name, f"{name} {number} ü" if number % 7 == 0 else f"{name} {number}")
    return number


def robot_source(dataset: str, rows: int, horizon: int) -> ManifestSource:
    """What the manifest says of a robot's `rows` rows of one action dimension."""
    return ManifestSource(
        kind="robot", dataset=dataset, split="train", embodiment="arm", control_hz=10, horizon=horizon, action_dim=1,
        action_encoding=("absolute",), action_names=("x",), state_dim=1, state_names=("x",), cameras=("primary", "wrist"), bgr=(),
        license="", homepage="", citation="", representation=None, prompts=(), resize=None, questions=(), share=1.0, planned=rows,
        written=rows, rejected=0, steps_held=rows, left_out={}, capped=False, images_resized=0, clamped_chunks=0,
        mean_action_tokens=None,
    )  # fmt: skip


def make_shards(folder: Path, counts: list[list[int]], horizon: int = 6, **options: Any) -> Manifest:
    """Writes shards of (shards, sources) rows into `folder`, and their manifest; `options` replace its fields."""
    names = NAMES[: len(counts[0])]
    folder.mkdir(parents=True)
    shards, given = [], [0] * len(names)
    for number, row in enumerate(counts):
        rows = []
        for i in interleave(row).tolist():
            rows.append({field.name: value(field, names[i], given[i], horizon) for field in SCHEMA})
            given[i] += 1
        path = folder / shard_name(number, len(counts))
        with pa.ipc.new_file(str(path), SCHEMA) as writer:
            for at in range(0, len(rows), ROWS_PER_BATCH):
                part = rows[at : at + ROWS_PER_BATCH]
                arrays = [pa.array([r[field.name] for r in part], field.type) for field in SCHEMA]
                writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
        data = path.read_bytes()
        shards.append(Shard(path.name, len(rows), tuple(row), len(data), hashlib.sha256(data).hexdigest()))
    total = np.sum(counts, axis=0).tolist()
    sources = {name: robot_source(name, n, horizon) for name, n in zip(names, total, strict=True)}
    amounts = RowCounts(planned=sum(total), written=sum(total), rejected=0)
    fields = {"sources": sources, "mixture": {}, "seed": 0, "index_digest": "", "plan_digest": "", "tokenizer": None}
    manifest = Manifest(**{**fields, "shards": tuple(shards), "counts": amounts, **options})
    manifest.save(str(folder))
    return manifest


def read_all(path: Path, **options: Any) -> int:
    """Reads every row in both orders, a few columns of each; returns how many."""
    reader = ShardReader(str(path), **options)
    count = 0
    for mode in ("global", "block"):
        for batch in reader.batches(99, mode, epochs=1):
            for name in ("sample_id", "image/primary", "action", "prompt"):
                try:
                    batch[name]
                except UnicodeDecodeError:
                    continue  # a flipped bit in a text: only its digest tells
            count += len(batch)
    return count
