"""The page of `fasttok-pipelines stats SHARDS --html`."""

from typing import Any

import numpy as np

from fasttok.common import html
from fasttok.common.html import KIND_COLOURS, PALETTE, Markup, tag
from fasttok.common.html.histogram import histogram
from pipelines.look.page_parts import anchor, chunk_words, clip, kind_badge, mixture_section
from pipelines.look.row_counts import TEXTS, Histogram, Tally
from pipelines.look.stats import counted, spread
from pipelines.shards import ShardReader
from pipelines.shards.manifest import ManifestSource

TOP = 8
LEAD = (
    "Histograms of actions and states: raw units. The tinted part is what the normaliser maps to [-1, 1] (such as q01..q99); "
    "orange bars lie outside it. The outermost bars also hold everything beyond them. Actions count real steps, not padding."
)


def stats_page(reader: ShardReader, tallies: dict[str, Tally]) -> str:
    """One self-contained page of what `pipelines.look.stats.tally_rows` counted."""
    manifest = reader.manifest
    name = str(manifest.mixture.get("name", "shards"))
    ids = sum(length * rows for tally in tallies.values() for length, rows in tally.lengths.items())
    words = sum(n * rows for tally in tallies.values() for column in TEXTS for n, rows in tally.words[column].items())
    pictures = sum(sum(tally.pictures.values()) for tally in tallies.values())
    size = sum(sum(tally.picture_bytes.values()) for tally in tallies.values())
    sections = [section(anchor(manifest, source), source, tally) for source, tally in tallies.items()]
    return html.page(
        f"{name}: statistics of the shards",
        tag("h1", f"{name}: statistics of the shards"),
        tag("p", f"Every row of {len(manifest.shards)} shard(s), counted.", class_="soft"),
        html.tiles({
            "rows": f"{reader.num_rows:,}", "FAST ids": f"{ids:,}", "words of prompts and targets": f"{words:,}",
            "pictures": f"{pictures:,}", "MB of pictures": f"{size / 1e6:,.1f}",
        }),
        *mixture_section(manifest, tallies),
        tag("p", LEAD, class_="soft"),
        *sections,
    )  # fmt: skip


def section(ident: str, name: str, tally: Tally) -> Markup:
    """One source."""
    source = tally.source
    robot = source.kind == "robot"
    parts: list[Any] = [tag("h2", name, Markup(" "), kind_badge(source.kind), id=ident)]
    known: dict[str, Any] = {"rows": tally.rows}
    if robot:
        found = spread(tally.lengths)
        known |= {
            "embodiment": source.embodiment,
            "chunk, steps x dims": chunk_words(source),
            "padded rows": f"{tally.padded / max(tally.rows, 1):.1%}",
            "FAST ids a row": f"{found['mean']:.1f} ({found['p5']} to {found['p95']})" if found else None,
            "values per FAST id": source.horizon * source.action_dim / found["mean"]
            if found and found["mean"]
            else None,
        }
    parts.append(html.facts(known))
    parts.append(pictures_table(tally))
    colour = KIND_COLOURS.get(source.kind, PALETTE[-1])
    small = []
    if tally.lengths:
        small.append(tag("div", lengths(tally.lengths, "FAST ids a row", colour)))
    small += [
        tag("div", lengths(tally.words[column], f"words of a {column}", colour))
        for column in TEXTS
        if tally.bytes[column]
    ]
    parts.append(tag("div", *small, class_="plots wide-plots"))
    parts += [top_texts(tally, column) for column in TEXTS if tally.bytes[column]]
    for what in ("action", "state"):
        held = tally.histograms.get(what)
        if held is not None:
            parts += [tag("h3", f"{what}s: {held.values:,} steps"), dims(held, what, source)]
    return tag("section", *parts)


def lengths(counts: dict[int, int], title: str, colour: str) -> Markup:
    """Bars of counted lengths, one each where they are few."""
    values, rows = counted(counts)
    low, high = float(values[0]), float(values[-1])
    edges = np.arange(low, high + 2) - 0.5 if high - low < 60 else np.linspace(low, high + 1, 41)
    heights, _ = np.histogram(values, edges, weights=rows)
    return histogram(edges, heights.astype(np.int64), title=title, colour=colour, width=340, height=140)


def dims(held: Histogram, what: str, source: ManifestSource) -> Markup:
    """A histogram a dimension."""
    names = source.column_names(what)
    cells = []
    for d, limit in enumerate(held.limits):
        title = names[d] if d < len(names) else f"{what}[{d}]"
        inside = limit[:2] if limit else None
        drawing = histogram(held.edges(d), held.counts[d], title=title, inside=inside, width=250, height=120)
        share = f"{held.beyond[d] / max(held.values, 1):.1%} outside; " if limit else ""
        note = f"{share}{held.least[d]:.2g} to {held.most[d]:.2g}"
        cells.append(tag("div", drawing, tag("div", note, class_="soft")))
    warn = (
        [tag("p", f"{held.not_finite:,} values are NaN or inf and are not drawn; see lint.", class_="warn")]
        if held.not_finite
        else []
    )
    return Markup("".join([*warn, tag("div", *cells, class_="plots")]))


def pictures_table(tally: Tally) -> Markup:
    """Cameras: how many rows have them, formats and sizes."""
    rows = []
    for slot in dict.fromkeys([*tally.source.cameras, *(key[0] for key in tally.pictures)]):
        kinds = sorted(
            ((key, count) for key, count in tally.pictures.items() if key[0] == slot), key=lambda item: -item[1]
        )
        have = sum(count for _, count in kinds)
        shown = ", ".join(
            f"{width} x {height} {kind.upper()}" + (f" ({count:,})" if len(kinds) > 1 else "")
            for (_, kind, width, height), count in kinds[:TOP]
        )
        more = f" and {len(kinds) - TOP} other sizes" if len(kinds) > TOP else ""
        mean = tally.picture_bytes[slot] / have / 1000 if have else None
        rows.append([slot, have, f"{have / max(tally.rows, 1):.1%}", shown + more, mean])
    return html.table(["camera", "rows", "of its rows", "sizes", "mean kB"], rows)


def top_texts(tally: Tally, column: str) -> Markup:
    """The most frequent prompts or targets, as a table that can be opened."""
    held, more = tally.texts[column], tally.more[column]
    rows = [
        [clip(text, 300) or "(empty)", count, f"{count / max(tally.rows, 1):.1%}", html.bar(count / max(tally.rows, 1))]
        for text, count in held.most_common(TOP)
    ]
    different = f"more than {len(held):,}" if more else f"{len(held):,}"
    title = tag("summary", f"{different} different {column}s; the most frequent is in {rows[0][2]} of the rows")
    return tag("details", title, html.table([column, "rows", "share", ""], rows))
