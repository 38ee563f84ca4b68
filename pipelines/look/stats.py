"""`fasttok-pipelines stats SHARDS`: how many rows of what, how long, and where the numbers lie against the normaliser."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from fasttok.common.console import emit_json, log, table
from pipelines.look.page_parts import PagePath, page_path, write_page
from pipelines.look.ranges import ranges
from pipelines.look.row_counts import TEXTS, Tally, add_pictures, add_texts
from pipelines.look.scan import held_tokenizer, scan, source_codes
from pipelines.shards import ShardReader

BARS = "▁▂▃▄▅▆▇█"
BINS = 16
TOP = 5  # of the most frequent texts


@dataclass(frozen=True)
class StatsConfig:
    """Counts per source against the plan, FAST ids and words per row, action and state histograms, pictures.

    Example: fasttok-pipelines stats SHARDS --html
    """

    shards: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SHARDS")]
    """The folder that `fasttok-pipelines build` wrote."""
    html: PagePath = None
    """Write one self-contained page too; without FILE it is NAME-OF-SHARDS.stats.html in the current folder."""
    json: bool = False
    """Print JSON on stdout."""


def run_stats(config: StatsConfig) -> None:
    """Reads every row once, column by column, and prints tables.

    Raises:
        InputError: no shards there.
    """
    reader = ShardReader(config.shards)
    page = page_path(config.html, config.shards, "stats")
    tallies = tally_rows(reader)
    found = [line(name, tally) for name, tally in tallies.items()]
    if page is not None:
        from pipelines.look.stats_page import stats_page

        write_page(page, stats_page(reader, tallies))
    if config.json:
        emit_json({"rows": reader.num_rows, "shards": len(reader.manifest.shards), "sources": found})
        return
    print_tables(config.shards, found)
    if page is not None:
        print(page)
    else:
        log(f"histograms of every dimension: fasttok-pipelines stats {config.shards} --html")


def tally_rows(reader: ShardReader) -> dict[str, Tally]:
    """Every row, counted."""
    tok, problem = held_tokenizer(reader)
    if problem:
        log(f"warning: no shares outside the normaliser's range: {problem}")
    tallies = {name: Tally(s, ranges(tok, s.embodiment)) for name, s in reader.manifest.sources.items()}
    names, values = list(tallies), list(tallies.values())
    for _, _, batch in scan(reader, "reading rows"):
        codes = source_codes(batch, names)
        if (codes < 0).any():  # lint says what is wrong with them
            batch = batch.filter(codes >= 0)
            codes = codes[codes >= 0]
        for code, rows in enumerate(np.bincount(codes, minlength=len(names)).tolist()):
            values[code].rows += rows
            if rows and values[code].source.kind == "robot":
                values[code].numbers(batch, codes == code)
        add_texts(batch, codes, values)
        add_pictures(batch, codes, values)
    return tallies


def line(name: str, tally: Tally) -> dict[str, Any]:
    """One source's numbers as plain data."""
    source = tally.source
    ids = spread(tally.lengths)
    pictures = [
        {"camera": slot, "format": kind, "width": width, "height": height, "count": count}
        for (slot, kind, width, height), count in sorted(tally.pictures.items())
    ]
    texts = {
        f"{column}s": {
            "words": spread(tally.words[column]),
            "bytes": tally.bytes[column],
            "different": len(tally.texts[column]) if not tally.more[column] else None,
            "most frequent": dict(tally.texts[column].most_common(TOP)),
        }
        for column in TEXTS
    }
    return {
        "source": name,
        "kind": source.kind,
        "share_planned": source.share,
        "planned": source.planned,
        "rows": tally.rows,
        "rejected": source.rejected,
        "padded": tally.padded,
        "image_bytes": sum(tally.picture_bytes.values()),
        "pictures": pictures,
        "fast_ids": ids,
        "histogram": histogram(np.repeat(*counted(tally.lengths))) if tally.lengths else None,
        **texts,
        **{what: dimensions(tally, what) for what in ("action", "state")},
    }


def dimensions(tally: Tally, what: str) -> list[dict[str, Any]]:
    """Per dimension of `action` or `state`: range, share outside the normaliser's, histogram."""
    held = tally.histograms.get(what)
    if held is None:
        return []
    names = tally.source.column_names(what)
    return [
        {
            "name": names[d] if d < len(names) else f"{what}[{d}]",
            "min": float(held.least[d]),
            "max": float(held.most[d]),
            "range": list(limit[:2]) if limit else None,
            "range_is": limit[2] if limit else None,
            "outside": held.beyond[d] / held.values if limit and held.values else None,
            "counts": held.counts[d].tolist(),
            "edges": held.edges(d).tolist(),
        }
        for d, limit in enumerate(held.limits)
    ]


def spread(lengths: dict[int, int]) -> dict[str, float] | None:
    """Mean, percentiles and sum of counted lengths."""
    if not lengths:
        return None
    values, counts = counted(lengths)
    ends = np.cumsum(counts)

    def percentile(q: float) -> int:
        return int(values[np.searchsorted(ends, q * ends[-1])])

    total = int((values * counts).sum())
    return {"total": total, "mean": total / int(ends[-1]), "p5": percentile(0.05), "p50": percentile(0.5),
            "p95": percentile(0.95), "max": int(values[-1])}  # fmt: skip


def counted(lengths: dict[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Values in ascending order, and how often each occurs."""
    values = np.array(sorted(lengths), np.int64)
    return values, np.array([lengths[value] for value in values.tolist()], np.int64)


def print_tables(shards: str, found: list[dict[str, Any]]) -> None:
    """Everything on the terminal."""
    total = max(sum(r["rows"] for r in found), 1)
    cells = []
    for r in found:
        ids = r["fast_ids"]
        cells.append([r["source"], r["kind"], r["planned"], r["rows"], _percent(r["share_planned"]), _percent(r["rows"] / total),
                      r["padded"] if ids else None, r["image_bytes"] / 1e6, ids and ids["mean"],
                      f"{ids['p5']}..{ids['p95']}" if ids else None, r["histogram"]])  # fmt: skip
    columns = ["source", "kind", "planned", "rows", "share asked", "written", "padded rows", "image MB", "FAST ids/row"]
    columns += ["p5..p95", "histogram"]
    table(f"{shards}: rows per source", columns, cells)
    cells = []
    for r in found:
        for column in TEXTS:
            t = r[f"{column}s"]
            if t["bytes"]:
                w = t["words"]
                top = next(iter(t["most frequent"].items()))
                often = f"{top[0][:40]!r} in {top[1] / max(r['rows'], 1):.1%}"
                cells.append([r["source"], column, w["mean"], f"{w['p5']}..{w['p95']}", w["max"], t["bytes"],
                              t["different"] or "very many", often])  # fmt: skip
    if cells:
        table("\ntexts", ["source", "", "words/row", "p5..p95", "max", "bytes", "different", "most frequent"], cells)
    cells = []
    for r in found:
        for p in r["pictures"]:
            share = _percent(p["count"] / max(r["rows"], 1))
            cells.append([r["source"], p["camera"], p["format"], f"{p['width']} x {p['height']}", p["count"], share])
    if cells:
        table("\npictures", ["source", "camera", "format", "size", "rows", "of its rows"], cells)
    cells = [
        [r["source"], what, d["name"], d["min"], d["max"], d["range"] and f"{d['range'][0]:.4g}..{d['range'][1]:.4g}",
         _percent(d["outside"]), spark(np.array(d["counts"]))]
        for what in ("action", "state") for r in found for d in r[what]
    ]  # fmt: skip
    if cells:
        columns = ["source", "", "dimension", "min", "max", "normaliser", "outside", "histogram"]
        table("\nactions (real steps) and states, raw units", columns, cells)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.2%}"


def spark(counts: NDArray) -> str:
    """Counts as blocks, two bins in one.

    >>> spark(np.array([0, 0, 1, 1, 8, 8]))
    '▁▂█'
    """
    pairs = np.add.reduceat(counts, np.arange(0, len(counts), 2))
    return "".join(BARS[int(np.ceil(c / max(pairs.max(), 1) * (len(BARS) - 1)))] for c in pairs)


def histogram(values: NDArray) -> str:
    """Counts over equal bins from the least to the largest value, as a line of blocks.

    >>> histogram(np.array([1, 1, 1, 1, 2, 9]))
    '1 █▁▃▁▁▁▁▁▁▁▁▁▁▁▁▃ 9'
    """
    counts, _ = np.histogram(values, BINS)
    top = len(BARS) - 1
    blocks = "".join(BARS[int(np.ceil(c / counts.max() * top)) if c else 0] for c in counts)
    return f"{int(values.min())} {blocks} {int(values.max())}"
