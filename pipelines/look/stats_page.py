"""The page of `fasttok-pipelines stats SHARDS --html`."""

from collections.abc import Mapping

import numpy as np

from fasttok.common import html
from fasttok.common.html import KIND_COLOURS, NEUTRAL, Axes, Markup, percent, tag
from fasttok.common.html.histogram import histogram
from pipelines.look.length_counts import counted, spread
from pipelines.look.row_counts import TEXTS, SourceCounts
from pipelines.look.shared_sections import anchor, chunk_words, clip, kind_badge, mixture_section
from pipelines.look.value_histogram import ValueHistogram
from pipelines.shards import ShardReader
from pipelines.shards.manifest import ManifestSource

TOP = 8
LEAD = (
    "Histograms of actions and states: raw units. The tinted part is what the normaliser maps to [-1, 1] (such as q01..q99); "
    "red bars are outside it. The outermost bars also hold everything beyond them. Actions count real steps, not padding."
)


def stats_page(reader: ShardReader, counts: Mapping[str, SourceCounts], command: str = "") -> str:
    """Returns one self-contained page.

    Args:
        reader: reader of the shards.
        counts: name of a source -> what `count_rows` counted.
        command: command that made the page.
    """
    manifest = reader.manifest
    name = str(manifest.mixture.get("name", "shards"))
    ids = sum(length * rows for of in counts.values() for length, rows in of.lengths.items())
    words = sum(n * rows for of in counts.values() for column in TEXTS for n, rows in of.words[column].items())
    pictures = sum(sum(of.pictures.values()) for of in counts.values())
    size = sum(sum(of.picture_bytes.values()) for of in counts.values())
    sections = [section(anchor(manifest, source), source, of) for source, of in counts.items()]
    return html.page(
        f"{name}: statistics of the shards",
        tag("h1", f"{name}: statistics of the shards"),
        tag("p", f"Every row of {len(manifest.shards)} shard(s), counted.", class_="soft"),
        html.tiles({
            "rows": f"{reader.num_rows:,}", "FAST ids": f"{ids:,}", "words of prompts and targets": f"{words:,}",
            "pictures": f"{pictures:,}", "MB of pictures": f"{size / 1e6:,.1f}",
        }),
        *mixture_section(manifest, counts),
        tag("p", LEAD, class_="soft"),
        *sections,
        command=command,
    )  # fmt: skip


def section(ident: str, name: str, counts: SourceCounts) -> Markup:
    """Returns the section of one source.

    Args:
        ident: id of the section on the page.
        name: name of the source.
        counts: counts of its rows.
    """
    source = counts.source
    robot = source.kind == "robot"
    drawn = [tag("h2", name, Markup(" "), kind_badge(source.kind), id=ident)]
    ids = spread(counts.lengths)
    known: dict[str, str | int | float | None] = {"rows": counts.rows}
    if robot:
        known |= {
            "embodiment": source.embodiment,
            "chunk, steps x dims": chunk_words(source),
            "padded rows": percent(counts.padded / max(counts.rows, 1)),
            "FAST ids per row": f"{ids['mean']:.1f} ({ids['p5']} to {ids['p95']})" if ids else None,
            "values per FAST id": source.horizon * source.action_dim / ids["mean"] if ids and ids["mean"] else None,
        }
    drawn.append(html.facts(known))
    drawn.append(pictures_table(counts))
    colour = KIND_COLOURS.get(source.kind, NEUTRAL)
    small = []
    if counts.lengths:
        small.append(tag("div", lengths(counts.lengths, "FAST ids per row", colour)))
    small += [
        tag("div", lengths(counts.words[column], f"words per {column}", colour))
        for column in TEXTS
        if counts.bytes[column]
    ]
    drawn.append(tag("div", *small, class_="plots wide-plots"))
    drawn += [top_texts(counts, column) for column in TEXTS if counts.bytes[column]]
    for column in ("action", "state"):
        values = counts.histograms.get(column)
        if values is not None:
            drawn += [tag("h3", f"{column}s: {values.values:,} steps"), dims(values, column, source)]
    return tag("section", *drawn)


def lengths(counts: Mapping[int, int], title: str, colour: str) -> Markup:
    """Draws counted lengths as bars, one bar per length if there are few."""
    values, rows = counted(counts)
    low, high = float(values[0]), float(values[-1])
    edges = np.arange(low, high + 2) - 0.5 if high - low < 60 else np.linspace(low, high + 1, 41)
    heights, _ = np.histogram(values, edges, weights=rows)
    return histogram(edges, heights.astype(np.int64), Axes(title, "rows"), title=title, colour=colour, height=170)


def dims(values: ValueHistogram, column: str, source: ManifestSource) -> Markup:
    """Draws a histogram for each dimension.

    Args:
        values: histograms of the column.
        column: `action` or `state`.
        source: source that the values belong to.
    """
    names = source.column_names(column)
    cells = []
    for d, limit in enumerate(values.limits):
        title = names[d] if d < len(names) else f"{column}[{d}]"
        inside = limit[:2] if limit else None
        drawing = histogram(
            values.edges(d), values.counts[d], Axes(title, "steps"), inside=inside, width=250, height=140
        )
        share = f"{percent(values.beyond[d] / max(values.values, 1))} outside; " if limit else ""
        note = f"{share}{values.least[d]:.2g} to {values.most[d]:.2g}"
        cells.append(tag("div", drawing, tag("div", note, class_="soft")))
    warn = (
        [tag("p", f"{values.not_finite:,} values are NaN or inf and are not drawn; see lint.", class_="warn")]
        if values.not_finite
        else []
    )
    return Markup("".join([*warn, tag("div", *cells, class_="plots")]))


def pictures_table(counts: SourceCounts) -> Markup:
    """Returns a table of cameras: how many rows have them, formats and sizes."""
    rows = []
    for slot in dict.fromkeys([*counts.source.cameras, *(key[0] for key in counts.pictures)]):
        kinds = sorted(
            ((key, count) for key, count in counts.pictures.items() if key[0] == slot), key=lambda item: -item[1]
        )
        have = sum(count for _, count in kinds)
        shown = ", ".join(
            f"{width} x {height} {kind.upper()}" + (f" ({count:,})" if len(kinds) > 1 else "")
            for (_, kind, width, height), count in kinds[:TOP]
        )
        more = f" and {len(kinds) - TOP} other sizes" if len(kinds) > TOP else ""
        mean = counts.picture_bytes[slot] / have / 1000 if have else None
        rows.append([slot, have, percent(have / max(counts.rows, 1)), shown + more, mean])
    return html.table(["camera", "rows", "of its rows", "sizes", "mean kB"], rows)


def top_texts(counts: SourceCounts, column: str) -> Markup:
    """Returns the most frequent prompts or targets, as a table that can be opened."""
    texts, more = counts.texts[column], counts.more[column]
    rows = [
        [
            clip(text, 300) or "(empty)",
            count,
            percent(count / max(counts.rows, 1)),
            html.bar(count / max(counts.rows, 1)),
        ]
        for text, count in texts.most_common(TOP)
    ]
    different = f"more than {len(texts):,}" if more else f"{len(texts):,}"
    several = f"{different} different {column}s; the most frequent is in {rows[0][2]} of the rows"
    title = tag("summary", several if len(texts) > 1 or more else f"one {column}, in all rows")
    return tag("details", title, html.table([column, "rows", "share", ""], rows))
