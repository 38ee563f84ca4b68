"""Draws histograms."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fasttok.common.html.axes import Frame, drawing, figure
from fasttok.common.html.colours import BAD, COMPUTED
from fasttok.common.html.markup import Markup
from fasttok.common.html.scale import tick_label, ticks
from fasttok.common.html.series import Axes


def histogram(
    edges: Sequence[float] | NDArray[np.generic],
    counts: Sequence[int] | NDArray[np.generic],
    axes: Axes,
    *,
    width: int = 340,
    height: int = 160,
    title: str = "",
    colour: str = COMPUTED,
    inside: tuple[float, float] | None = None,
) -> Markup:
    """Returns a histogram, whose y axis begins at 0.

    Args:
        edges: (n + 1,) edges of the bars, ascending.
        counts: (n,) count of each bar.
        axes: what the axes show; the y label says what is counted.
        width: width in pixels.
        height: height in pixels.
        title: text above the bars; "" for none.
        colour: colour of the bars.
        inside: (low, high) range of the x axis that is tinted; bars whose middle is outside it are red. None for no range.

    >>> "<title>0 to 1: 5</title>" in histogram([0, 1, 2], [5, 1], Axes("tokens", "rows"))
    True
    """
    frame = Frame(width, height, axes.x_label, axes.y_label)
    edges, counts = np.asarray(edges, float), np.asarray(counts)
    x0, x1 = float(edges[0]), float(edges[-1])
    span = float(edges[-1] - edges[0]) or 1.0
    y_ticks = ticks(0.0, max(int(counts.max(initial=0)), 1), 3)
    scale, y_scale = frame.x_scale(x0, span), frame.y_scale(0.0, y_ticks[-1])
    parts = []
    if inside is not None:
        low, high = (scale.at(min(max(x, x0), x1)) for x in inside)
        parts.append(frame.shade(low, high, "range", least=1))
    parts += frame.y_axis(y_scale, [(value, tick_label(value)) for value in y_ticks if value == int(value)])
    for count, low, high in zip(counts.tolist(), edges.tolist(), edges[1:].tolist(), strict=False):
        if count:
            fill = colour if inside is None or inside[0] <= (low + high) / 2 <= inside[1] else BAD
            tip = f"{tick_label(low)} to {tick_label(high)}: {count:,}"
            size = max(y_scale.at(0.0) - y_scale.at(count), 1.0)  # so that one in a million can be seen
            parts.append(
                f'<rect x="{scale.at(low):.1f}" y="{y_scale.at(0.0) - size:.1f}" '
                f'width="{max(scale.at(high) - scale.at(low) - 0.6, 0.6):.1f}" '
                f'height="{size:.1f}" fill="{fill}"><title>{tip}</title></rect>'
            )
    whole = bool(np.all(edges % 1 == 0.5))  # each bar then stands for whole numbers
    parts += frame.x_axis(scale, x0, x0 + span, whole=whole)
    return figure(title, drawing(parts, width, height, title or f"{axes.y_label} by {axes.x_label}"), width=width)
