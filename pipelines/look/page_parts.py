"""Where `inspect` and `stats` put their pages, and the parts that both draw."""

import posixpath
from collections.abc import Container, Sequence
from typing import Annotated, Any

import tyro

from fasttok.common import html
from fasttok.common.html import Markup, tag
from fasttok.errors import InputError
from pipelines.common.files import atomic_write, filesystem
from pipelines.shards.manifest import Manifest, ManifestSource

BEGINS = b"<!doctype html>"
# A flag whose value may be left out: None: not given, (): given alone.
PagePath = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[FILE]")]


def page_path(given: tuple[str, ...] | None, shards: str, what: str) -> str | None:
    """Where a page goes, None where none is asked for.

    Raises:
        InputError: several names.

    >>> page_path((), "gs://bucket/runs/soup/", "inspect")
    'soup.inspect.html'
    """
    if given is None:
        return None
    if len(given) > 1:
        raise InputError(f"--html takes one FILE, got {len(given)}: {' '.join(given)}")
    name = posixpath.basename(shards.rstrip("/")) or "shards"
    return given[0] if given else f"{'shards' if name in ('.', '..') else name}.{what}.html"


def write_page(path: str, page: str) -> None:
    """Writes a page; replaces only pages.

    Raises:
        InputError: something else has that name, or it cannot be written.
    """
    fs, place = filesystem(path)
    try:
        if fs.isdir(place) or (fs.exists(place) and fs.head(place, len(BEGINS)) != BEGINS):
            raise InputError(f"{path} exists and is not a page, so it is left alone; give --html another FILE")
        with atomic_write(path) as stream:
            stream.write(page.encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); give --html another FILE") from None


def encodings(values: Sequence[str]) -> str:
    """Equal neighbours counted.

    >>> encodings(["delta", "delta", "gripper"])
    'delta x 2, gripper'
    """
    runs: list[list[Any]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    return ", ".join(name if count == 1 else f"{name} x {count}" for name, count in runs)


def kind_badge(kind: str) -> Markup:
    """A source's kind as a coloured label."""
    return html.badge(kind, html.KIND_COLOURS.get(kind, html.PALETTE[-1]))


def clip(text: str, most: int = 2000) -> str:
    """Long text cut, saying so.

    >>> clip("abcdef", 4)
    'abcd … (2 more characters)'
    """
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"


def mixture_section(manifest: Manifest, linked: Container[str]) -> list[Markup]:
    """Sources, asked for and written; `linked`: those that have a section on the page."""
    total = max(manifest.counts.written, 1)
    rows = []
    for name, s in manifest.sources.items():
        share, held = s.written / total, s.steps_held
        label = tag("a", name, href=f"#{anchor(manifest, name)}") if name in linked else name
        counts = [s.planned, s.written, s.rejected, f"{s.share:.2%}", f"{share:.2%}"]
        bar = html.bar(share, html.KIND_COLOURS.get(s.kind, html.PALETTE[-1]))
        rows.append([label, kind_badge(s.kind), *counts, s.planned / held if held else None, bar])
    columns = ["source", "kind", "planned", "written", "rejected", "share asked", "share written", "epochs", ""]
    return [html.table(columns, rows)]


def anchor(manifest: Manifest, name: str) -> str:
    """The id of a source's section: a number, as names come from data."""
    return f"source-{list(manifest.sources).index(name)}"


def chunk_words(source: ManifestSource) -> str | None:
    """A source's chunk: "5 x 7 (1 s)"."""
    if not source.horizon:
        return None
    hz = source.control_hz
    return f"{source.horizon} x {source.action_dim}" + (f" ({source.horizon / hz:.3g} s)" if hz else "")
