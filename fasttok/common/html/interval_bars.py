"""Draws horizontal bars with intervals, which compare the arms of a study."""

from collections.abc import Sequence
from dataclasses import dataclass

from fasttok.common.html.axes import axis_title, drawing, figure
from fasttok.common.html.markup import Markup, text
from fasttok.common.html.scale import Scale, tick_label, ticks

ROW, TOP, RIGHT = 22, 4, 44  # pixels: height of a bar with its margins, space above all bars, space for the values
SHORTEST, LONGEST = 14, 22  # characters: least and most space for names; longer names are cut


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: text to the left of the bar.
        value: length of the bar.
        low: lower end of the interval.
        high: upper end of the interval.
        colour: colour of the bar.
        dots: single values to draw as dots, such as one per seed.
    """

    name: str
    value: float
    low: float
    high: float
    colour: str
    dots: tuple[float, ...] = ()


def bars(
    items: Sequence[Bar],
    x_label: str,
    *,
    title: str = "",
    share: bool = False,
    mark: float | None = None,
    most: float | None = None,
    width: int = 340,
) -> Markup:
    """Returns horizontal bars that begin at 0, each with its interval.

    Args:
        items: the bars, from top to bottom.
        x_label: what the lengths show, with the unit.
        title: text above the bars; "" for none.
        share: whether the values are shares in [0, 1], to be written in %.
        mark: a value to compare with, drawn as a dashed line; None for none.
        most: largest value of the axis; pass the same one for all panels of one quantity. None for `longest_bar`.
        width: width in pixels.

    >>> "50 %" in bars([Bar("ki", 0.5, 0.4, 0.6, "red")], "success (%)", share=True)
    True
    """
    longest = min(max([SHORTEST, *(len(item.name) for item in items)]), LONGEST)
    left = 8 + 6 * longest
    most = longest_bar(items, mark) if most is None else most
    most = min(max(most * 1.05, 0.1), 1.0) if share else max(most * 1.05, 1e-9)
    height = TOP + ROW * len(items) + 34
    foot = height - 32
    scale = Scale(0.0, most, left, width - left - RIGHT)

    def at(value: float) -> float:
        return scale.at(min(max(value, 0.0), most))

    parts = []
    for value in [v for v in ticks(0.0, most) if v <= most * 1.001]:
        label = f"{100 * value:g}" if share else tick_label(value)
        kind = "grid" if value else "grid zero"
        parts.append(f'<line class="{kind}" x1="{at(value):.1f}" x2="{at(value):.1f}" y1="{TOP}" y2="{foot}"/>')
        parts.append(f'<text x="{at(value):.1f}" y="{foot + 13}" text-anchor="middle">{label}</text>')
    for i, item in enumerate(items):
        y, middle = TOP + i * ROW, TOP + i * ROW + ROW / 2
        name = item.name if len(item.name) <= longest else item.name[: longest - 1] + "…"
        said = f"{100 * item.value:.0f} %" if share else f"{item.value:.3g}"
        parts.append(
            f'<text x="{left - 6}" y="{middle + 4}" text-anchor="end">{text(name)}<title>{text(item.name)}</title></text>'
        )
        parts.append(
            f'<rect x="{left}" y="{y + 4}" width="{at(item.value) - left:.1f}" height="{ROW - 8}" rx="2" '
            f'fill="{item.colour}"/>'
        )
        parts.append(
            f'<line class="whisker" x1="{at(item.low):.1f}" x2="{at(item.high):.1f}" y1="{middle}" y2="{middle}"/>'
        )
        parts += [f'<circle class="dot" cx="{at(dot):.1f}" cy="{middle}" r="2"/>' for dot in item.dots]
        parts.append(f'<text x="{width - RIGHT + 6}" y="{middle + 4}">{said}</text>')
    if mark is not None:
        parts.append(
            f'<line class="whisker" stroke-dasharray="4 3" x1="{at(mark):.1f}" x2="{at(mark):.1f}" y1="{TOP}" '
            f'y2="{foot}"/>'
        )
    parts.append(axis_title(x_label, (left + width - RIGHT) / 2, height - 4))
    return figure(title, drawing(parts, width, height, title or x_label), width=width)


def longest_bar(items: Sequence[Bar], mark: float | None = None) -> float:
    """Returns the largest of the intervals' upper ends, the dots and the mark.

    >>> longest_bar([Bar("ki", 0.5, 0.4, 0.6, "red", (0.7,))])
    0.7
    """
    return max([item.high for item in items] + [dot for item in items for dot in item.dots] + [mark or 0.0])
