"""Makes the page of `fasttok inspect --html`, one file that shows chunks one by one: curves, coefficients and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.codec.spline import Spline
from fasttok.codec.transform import Learned
from fasttok.common import html
from fasttok.common.html import COMPUTED, RECORDED, Axes, Markup, Series, plot, tag, token_hue
from fasttok.tokenizer import ActionTokenizer

LONGEST_NAME = 18  # characters of a dim's name above its column
OF_DCT = "rounded coefficients: a row per frequency (0: the mean), a column per dim"
OF_SPLINES = "rounded control points: a row per point, a column per dim"
OF_BASIS = "rounded coefficients: a row per learned direction over time, a column per dim"
OF_ROTATIONS = "rounded coefficients, row by row in the order in which they are coded"


@dataclass(frozen=True, eq=False)
class ShownChunk:
    """A chunk to show.

    Attributes:
        title: heading of the chunk.
        embodiment: embodiment of the chunk; None if the tokenizer has none.
        chunk: (T, D) in raw units.
        reference: (D,) what its relative dims are relative to; None if no dim is relative.
        names: names of its dims; () if they are not known.
        control_hz: steps per second; None if it is not known.
    """

    title: str
    embodiment: str | None
    chunk: NDArray[Any]
    reference: NDArray[Any] | None = None
    names: tuple[str, ...] = ()
    control_hz: float | None = None

    def dim(self, number: int) -> str:
        """Returns the name of a dim."""
        return self.names[number] if len(self.names) == self.chunk.shape[1] else f"dim {number}"

    def through(self, tok: ActionTokenizer) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Returns the chunk's ids, the coefficients (T, C) that they stand for, and what the ids decode to (T, D)."""
        ids = tok.encode_report(self.chunk, embodiment=self.embodiment, reference=self.reference).ids[0]
        coefs = tok.coefficients(self.chunk, embodiment=self.embodiment, reference=self.reference)[0]
        coefs = np.clip(coefs, tok.min_token, tok.max_token)  # as the ids code them
        horizon, dim = self.chunk.shape
        back = tok.decode(
            [ids], horizon=horizon, action_dim=dim, embodiment=self.embodiment, reference=self.reference
        ).actions[0]
        return ids, coefs, back

    def columns(self, tok: ActionTokenizer) -> tuple[str, list[str]]:
        """Says what its coefficients are, and returns the name of each column; numbers if rotations mixed the dims."""
        channels, transform = tok.channels(self.embodiment), tok.transform(self.embodiment)
        dims = range(self.chunk.shape[1]) if channels.kept is None else channels.kept.tolist()
        names = [self.dim(d) for d in dims]
        if isinstance(transform, Learned):
            mixed = transform.rotations.size > 0
            return (OF_ROTATIONS, [str(column) for column in range(len(names))]) if mixed else (OF_BASIS, names)
        return OF_SPLINES if isinstance(transform, Spline) else OF_DCT, names

    def relative(self, tok: ActionTokenizer) -> dict[int, float]:
        """Returns the state that each relative dim is relative to."""
        dims = tok.channels(self.embodiment).relative if self.reference is not None else ()
        return {d: float(self.reference[d]) for d in dims if self.reference is not None}


def inspect_page(tok: ActionTokenizer, name: str, shown: Sequence[ShownChunk], command: str = "") -> str:
    """Makes the page of some chunks: curves, coefficients, tokens.

    Args:
        tok: the tokenizer.
        name: name of the tokenizer.
        shown: the chunks.
        command: command that made the page.

    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> tok = ActionTokenizer.fit(chunks, 256)
    >>> "<h2>the first</h2>" in inspect_page(tok, "mine", [ShownChunk("the first", None, chunks[0])])
    True
    """
    sections: list[Any] = [
        tag("h1", f"Chunks through {name}"),
        tag("p", "Each section shows one chunk: its actions as recorded and as decoded, its coefficients, lowest frequency at "
            "the top, and its tokens: each with its id and, after the colon, the coefficients that it stands for. Both have the "
            "same colour; point at one, or choose it with the arrow keys, to mark the other. Tokens read the coefficients row by "
            "row."),
    ]  # fmt: skip
    for one in shown:
        sections.append(tag("section", tag("h2", one.title), *chunk_section(tok, one), class_="linked"))
    return html.page(f"Chunks through {name}", *sections, command=command)


def chunk_section(tok: ActionTokenizer, shown: ShownChunk) -> list[Markup]:
    """Makes the section of one chunk.

    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> len(chunk_section(ActionTokenizer.fit(chunks, 256), ShownChunk("", None, chunks[0])))
    4
    """
    chunk, (ids, coefs, back) = shown.chunk, shown.through(tok)
    relative = shown.relative(tok)
    spans = tok.bpe.spans(ids)
    x = np.arange(len(chunk)) / (shown.control_hz or 1.0)
    x_label = "time (s)" if shown.control_hz else "step"
    stats = tok.channels(shown.embodiment).stats
    dim = chunk.shape[1]
    span = np.ones(dim) if stats is None else stats.unnormalize(np.ones(dim)) - stats.unnormalize(np.zeros(dim))
    curves = []
    for d in range(chunk.shape[1]):
        recorded = Series("recorded", x, chunk[:, d], RECORDED)
        decoded = Series("decoded", x, back[:, d], COMPUTED, dashed=True)
        name = shown.dim(d)
        if d in relative:
            name += f", tokens relative to {relative[d]:.4g}"
        elif not name.endswith(")"):  # the name already has its unit
            name += ", raw units"
        axes = Axes(x_label, name, least=0.4 * span[d])
        curves.append(tag("div", plot([recorded, decoded], axes), class_="card"))
    hues = [token_hue(place) for place in range(len(ids))]
    owner = np.zeros(coefs.size, int)
    for place, (start, stop) in enumerate(spans):
        owner[start:stop] = place
    words = []
    for place, (token, (start, stop), hue) in enumerate(zip(ids.tolist(), spans, hues, strict=True)):
        values = coefs.reshape(-1)[start:stop]
        what = " ".join(map(str, values[:6])) + (f" … {len(values)}" if len(values) > 6 else "")
        words.append(tag("span", f"{token}: {what}", class_="tok mono", style=f"background:{hue}", data_token=place))
    said, columns = shown.columns(tok)
    return [
        tag("div", *curves, class_="cards"),
        tag("h3", f"{len(ids)} tokens for {coefs.size} coefficients, {int((coefs != 0).sum())} of them not 0"),
        heatmap(coefs, owner.tolist(), hues, columns, said),
        tag("div", *words, class_="tokens"),
    ]


def heatmap(
    coefs: NDArray[Any], owner: Sequence[int], hues: Sequence[str], names: Sequence[str] = (), said: str = OF_DCT
) -> Markup:
    """Draws coefficients as cells. The last frequencies are left out if they are 0 in all dims; a note says how many.

    Args:
        coefs: (T, C).
        owner: (T * C,) place of the token that each coefficient belongs to.
        hues: colour of each token.
        names: (C,) names of the columns; () for the numbers of dims.
        said: what the rows and columns are.

    >>> heatmap(np.array([[3, 0]]), [0, 1], ["red", "blue"]).count("<rect")
    2
    """
    used = np.flatnonzero((coefs != 0).any(axis=1))
    rows = min(len(coefs), (int(used[-1]) if len(used) else 0) + 2)
    cell, height, left = 46, 20, 40
    heads = [name.partition(" (")[0] for name in names] or [f"dim {d}" for d in range(coefs.shape[1])]
    heads = [head if len(head) <= LONGEST_NAME else f"{head[: LONGEST_NAME - 1]}…" for head in heads]
    longest = max(map(len, heads))
    upright = longest > 7  # too long for a cell: written upwards
    top = 10 + round(6.8 * longest) if upright else 18
    parts = []
    for d, head in enumerate(heads):
        x, y = left + d * cell + cell / 2 + (3 if upright else -1), top - 6
        turned = f'transform="rotate(-90 {x} {y})"' if upright else 'text-anchor="middle"'
        whole = f"<title>{html.text(names[d])}</title>" if names else ""
        parts.append(f'<text x="{x}" y="{y}" {turned}>{html.text(head)}{whole}</text>')
    for t in range(rows):
        for d in range(coefs.shape[1]):
            x, y, place = left + d * cell, top + t * height, owner[t * coefs.shape[1] + d]
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="{height - 2}" fill="{hues[place]}" data-token="{place}"/>'
            )
            if coefs[t, d]:
                parts.append(
                    f'<text class="cell" x="{x + cell / 2 - 1}" y="{y + 14}" text-anchor="middle">{int(coefs[t, d])}</text>'
                )
        parts.append(f'<text x="{left - 8}" y="{top + t * height + 14}" text-anchor="end">{t}</text>')
    width = left + coefs.shape[1] * cell
    drawing = Markup(
        f'<svg viewBox="0 0 {width} {top + rows * height}" style="width:{width}px;max-width:none" role="img" '
        f'aria-label="{html.text(said)}">{"".join(parts)}</svg>'
    )
    left_out = len(coefs) - rows
    note = f"{left_out} more rows are 0 in every column." if left_out else ""
    inside = [tag("h3", said, class_="axis-title"), drawing, tag("figcaption", note)]
    return tag(
        "figure", *inside, class_="chart scroll heatmap", tabindex="0", role="region", aria_label="rounded coefficients"
    )
