"""The numbers of `stats` as plain data: what `--json` prints and the tables show."""

from typing import Literal, TypedDict

import numpy as np

from pipelines.look.block_bars import text_histogram
from pipelines.look.length_counts import Spread, counted, spread
from pipelines.look.row_counts import SourceCounts

TOP = 5  # number of most frequent texts


class PictureStats(TypedDict):
    """Pictures of one camera, format and size.

    Attributes:
        camera: slot.
        format: png, jpeg, webp or gif.
        width: pixels.
        height: pixels.
        count: rows that have such a picture.
    """

    camera: str
    format: str
    width: int
    height: int
    count: int


TextStats = TypedDict(
    "TextStats",
    {"words": Spread | None, "bytes": int, "different": int | None, "most frequent": dict[str, int]},
)
"""Prompts or targets of a source: words per row, UTF-8 bytes, number of different texts (None: too many to count), and the
most frequent texts with their numbers of rows."""


class DimensionStats(TypedDict):
    """One dimension of the actions or states.

    Attributes:
        name: its name in the dataset's entry.
        min: the least value.
        max: the largest value.
        range: what the normaliser maps to [-1, 1], [low, high]; None if it has no range.
        range_is: what the ends are, such as q01..q99; None if there is no range.
        outside: share of the values outside the range, None if there is no range.
        counts: values in each bin; the outermost bins also contain all values beyond them.
        edges: ends of the bins.
    """

    name: str
    min: float
    max: float
    range: list[float] | None
    range_is: str | None
    outside: float | None
    counts: list[int]
    edges: list[float]


class SourceStats(TypedDict):
    """One source's numbers.

    Attributes:
        source: name in the mixture.
        kind: robot, vqa or caption.
        share_planned: share of all samples that the mixture asks for.
        planned: rows planned.
        rows: rows counted.
        rejected: rows that could not be made.
        padded: rows whose chunk goes past the end of their episode.
        image_bytes: bytes of all pictures.
        pictures: pictures, counted by camera, format and size.
        fast_ids: FAST ids per row.
        histogram: histogram of the FAST ids per row, as text.
        prompts: what the model reads.
        targets: what it learns to say.
        action: each dimension of the real steps.
        state: each dimension.
    """

    source: str
    kind: str
    share_planned: float
    planned: int
    rows: int
    rejected: int
    padded: int
    image_bytes: int
    pictures: list[PictureStats]
    fast_ids: Spread | None
    histogram: str | None
    prompts: TextStats
    targets: TextStats
    action: list[DimensionStats]
    state: list[DimensionStats]


def source_stats(name: str, counts: SourceCounts) -> SourceStats:
    """Returns the numbers of one source as plain data."""
    source = counts.source
    return {
        "source": name,
        "kind": source.kind,
        "share_planned": source.share,
        "planned": source.planned,
        "rows": counts.rows,
        "rejected": source.rejected,
        "padded": counts.padded,
        "image_bytes": sum(counts.picture_bytes.values()),
        "pictures": [
            {"camera": slot, "format": kind, "width": width, "height": height, "count": count}
            for (slot, kind, width, height), count in sorted(counts.pictures.items())
        ],
        "fast_ids": spread(counts.lengths),
        "histogram": text_histogram(np.repeat(*counted(counts.lengths))) if counts.lengths else None,
        "prompts": text_stats(counts, "prompt"),
        "targets": text_stats(counts, "target"),
        "action": dimension_stats(counts, "action"),
        "state": dimension_stats(counts, "state"),
    }


def text_stats(counts: SourceCounts, column: str) -> TextStats:
    """Returns the numbers of the texts of a column."""
    return {
        "words": spread(counts.words[column]),
        "bytes": counts.bytes[column],
        "different": len(counts.texts[column]) if not counts.more[column] else None,
        "most frequent": dict(counts.texts[column].most_common(TOP)),
    }


def dimension_stats(counts: SourceCounts, column: Literal["action", "state"]) -> list[DimensionStats]:
    """Returns for each dimension of `action` or `state`: range, share outside the normaliser's range, histogram."""
    histogram = counts.histograms.get(column)
    if histogram is None:
        return []
    names = counts.source.column_names(column)
    return [
        {
            "name": names[d] if d < len(names) else f"{column}[{d}]",
            "min": float(histogram.least[d]),
            "max": float(histogram.most[d]),
            "range": list(limit[:2]) if limit else None,
            "range_is": limit[2] if limit else None,
            "outside": histogram.beyond[d] / histogram.values if limit and histogram.values else None,
            "counts": histogram.counts[d].tolist(),
            "edges": histogram.edges(d).tolist(),
        }
        for d, limit in enumerate(histogram.limits)
    ]
