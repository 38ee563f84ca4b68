"""`python -m pipelines stats|lint SHARDS`: what the shards hold, and whether they are what the manifest says."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tyro
from numpy.typing import NDArray

from fasttok.console import emit_json, table, track
from pipelines.records import IMAGE_COLUMNS
from pipelines.shards import ShardReader

BARS = "▁▂▃▄▅▆▇█"
BINS = 16


@dataclass(frozen=True)
class StatsConfig:
    """Counts per source against the plan, FAST ids per row, action ranges, image bytes.

    Example: python -m pipelines stats SHARDS
    """

    shards: Annotated[str, tyro.conf.Positional]
    """SHARDS folder of `python -m pipelines build`."""
    json: bool = False
    """Print JSON on stdout."""


@dataclass
class Tally:
    """One source's running numbers."""

    rows: int = 0
    padded: int = 0
    image_bytes: int = 0
    text_bytes: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    low: NDArray | None = None
    high: NDArray | None = None


def run_stats(config: StatsConfig) -> None:
    """Reads every row once, column by column, and prints a table.

    Raises:
        InputError: no shards there.
    """
    reader = ShardReader(config.shards)
    tallies = {name: Tally() for name in reader.sources}
    for batch in track(_batches(reader), "reading shards", unit="batches"):
        count(batch, tallies, reader.manifest.sources)
    rows = [line(name, tally, reader.manifest.sources[name]) for name, tally in tallies.items()]
    if config.json:
        emit_json(rows)
        return
    columns = ["source", "kind", "planned", "rows", "padded rows", "image MB", "FAST ids/row", "p5..p95", "histogram"]
    cells = []
    for r in rows:
        spread = f"{r['tokens_p5']:.0f}..{r['tokens_p95']:.0f}" if r["tokens_mean"] is not None else None
        cells.append([r["source"], r["kind"], r["planned"], r["rows"], r["padded"], r["image_bytes"] / 1e6, r["tokens_mean"],
                      spread, r["histogram"]])  # fmt: skip
    table(f"{config.shards}: rows per source", columns, cells)
    ranges = [
        [r["source"], name, low, high]
        for r in rows
        for name, low, high in zip(r["action_names"], r["action_min"], r["action_max"], strict=True)
    ]
    if ranges:
        table("\naction ranges, raw units", ["source", "dimension", "min", "max"], ranges)


def _batches(reader: ShardReader) -> Iterator[pa.RecordBatch]:
    for number in range(len(reader.manifest.shards)):
        yield from reader.record_batches(number)


def count(batch: pa.RecordBatch, tallies: dict[str, Tally], sources: dict[str, dict[str, Any]]) -> None:
    """Adds a batch to the tallies."""
    names = np.array(batch.column("source").to_pylist())
    for name in np.unique(names).tolist():
        tally, source = tallies[name], sources[name]
        part = batch.filter(pa.array(names == name))
        tally.rows += part.num_rows
        for column in IMAGE_COLUMNS:
            tally.image_bytes += int(pc.sum(pc.binary_length(part.column(column))).as_py() or 0)
        for column in ("prompt", "target"):
            tally.text_bytes += int(pc.sum(pc.binary_length(part.column(column))).as_py() or 0)
        if source["kind"] != "robot":
            continue
        tally.padded += int((part.column("action_steps").to_numpy() < source["horizon"]).sum())
        tally.lengths.update(pc.list_value_length(part.column("action_tokens")).to_pylist())
        values = part.column("action").flatten().to_numpy().reshape(-1, source["action_dim"])
        low, high = values.min(0), values.max(0)
        tally.low = low if tally.low is None else np.minimum(tally.low, low)
        tally.high = high if tally.high is None else np.maximum(tally.high, high)


def line(name: str, tally: Tally, source: dict[str, Any]) -> dict[str, Any]:
    """One source's numbers as plain data."""
    lengths = np.repeat(list(tally.lengths.keys()), list(tally.lengths.values())) if tally.lengths else None
    return {
        "source": name,
        "kind": source["kind"],
        "planned": source["planned"],
        "rows": tally.rows,
        "rejected": source["rejected"],
        "padded": tally.padded,
        "image_bytes": tally.image_bytes,
        "text_bytes": tally.text_bytes,
        "tokens_mean": None if lengths is None else float(lengths.mean()),
        "tokens_p5": None if lengths is None else float(np.percentile(lengths, 5)),
        "tokens_p95": None if lengths is None else float(np.percentile(lengths, 95)),
        "histogram": None if lengths is None else histogram(lengths),
        "action_names": source["action_names"] if tally.low is not None else [],
        "action_min": [] if tally.low is None else tally.low.tolist(),
        "action_max": [] if tally.high is None else tally.high.tolist(),
    }


def histogram(values: NDArray) -> str:
    """Counts over equal bins from the least to the largest value, as a line of blocks.

    >>> histogram(np.array([1, 1, 1, 1, 2, 9]))
    '1 █▂▁▁▁▁▁▁▁▁▁▁▁▁▁▂ 9'
    """
    counts, _ = np.histogram(values, BINS)
    top = len(BARS) - 1
    blocks = "".join(BARS[int(np.ceil(c / counts.max() * top)) if c else 0] for c in counts)
    return f"{int(values.min())} {blocks} {int(values.max())}"
