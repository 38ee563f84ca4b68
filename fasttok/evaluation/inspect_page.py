"""The page of `fasttok inspect --html`: chunks one by one, with their curves, coefficients and tokens; self-contained."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common import html
from fasttok.common.html import PALETTE, Axes, Markup, Series, plot, tag
from fasttok.tokenizer import ActionTokenizer


def inspect_page(tok: ActionTokenizer, name: str, shown: Sequence[tuple[str, str | None, NDArray[Any]]]) -> str:
    """Chunks one by one: curves, coefficients, tokens.

    Args:
        tok: the tokenizer.
        name: what to call it.
        shown: title, embodiment and chunk (T, D) in raw units of each.

    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> tok = ActionTokenizer.fit(chunks, 256)
    >>> "<h2>the first</h2>" in inspect_page(tok, "mine", [("the first", None, chunks[0])])
    True
    """
    sections: list[Any] = [
        tag("h1", f"Chunks through {name}"),
        tag("p", "Each chunk's actions, raw and decoded; its coefficients, low frequencies above; and its tokens, coloured "
            "alike where they stand. Tokens are read row by row."),
    ]  # fmt: skip
    for title, embodiment, chunk in shown:
        sections += [tag("h2", title), *chunk_section(tok, embodiment, chunk)]
    return html.page(f"Chunks through {name}", *sections)


def chunk_section(tok: ActionTokenizer, embodiment: str | None, chunk: NDArray[Any]) -> list[Markup]:
    """One chunk.

    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> len(chunk_section(ActionTokenizer.fit(chunks, 256), None, chunks[0]))
    4
    """
    ids = tok.encode_report(chunk, embodiment=embodiment).ids[0]
    back = tok.decode([ids], horizon=chunk.shape[0], action_dim=chunk.shape[1], embodiment=embodiment).actions[0]
    coefs = tok.coefficients(chunk, embodiment=embodiment)[0]
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
            tag("div", plot([raw, decoded], Axes("step", least=0.4 * span[d]), title=f"dim {d}"), class_="card")
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


def heatmap(coefs: NDArray[Any], colours: Sequence[str]) -> Markup:
    """Coefficients (T, C) as cells; frequencies that are 0 in all dims to the end are left out, and said so.

    >>> heatmap(np.array([[3, 0]]), ["red", "blue"]).count("<rect")
    2
    """
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
