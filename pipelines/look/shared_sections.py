"""Sections that the pages of `inspect` and `stats` both show: the sources, and facts about them in words."""

from collections.abc import Container, Sequence
from itertools import groupby

from fasttok.common import html
from fasttok.common.html import Markup, tag
from pipelines.shards.manifest import Manifest, ManifestSource


def encodings(values: Sequence[str]) -> str:
    """Writes encodings with equal neighbours counted.

    >>> encodings(["delta", "delta", "gripper"])
    'delta x 2, gripper'
    """
    runs = [(name, len(list(same))) for name, same in groupby(values)]
    return ", ".join(name if count == 1 else f"{name} x {count}" for name, count in runs)


def kind_badge(kind: str) -> Markup:
    """Returns a source's kind as a coloured label.

    >>> "vqa" in kind_badge("vqa")
    True
    """
    return html.badge(kind, html.KIND_COLOURS.get(kind, html.NEUTRAL))


def clip(text: str, most: int = 2000) -> str:
    """Cuts a long text, and says how much is missing.

    >>> clip("abcdef", 4)
    'abcd … (2 more characters)'
    """
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"


def mixture_section(manifest: Manifest, linked: Container[str]) -> list[Markup]:
    """Returns a table of the sources: what was planned for them and what was written.

    Args:
        manifest: manifest of the shards.
        linked: names of the sources that have a section on the page.
    """
    total = max(manifest.counts.written, 1)
    rows = []
    for name, s in manifest.sources.items():
        share = s.written / total
        label = tag("a", name, href=f"#{anchor(manifest, name)}") if name in linked else name
        counts = [s.planned, s.written, s.rejected, html.percent(s.share, 2), html.percent(share, 2)]
        bar = html.bar(share, html.KIND_COLOURS.get(s.kind, html.NEUTRAL))
        rows.append([label, kind_badge(s.kind), *counts, s.planned / s.steps_held if s.steps_held else None, bar])
    columns = ["source", "kind", "planned", "written", "rejected", "share asked", "share written", "epochs", ""]
    return [html.table(columns, rows)]


def anchor(manifest: Manifest, name: str) -> str:
    """Returns the HTML id of a source's section: a number, as names come from data."""
    return f"source-{list(manifest.sources).index(name)}"


def chunk_words(source: ManifestSource) -> str | None:
    """Describes a source's chunk, such as "5 x 7 (1 s)"; None if it has none."""
    if not source.horizon:
        return None
    hz = source.control_hz
    return f"{source.horizon} x {source.action_dim}" + (f" ({source.horizon / hz:.3g} s)" if hz else "")
