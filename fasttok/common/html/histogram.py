"""Histograms."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fasttok.common.html.axes import LEFT, RIGHT, TOP, Frame, drawing, figure
from fasttok.common.html.colours import PALETTE
from fasttok.common.html.markup import Markup
from fasttok.common.html.scale import tick_label


def histogram(
    edges: Sequence[float] | NDArray[np.generic],
    counts: Sequence[int] | NDArray[np.generic],
    *,
    width: int = 340,
    height: int = 150,
    title: str = "",
    x_label: str = "",
    colour: str = PALETTE[0],
    inside: tuple[float, float] | None = None,
) -> Markup:
    """Bars of counts; the y axis goes from 0 to the largest count, which stands beside it.

    Args:
        edges: (n + 1,) ascending.
        counts: (n,).
        width: pixels.
        height: pixels.
        title: above the bars.
        x_label: what the x axis shows.
        colour: of the bars.
        inside: a range of the x axis that is tinted; bars whose middle is not in it have another colour.

    >>> "<title>0 to 1: 5</title>" in histogram([0, 1, 2], [5, 1])
    True
    """
    frame = Frame(width, height, x_label)
    edges, counts = np.asarray(edges, float), np.asarray(counts)
    x0, x1 = float(edges[0]), float(edges[-1])
    span, most = float(edges[-1] - edges[0]) or 1.0, max(int(counts.max(initial=0)), 1)
    scale, tall = frame.x_scale(x0, span), frame.tall
    parts = []
    if inside is not None:
        low, high = (scale.at(min(max(x, x0), x1)) for x in inside)
        parts.append(frame.shade(low, high, "range", least=1))
    for count, low, high in zip(counts.tolist(), edges.tolist(), edges[1:].tolist(), strict=False):
        if count:
            fill = colour if inside is None or inside[0] <= (low + high) / 2 <= inside[1] else PALETTE[1]
            tip = f"{tick_label(low)} to {tick_label(high)}: {count:,}"
            size = max(count / most * tall, 1.0)  # one in a million is seen
            parts.append(
                f'<rect x="{scale.at(low):.1f}" y="{TOP + tall - size:.1f}" '
                f'width="{max(scale.at(high) - scale.at(low) - 0.6, 0.6):.1f}" '
                f'height="{size:.1f}" fill="{fill}"><title>{tip}</title></rect>'
            )
    parts.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{TOP + tall}" y2="{TOP + tall}"/>')
    parts.append(f'<text x="{LEFT - 6}" y="{TOP + 9}" text-anchor="end">{most:,}</text>')
    parts += frame.x_axis(scale, x0, x0 + span)
    return figure(title, drawing(parts, width, height, title or x_label))
