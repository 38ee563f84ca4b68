"""The pages of `fasttok eval --html` and `fasttok inspect --html`: one self-contained file each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common import html
from fasttok.common.html import PALETTE, Markup, Series, plot, table, tag, tiles
from fasttok.evaluation.metrics import Metrics, error_rows
from fasttok.evaluation.rate_distortion import Point
from fasttok.tokenizer import ActionTokenizer

LEAD = "Everything here was measured on held-out episodes, which the statistics and merges never saw."


@dataclass(frozen=True, eq=False)
class Measured:
    """What `fasttok eval` found for one embodiment: metrics, and by frequency the signal and the rounding error."""

    metrics: Metrics
    signal: NDArray[np.float64]
    error: NDArray[np.float64]


def eval_page(tok: ActionTokenizer, name: str, rows: Sequence[dict[str, Any]], measured: dict[str, Measured],
              points: Sequence[Point], note: str = "") -> str:  # fmt: skip
    """The report of one tokenizer on one data set."""
    mean = float(np.mean([m.metrics.fast_tokens for m in measured.values()]))
    ratio = float(np.mean([m.metrics.ratio for m in measured.values()]))
    sections: list[Any] = [
        tag("h1", f"FAST tokenizer {name}"),
        tag("p", f"{tok.vocab_size} ids, scale {tok.scale:g}, {tok.mode} fit, coefficients {tok.min_token}..{tok.max_token}, "
            f"fingerprint {tok.fingerprint}. {LEAD}"),
        tiles({"tokens a chunk": f"{mean:.1f}", "naive tokens per FAST token": f"{ratio:.1f}",
               "root mean square error, normalised": f"{np.mean([m.metrics.rms_normalized for m in measured.values()]):.3g}"}),
        tag("h2", "Tokens per chunk"),
        tag("p", "Naive: one of 256 bins for each step and dimension (arXiv 2501.09747, table I has these columns). Without BPE: "
            "coefficients that are not 0.", class_="soft"),
        table(list(rows[0]), [list(row.values()) for row in rows]),
    ]  # fmt: skip
    if note:
        sections.append(tag("p", note))
    cards = []
    for i, (embodiment, found) in enumerate(measured.items()):
        values, counts = np.unique(found.metrics.lengths, return_counts=True)
        cards.append(
            tag(
                "div",
                histogram(values, counts, f"{embodiment}: tokens per chunk", PALETTE[i % len(PALETTE)]),
                class_="card",
            )
        )
        frequencies = np.arange(len(found.signal))
        lines = [
            Series("signal", frequencies, found.signal, PALETTE[0]),
            Series("rounding error", frequencies, found.error, PALETTE[1]),
        ]
        cards.append(
            tag("div", plot(lines, log_y=True, x_label="frequency (0 is the chunk's mean)",
                            title=f"{embodiment}: root mean square by frequency, normalised"), class_="card")
        )  # fmt: skip
    sections += [tag("div", *cards, class_="cards"), tag("h2", "Error per dimension, raw units")]
    dims = error_rows({name: m.metrics for name, m in measured.items()})
    sections.append(table(["embodiment", "dim", "root mean square", "largest"], dims))
    if points:
        what = "Native fits on the training part with other scales and vocabulary sizes; the error depends on the scale alone."
        sections += [tag("h2", "Rate and distortion"), tag("p", what, class_="soft"), rate_plots(points)]
    return html.page(f"FAST tokenizer {name}", *sections)


def rate_plots(points: Sequence[Point]) -> Markup:
    """Tokens against error for each embodiment, one line a vocabulary size, and all points as a table."""
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
                plot(lines, log_y=True, x_label="tokens a chunk", title=f"{embodiment}: error, normalised"),
                class_="card",
            )
        )
    rows = [[p.embodiment, p.scale, p.vocab_size, p.tokens, p.rms] for p in points]
    return Markup(
        tag("div", *cards, class_="cards")
        + table(["embodiment", "scale", "vocabulary", "tokens a chunk", "error"], rows)
    )


def histogram(values: NDArray, counts: NDArray, title: str, colour: str) -> Markup:
    """Bars of counts."""
    low, high = float(values.min()), float(values.max())
    edges = np.arange(low, high + 2) if high - low < 60 else np.linspace(low, high + 1, 41)
    heights, edges = np.histogram(np.repeat(values, counts), edges)
    x, y = [float(edges[0])], [0.0]
    for height, left, right in zip(heights, edges, edges[1:], strict=False):
        x += [float(left), float(right)]
        y += [float(height), float(height)]
    return plot(
        [Series("", [*x, float(edges[-1])], [*y, 0.0], colour)], zero=True, title=title, x_label="tokens", legend=False
    )


def inspect_page(tok: ActionTokenizer, name: str, shown: Sequence[tuple[str, str | None, NDArray]]) -> str:
    """Chunks one by one: curves, coefficients, tokens.

    Args:
        shown: (title, embodiment, chunk (T, D) raw units) of each.
    """
    sections: list[Any] = [
        tag("h1", f"Chunks through {name}"),
        tag("p", "Each chunk's actions, raw and decoded; its coefficients, low frequencies above; and its tokens, coloured "
            "alike where they stand. Tokens are read row by row."),
    ]  # fmt: skip
    for title, embodiment, chunk in shown:
        sections += [tag("h2", title), *chunk_section(tok, embodiment, chunk)]
    return html.page(f"Chunks through {name}", *sections)


def chunk_section(tok: ActionTokenizer, embodiment: str | None, chunk: NDArray) -> list[Markup]:
    """One chunk."""
    ids = tok.encode_report(chunk, embodiment).ids[0]
    back = tok.decode([ids], horizon=chunk.shape[0], action_dim=chunk.shape[1], embodiment=embodiment).actions[0]
    coefs = tok.coefficients(chunk, embodiment)[0]
    spans = tok.bpe.spans(ids)
    steps = np.arange(len(chunk))
    stats = tok.channels(embodiment).stats
    dim = chunk.shape[1]
    span = np.ones(dim) if stats is None else stats.unnormalize(np.ones(dim)) - stats.unnormalize(np.zeros(dim))
    curves = []
    for d in range(chunk.shape[1]):
        raw = Series("raw", steps, chunk[:, d], PALETTE[0])
        decoded = Series("decoded", steps, back[:, d], PALETTE[1], dashed=True)
        curves.append(
            tag("div", plot([raw, decoded], title=f"dim {d}", x_label="step", least=0.4 * span[d]), class_="card")
        )
    hues = [f"hsl({(47 * place) % 360} 70% 50% / .30)" for place in range(len(ids))]
    owner = np.zeros(coefs.size, int)
    for place, (start, stop) in enumerate(spans):
        owner[start:stop] = place
    colours = [hues[i] for i in owner]
    words = []
    for token, (start, stop), hue in zip(ids.tolist(), spans, hues, strict=True):
        values = coefs.reshape(-1)[start:stop]
        what = " ".join(map(str, values[:6])) + (f" … {len(values)}" if len(values) > 6 else "")
        words.append(tag("span", f"{token}: {what}", class_="tok mono", style=f"background:{hue}"))
    return [
        tag("div", *curves, class_="cards"),
        tag("h3", f"{len(ids)} tokens for {coefs.size} coefficients, {int((coefs != 0).sum())} of them not 0"),
        heatmap(coefs, colours),
        tag("div", *words, class_="tokens"),
    ]


def heatmap(coefs: NDArray, colours: Sequence[str]) -> Markup:
    """Coefficients (T, C) as cells; frequencies that are 0 in all dims to the end are left out, and said so."""
    used = np.flatnonzero((coefs != 0).any(axis=1))
    rows = min(len(coefs), (int(used[-1]) if len(used) else 0) + 2)
    cell, height = 46, 20
    parts = []
    for t in range(rows):
        for d in range(coefs.shape[1]):
            x, y = 40 + d * cell, t * height
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="{height - 2}" fill="{colours[t * coefs.shape[1] + d]}"/>'
            )
            if coefs[t, d]:
                parts.append(
                    f'<text x="{x + cell / 2 - 1}" y="{y + 14}" text-anchor="middle">{int(coefs[t, d])}</text>'
                )
        parts.append(f'<text x="32" y="{t * height + 14}" text-anchor="end">{t}</text>')
    width = 40 + coefs.shape[1] * cell
    drawing = Markup(
        f'<svg viewBox="0 0 {width} {rows * height}" style="max-width:{width}px" role="img" aria-label="coefficients">'
        f"{''.join(parts)}</svg>"
    )
    left_out = len(coefs) - rows
    note = f"Higher frequencies ({left_out}) are 0 in every dimension." if left_out else ""
    return tag("figure", drawing, tag("figcaption", note), style="margin:0 0 10px")
