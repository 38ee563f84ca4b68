"""The page of `fasttok inspect --html`: chunks one by one, with their curves, coefficients and tokens; self-contained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common import html
from fasttok.common.html import PALETTE, Axes, Markup, Series, plot, tag
from fasttok.tokenizer import ActionTokenizer


@dataclass(frozen=True, eq=False)
class ShownChunk:
    """A chunk to show.

    Attributes:
        title: what to call it.
        embodiment: whose it is.
        chunk: (T, D) in raw units.
        reference: (D,) what its relative dims are relative to, None if none is.
    """

    title: str
    embodiment: str | None
    chunk: NDArray[Any]
    reference: NDArray[Any] | None = None

    def through(self, tok: ActionTokenizer) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Its ids, its coefficients (T, C), and what the ids decode to (T, D)."""
        ids = tok.encode_report(self.chunk, embodiment=self.embodiment, reference=self.reference).ids[0]
        coefs = tok.coefficients(self.chunk, embodiment=self.embodiment, reference=self.reference)[0]
        horizon, dim = self.chunk.shape
        back = tok.decode(
            [ids], horizon=horizon, action_dim=dim, embodiment=self.embodiment, reference=self.reference
        ).actions[0]
        return ids, coefs, back

    def relative(self, tok: ActionTokenizer) -> dict[int, float]:
        """The state that each relative dim is relative to."""
        dims = tok.channels(self.embodiment).relative if self.reference is not None else ()
        return {d: float(self.reference[d]) for d in dims if self.reference is not None}


def inspect_page(tok: ActionTokenizer, name: str, shown: Sequence[ShownChunk]) -> str:
    """Chunks one by one: curves, coefficients, tokens.

    Args:
        tok: the tokenizer.
        name: what to call it.
        shown: the chunks.

    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> tok = ActionTokenizer.fit(chunks, 256)
    >>> "<h2>the first</h2>" in inspect_page(tok, "mine", [ShownChunk("the first", None, chunks[0])])
    True
    """
    sections: list[Any] = [
        tag("h1", f"Chunks through {name}"),
        tag("p", "Each chunk's actions, raw and decoded; its coefficients, low frequencies above; and its tokens, coloured "
            "alike where they stand. Tokens are read row by row."),
    ]  # fmt: skip
    for one in shown:
        sections += [tag("h2", one.title), *chunk_section(tok, one)]
    return html.page(f"Chunks through {name}", *sections)


def chunk_section(tok: ActionTokenizer, shown: ShownChunk) -> list[Markup]:
    """One chunk.

    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> len(chunk_section(ActionTokenizer.fit(chunks, 256), ShownChunk("", None, chunks[0])))
    4
    """
    chunk, (ids, coefs, back) = shown.chunk, shown.through(tok)
    relative = shown.relative(tok)
    spans = tok.bpe.spans(ids)
    steps = np.arange(len(chunk))
    stats = tok.channels(shown.embodiment).stats
    dim = chunk.shape[1]
    span = np.ones(dim) if stats is None else stats.unnormalize(np.ones(dim)) - stats.unnormalize(np.zeros(dim))
    curves = []
    for d in range(chunk.shape[1]):
        raw = Series("raw", steps, chunk[:, d], PALETTE[0])
        decoded = Series("decoded", steps, back[:, d], PALETTE[1], dashed=True)
        title = f"dim {d}" + (f", relative to {relative[d]:.4g}" if d in relative else "")
        curves.append(tag("div", plot([raw, decoded], Axes("step", least=0.4 * span[d]), title=title), class_="card"))
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
