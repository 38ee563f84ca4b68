"""The numbers of `stats` as tables on a terminal."""

from collections.abc import Sequence

import numpy as np

from fasttok.common.console import table
from fasttok.common.percent import percent as written
from pipelines.look.block_bars import spark
from pipelines.look.source_stats import DimensionStats, SourceStats, TextStats


def print_tables(shards: str, stats: Sequence[SourceStats]) -> None:
    """Prints all tables.

    Args:
        shards: the folder, for the title.
        stats: numbers of each source.
    """
    columns = ["source", "kind", "planned", "rows", "share asked", "written", "padded rows", "image MB", "FAST ids/row"]
    columns += ["p5..p95", "histogram"]
    total = max(sum(source["rows"] for source in stats), 1)
    table(f"{shards}: rows per source", columns, [source_cells(source, total) for source in stats])
    cells = [
        text_cells(source, column, text)
        for source in stats
        for column, text in (("prompt", source["prompts"]), ("target", source["targets"]))
        if text["bytes"]
    ]
    if cells:
        table("\ntexts", ["source", "", "words/row", "p5..p95", "max", "bytes", "different", "most frequent"], cells)
    cells = [
        [source["source"], p["camera"], p["format"], f"{p['width']} x {p['height']}", p["count"],
         percent(p["count"] / max(source["rows"], 1))]
        for source in stats for p in source["pictures"]
    ]  # fmt: skip
    if cells:
        table("\npictures", ["source", "camera", "format", "size", "rows", "of its rows"], cells)
    cells = [dimension_cells(source, "action", dim) for source in stats for dim in source["action"]]
    cells += [dimension_cells(source, "state", dim) for source in stats for dim in source["state"]]
    if cells:
        columns = ["source", "", "dimension", "min", "max", "normaliser", "outside", "histogram"]
        table("\nactions (real steps) and states, raw units", columns, cells)


def source_cells(source: SourceStats, total: int) -> list[object]:
    """Returns the line of a source; `total` is the number of rows of all sources."""
    ids = source["fast_ids"]
    shares = [percent(source["share_planned"]), percent(source["rows"] / total)]
    cells: list[object] = [source["source"], source["kind"], source["planned"], source["rows"], *shares]
    cells += [source["padded"] if ids else None, source["image_bytes"] / 1e6, ids and ids["mean"]]
    return [*cells, f"{ids['p5']}..{ids['p95']}" if ids else None, source["histogram"]]


def text_cells(source: SourceStats, column: str, text: TextStats) -> list[object]:
    """Returns the line of a source's prompts or targets."""
    words = text["words"]
    lengths = [words["mean"], f"{words['p5']}..{words['p95']}", words["max"]] if words else [None] * 3
    said, rows = next(iter(text["most frequent"].items()))
    often = f"{said[:40]!r} in {written(rows / max(source['rows'], 1))}"
    return [source["source"], column, *lengths, text["bytes"], text["different"] or "very many", often]


def dimension_cells(source: SourceStats, column: str, dim: DimensionStats) -> list[object]:
    """Returns the line of a dimension of a source's actions or states."""
    ends = dim["range"] and f"{dim['range'][0]:.4g}..{dim['range'][1]:.4g}"
    bars = spark(np.array(dim["counts"]))
    return [source["source"], column, dim["name"], dim["min"], dim["max"], ends, percent(dim["outside"]), bars]


def percent(share: float | None) -> str | None:
    """Writes a share in per cent; None stays None.

    >>> percent(0.125)
    '12.50 %'
    """
    return None if share is None else written(share, 2)
