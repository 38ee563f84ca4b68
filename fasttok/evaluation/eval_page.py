"""The page of `fasttok eval --html`: one self-contained file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common import html
from fasttok.common.html import PALETTE, Axes, Markup, Series, plot, table, tag, tiles
from fasttok.evaluation.metrics import Cell, Metrics, error_rows
from fasttok.evaluation.rate_distortion import Point
from fasttok.tokenizer import ActionTokenizer


@dataclass(frozen=True, eq=False)
class Measured:
    """What `fasttok eval` measured on one embodiment.

    Attributes:
        metrics: tokens and errors.
        signal: (T,) root mean square coefficient of each frequency, in normalised units.
        error: (T,) root mean square rounding error of each frequency, in normalised units.
    """

    metrics: Metrics
    signal: NDArray[np.float64]
    error: NDArray[np.float64]


def eval_page(tok: ActionTokenizer, name: str, rows: Sequence[dict[str, Cell]], measured: dict[str, Measured],
              points: Sequence[Point], note: str = "", measured_on: str = "held-out episodes") -> str:  # fmt: skip
    """The report of one tokenizer on one data set.

    >>> from fasttok.evaluation.metrics import measure
    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> tok = ActionTokenizer.fit(chunks, 256)
    >>> measured = Measured(measure(tok, chunks), np.ones(15), np.ones(15))
    >>> "Tokens per chunk" in eval_page(tok, "mine", [{"embodiment": "arm"}], {"arm": measured}, [])
    True
    """
    mean = float(np.mean([m.metrics.fast_tokens for m in measured.values()]))
    ratio = float(np.mean([m.metrics.ratio for m in measured.values()]))
    sections: list[Any] = [
        tag("h1", f"FAST tokenizer {name}"),
        tag("p", f"{tok.vocab_size} ids, scale {tok.scale:g}, {tok.mode} fit, coefficients {tok.min_token}..{tok.max_token}, "
            f"fingerprint {tok.fingerprint}. Measured on {measured_on}."),
        tiles({"tokens per chunk": f"{mean:.1f}", "naive tokens per FAST token": f"{ratio:.1f}",
               "root mean square error, normalised": f"{np.mean([m.metrics.rms_normalized for m in measured.values()]):.3g}"}),
        tag("h2", "Tokens per chunk"),
        tag("p", "Naive: one of 256 bins for each step and dimension (arXiv 2501.09747, table I has these columns). Without BPE: "
            "coefficients that are not 0.", class_="soft"),
        table(list(rows[0]), [list(row.values()) for row in rows]),
    ]  # fmt: skip
    if note:
        sections.append(tag("p", note))
    cards = []
    for i, (embodiment, result) in enumerate(measured.items()):
        values, counts = np.unique(result.metrics.lengths, return_counts=True)
        cards.append(
            tag(
                "div",
                histogram(values, counts, f"{embodiment}: tokens per chunk", PALETTE[i % len(PALETTE)]),
                class_="card",
            )
        )
        frequencies = np.arange(len(result.signal))
        lines = [
            Series("signal", frequencies, result.signal, PALETTE[0]),
            Series("rounding error", frequencies, result.error, PALETTE[1]),
        ]
        cards.append(
            tag("div", plot(lines, Axes("frequency (0 is the chunk's mean)", log_y=True),
                            title=f"{embodiment}: root mean square by frequency, normalised"), class_="card")
        )  # fmt: skip
    sections += [tag("div", *cards, class_="cards"), tag("h2", "Error per dimension, raw units")]
    dims = error_rows({name: m.metrics for name, m in measured.items()})
    sections.append(table(["embodiment", "dim", "root mean square", "largest", "normalised by"], dims))
    if points:
        what = "Native fits on the training part with other scales and vocabulary sizes; the error depends on the scale alone."
        sections += [tag("h2", "Rate and distortion"), tag("p", what, class_="soft"), rate_plots(points)]
    return html.page(f"FAST tokenizer {name}", *sections)


def rate_plots(points: Sequence[Point]) -> Markup:
    """Tokens against error for each embodiment, one line a vocabulary size, and all points as a table.

    >>> rate_plots([Point("arm", 10.0, 256, 30.0, 0.01)]).count("<svg")
    1
    """
    cards = []
    for embodiment in dict.fromkeys(p.embodiment for p in points):
        sizes = sorted({p.vocab_size for p in points if p.embodiment == embodiment})
        lines = []
        for i, size in enumerate(sizes):
            chosen = sorted(
                (p for p in points if (p.embodiment, p.vocab_size) == (embodiment, size)), key=lambda p: p.tokens
            )
            lines.append(
                Series(f"{size} ids", [p.tokens for p in chosen], [p.rms for p in chosen], PALETTE[i % len(PALETTE)])
            )
        cards.append(
            tag(
                "div",
                plot(lines, Axes("tokens per chunk", log_y=True), title=f"{embodiment}: error, normalised"),
                class_="card",
            )
        )
    rows = [[p.embodiment, p.scale, p.vocab_size, p.tokens, p.rms] for p in points]
    return Markup(
        tag("div", *cards, class_="cards")
        + table(["embodiment", "scale", "vocabulary", "tokens per chunk", "error"], rows)
    )


def histogram(values: NDArray[Any], counts: NDArray[Any], title: str, colour: str) -> Markup:
    """Bars of counts.

    >>> histogram(np.array([3, 4]), np.array([1, 2]), "tokens per chunk", PALETTE[0]).count("<svg")
    1
    """
    low, high = float(values.min()), float(values.max())
    edges = np.arange(low, high + 2) if high - low < 60 else np.linspace(low, high + 1, 41)
    heights, edges = np.histogram(np.repeat(values, counts), edges)
    x, y = [float(edges[0])], [0.0]
    for height, left, right in zip(heights, edges, edges[1:], strict=False):
        x += [float(left), float(right)]
        y += [float(height), float(height)]
    return plot(
        [Series("", [*x, float(edges[-1])], [*y, 0.0], colour)], Axes("tokens", zero=True), title=title, legend=False
    )
