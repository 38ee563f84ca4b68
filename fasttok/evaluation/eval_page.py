"""Makes the page of `fasttok eval --html`, one self-contained file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common import html
from fasttok.common.html import COMPUTED, PALETTE, RECORDED, WARNING, Axes, Markup, Series, plot, table, tag, tiles
from fasttok.common.html.histogram import histogram
from fasttok.evaluation.eval_tables import TABLES
from fasttok.evaluation.measured import Measured
from fasttok.evaluation.metrics import Cell, error_rows
from fasttok.evaluation.rate_distortion import Point, tokens_at
from fasttok.tokenizer import ActionTokenizer

MARK = RECORDED  # colour of the tokenizer itself, different from those of the lines


@dataclass(frozen=True)
class EvalFacts:
    """What a report says besides its numbers.

    Attributes:
        note: a sentence below the first table; "" for none.
        measured_on: which episodes were measured.
        names: names of the dims, for embodiments of which they are known.
        command: command that made the page.
        fingerprint: of the tokenizer as it was loaded; None for that of the one that was measured.
    """

    note: str = ""
    measured_on: str = "held-out episodes"
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    command: str = ""
    fingerprint: str | None = None


@dataclass(frozen=True)
class RateCurves:
    """Fits with other scales and sizes, and the tokenizer itself to compare with them.

    Attributes:
        fits: the fits, one point per embodiment, scale and vocabulary size.
        own: the tokenizer, one point per embodiment.
    """

    fits: Sequence[Point] = ()
    own: Sequence[Point] = ()


def eval_page(tok: ActionTokenizer, name: str, rows: Sequence[dict[str, Cell]], measured: Mapping[str, Measured],
              curves: RateCurves, about: EvalFacts = EvalFacts()) -> str:  # fmt: skip
    """Makes the report of one tokenizer on one dataset."""
    mean = float(np.mean([m.metrics.fast_tokens for m in measured.values()]))
    ratio = float(np.mean([m.metrics.ratio for m in measured.values()]))
    sections: list[Any] = [
        tag("h1", f"FAST tokenizer {name}"),
        tag("p", f"{tok.vocab_size} ids, scale {tok.scale:g}, {tok.mode} fit, coefficients {tok.min_token}..{tok.max_token}, "
            f"fingerprint {about.fingerprint or tok.fingerprint}. Measured on {about.measured_on}."),
        tiles({"tokens per chunk": f"{mean:.1f}", "naive tokens per FAST token": f"{ratio:.1f}",
               "ids at best, by entropy": f"{np.mean([m.floor.fewest_ids for m in measured.values()]):.1f}",
               "longest chunk, tokens": max(m.metrics.fast_tokens_max for m in measured.values()),
               "root mean square error, normalised": f"{np.mean([m.metrics.rms_normalized for m in measured.values()]):.3g}"}),
        tag("h2", "Tokens per chunk"),
        tag("p", "Naive: one of 256 bins for each step and dimension (arXiv 2501.09747, table I has these columns). Without BPE: "
            "coefficients that are not 0.", class_="soft"),
        table(list(rows[0]), [list(row.values()) for row in rows]),
    ]  # fmt: skip
    if about.note:
        sections.append(tag("p", about.note))
    sections.append(tag("div", *_cards(measured), class_="cards"))
    for shown in TABLES:
        found = shown.rows(measured)
        if found:
            sections += [tag("h2", shown.title), tag("p", shown.says, class_="soft"), table(list(shown.columns), found)]
    cards = [tag("div", _partial_plot(name, m), class_="card") for name, m in measured.items()]
    sections += [tag("div", *cards, class_="cards"), tag("h2", "Error per dimension, raw units")]
    dims = error_rows({name: m.metrics for name, m in measured.items()}, about.names)
    sections.append(table(["embodiment", "dim", "root mean square", "largest", "normalised by"], dims))
    if curves.fits:
        sections += [tag("h2", "Rate and distortion"), *rate_section(curves)]
    return html.page(f"FAST tokenizer {name}", *sections, command=about.command)


def _cards(measured: Mapping[str, Measured]) -> list[Markup]:
    """Draws how long chunks are, and the signal and the error of each frequency."""
    cards = []
    for embodiment, result in measured.items():
        bars = length_histogram(result.metrics.lengths, f"{embodiment}: tokens per chunk")
        cards.append(tag("div", bars, class_="card"))
        frequencies = np.arange(len(result.signal))
        lines = [
            Series("signal", frequencies, result.signal, RECORDED),
            Series("error", frequencies, result.error, WARNING, dashed=True),
        ]
        axes = Axes("frequency (0: the chunk's mean)", "root mean square (normalised, log scale)", log_y=True)
        cards.append(tag("div", plot(lines, axes, title=f"{embodiment}: signal and error by frequency"), class_="card"))
    return cards


def _partial_plot(embodiment: str, result: Measured) -> Markup:
    line = Series("", [p.tokens for p in result.partial], [p.rms for p in result.partial], COMPUTED)
    axes = Axes("tokens that are read (mean per chunk)", "root mean square error (normalised, log scale)", log_y=True)
    return plot([line], axes, title=f"{embodiment}: error after the first tokens", legend=False)


def standing(own: Point, fits: Sequence[Point]) -> str:
    """Says in words how a tokenizer compares with fits of its size.

    >>> fits = [Point("arm", 10.0, 256, 30.0, 0.01), Point("arm", 20.0, 256, 50.0, 0.005)]
    >>> standing(Point("arm", 10.0, 256, 33.0, 0.01), fits)
    'arm: 33.0 tokens at an error of 0.01. A native fit of 256 ids on this data needs 30.0 there (this tokenizer: +10.0 %).'
    """
    here = f"{own.embodiment}: {own.tokens:.1f} tokens at an error of {own.rms:.3g}."
    there = tokens_at(fits, own)
    if there is None:
        return f"{here} No fit that was tried is near this error with {own.vocab_size} ids."
    more = f"{round(100 * (own.tokens / there - 1), 1) + 0.0:+.1f} %" if there else "more"
    return f"{here} A native fit of {own.vocab_size} ids on this data needs {there:.1f} there (this tokenizer: {more})."


def rate_section(curves: RateCurves) -> list[Markup]:
    """Draws tokens against error for each embodiment: a line per vocabulary size, a dot for the tokenizer itself; and a table.

    >>> fits = [Point("arm", 10.0, 256, 30.0, 0.01), Point("arm", 20.0, 256, 50.0, 0.005)]
    >>> drawn = "".join(rate_section(RateCurves(fits, [Point("arm", 10.0, 256, 33.0, 0.01)])))
    >>> drawn.count("<svg"), drawn.count("<circle")
    (1, 1)
    """
    cards = []
    for embodiment in dict.fromkeys(p.embodiment for p in curves.fits):
        lines = []
        sizes = sorted({p.vocab_size for p in curves.fits if p.embodiment == embodiment})
        for i, size in enumerate(sizes):
            fits = [p for p in curves.fits if (p.embodiment, p.vocab_size) == (embodiment, size)]
            fits = sorted(fits, key=lambda p: p.tokens)
            colour = PALETTE[i % len(PALETTE)]
            lines.append(Series(f"{size} ids", [p.tokens for p in fits], [p.rms for p in fits], colour))
        own = [p for p in curves.own if p.embodiment == embodiment]
        lines.append(Series("this tokenizer", [p.tokens for p in own], [p.rms for p in own], MARK, dots=True))
        axes = Axes("tokens per chunk", "root mean square error (normalised, log scale)", log_y=True)
        drawing = plot(lines, axes, title=f"{embodiment}: error by length")
        cards.append(tag("div", drawing, class_="card"))
    rows = [
        [p.embodiment, what, p.scale, p.vocab_size, p.tokens, p.rms]
        for what, points in (("this tokenizer", curves.own), ("native fit", curves.fits))
        for p in points
    ]
    says = (
        "Native fits on the training part with other scales and vocabulary sizes; the error depends on the scale alone."
    )
    return [
        tag("p", says, class_="soft"),
        *(tag("p", standing(own, curves.fits)) for own in curves.own),
        tag("div", *cards, class_="cards"),
        table(["embodiment", "what", "scale", "vocabulary", "tokens per chunk", "error"], rows),
    ]


def length_histogram(lengths: NDArray[np.generic], title: str) -> Markup:
    """Draws how many chunks have how many tokens.

    >>> length_histogram(np.array([3, 4, 4]), "tokens per chunk").count("<svg")
    1
    """
    low, high = float(lengths.min()), float(lengths.max())
    edges = np.arange(low, high + 2) - 0.5 if high - low < 60 else np.linspace(low, high + 1, 41)
    counts, edges = np.histogram(lengths, edges)
    return histogram(edges, counts, Axes("tokens per chunk", "chunks"), height=190, title=title)
