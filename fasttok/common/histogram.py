"""Histograms on HTML pages."""

from collections.abc import Sequence

import numpy as np

from fasttok.common.html import PALETTE, Markup, tag, text, tick_label, ticks


def bars(edges: Sequence[float] | np.ndarray, counts: Sequence[int] | np.ndarray, *, width: int = 340, height: int = 150,
         title: str = "", x_label: str = "", colour: str = PALETTE[0],
         inside: tuple[float, float] | None = None) -> Markup:  # fmt: skip
    """A histogram; its y axis goes from 0 to the largest count, which stands beside it.

    Args:
        edges: (n + 1,) ascending. counts: (n,).
        inside: a range of the x axis that is tinted; bars whose middle is not in it have another colour.
    """
    left, right, top, bottom = 44, 8, 8, 30 if x_label else 20
    edges, counts = np.asarray(edges, float), np.asarray(counts)
    x0, span, most = float(edges[0]), float(edges[-1] - edges[0]) or 1.0, max(int(counts.max(initial=0)), 1)

    def at(x: float) -> float:
        return left + (x - x0) / span * (width - left - right)

    tall = height - top - bottom
    parts = []
    if inside is not None:
        a, b = (at(min(max(x, x0), float(edges[-1]))) for x in inside)
        parts.append(f'<rect class="range" x="{a:.1f}" y="{top}" width="{max(b - a, 1):.1f}" height="{tall}"/>')
    for count, low, high in zip(counts.tolist(), edges, edges[1:], strict=False):
        if count:
            middle = (low + high) / 2
            fill = colour if inside is None or inside[0] <= middle <= inside[1] else PALETTE[1]
            tip = f"{tick_label(float(low))} to {tick_label(float(high))}: {count:,}"
            size = max(count / most * tall, 1.0)  # one in a million is seen
            parts.append(
                f'<rect x="{at(low):.1f}" y="{top + tall - size:.1f}" width="{max(at(high) - at(low) - 0.6, 0.6):.1f}" '
                f'height="{size:.1f}" fill="{fill}"><title>{tip}</title></rect>'
            )
    parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{top + tall}" y2="{top + tall}"/>')
    parts.append(f'<text x="{left - 6}" y="{top + 9}" text-anchor="end">{most:,}</text>')
    for value in [v for v in ticks(x0, x0 + span, 4) if x0 <= v <= x0 + span]:
        parts.append(
            f'<text x="{at(value):.1f}" y="{height - bottom + 15}" text-anchor="middle">{tick_label(value)}</text>'
        )
    if x_label:
        parts.append(f'<text x="{(left + width) / 2}" y="{height - 2}" text-anchor="middle">{text(x_label)}</text>')
    drawing = Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(title or x_label)}">{"".join(parts)}</svg>'
    )
    return tag("figure", tag("h3", title) if title else Markup(""), drawing, style="margin:0")
