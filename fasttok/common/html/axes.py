"""Draws the parts that all plots share: the frame, the axes with their labels, and the figure around the drawing."""

from collections.abc import Sequence
from dataclasses import dataclass

from fasttok.common.html.markup import Markup, tag, text
from fasttok.common.html.scale import Scale, tick_label, ticks_within

LEFT, RIGHT, BOTTOM = 54, 14, 32  # pixels around the plotted area
TOP, TOP_LABELLED = 8, 24  # pixels above the plotted area, without and with a label of the y axis
WIDEST = 480  # pixels: a wider drawing scrolls on a phone, as its words would be too small if it shrank to fit
SMALLEST = 0.8  # a drawing wider than WIDEST never shrinks below this share of its width


@dataclass(frozen=True)
class Frame:
    """The plotted area inside a drawing, in pixels.

    Attributes:
        width: width of the whole drawing.
        height: height of the whole drawing.
        x_label: what the x axis shows, with its unit.
        y_label: what the y axis shows, with its unit; "" if the figure's title says it.
    """

    width: int
    height: int
    x_label: str
    y_label: str

    @property
    def top(self) -> int:
        """Pixels above the plotted area, with room for the label of the y axis if there is one."""
        return TOP_LABELLED if self.y_label else TOP

    @property
    def wide(self) -> int:
        """Width of the plotted area.

        >>> Frame(340, 190, "time (s)", "angle (rad)").wide, Frame(340, 190, "time (s)", "angle (rad)").tall
        (272, 134)
        """
        return self.width - LEFT - RIGHT

    @property
    def tall(self) -> int:
        """Height of the plotted area."""
        return self.height - self.top - BOTTOM

    @property
    def place(self) -> str:
        """Left, right, top and bottom edge of the plotted area, in pixels of the drawing."""
        return f"{LEFT} {self.width - RIGHT} {self.top} {self.height - BOTTOM}"

    def x_scale(self, low: float, span: float) -> Scale:
        """Returns the scale of the x axis, which runs from left to right."""
        return Scale(low, span, LEFT, self.wide)

    def y_scale(self, low: float, span: float) -> Scale:
        """Returns the scale of the y axis, which runs from the bottom up."""
        return Scale(low, span, self.height - BOTTOM, -self.tall)

    def shade(self, low: float, high: float, kind: str, least: float = 0.0) -> str:
        """Returns a tinted stretch of the x axis from pixel `low` to pixel `high`, at least `least` pixels wide."""
        return f'<rect class="{kind}" x="{low:.1f}" y="{self.top}" width="{max(high - low, least):.1f}" height="{self.tall}"/>'

    def rule(self, row: float, kind: str) -> str:
        """Returns a horizontal line across the plotted area, `row` pixels from the top of the drawing."""
        return f'<line class="{kind}" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{row:.1f}" y2="{row:.1f}"/>'

    def y_axis(self, scale: Scale, labels: Sequence[tuple[float, str]]) -> list[str]:
        """Returns a line for each value with its label beside it, and the axis's title above. The line of 0 is darker."""
        parts = [f'<text class="axis-title" x="2" y="11">{text(self.y_label)}</text>'] if self.y_label else []
        for value, label in labels:
            row = scale.at(value)
            parts.append(self.rule(row, "grid" if value or label != "0" else "grid zero"))
            parts.append(f'<text x="{LEFT - 6}" y="{row + 4:.1f}" text-anchor="end">{label}</text>')
        return parts

    def x_axis(self, scale: Scale, low: float, high: float, *, whole: bool = False) -> list[str]:
        """Returns the tick values and the axis's title, both below the plotted area.

        Args:
            scale: scale of the x axis.
            low: smallest value of the axis.
            high: largest value of the axis.
            whole: leave out ticks that are not whole numbers.
        """
        y = self.height - BOTTOM + 16
        parts = [
            f'<text x="{scale.at(value):.1f}" y="{y}" text-anchor="middle">{tick_label(value)}</text>'
            for value in ticks_within(low, high)
            if not whole or value == int(value)
        ]
        parts.append(axis_title(self.x_label, (LEFT + self.width - RIGHT) / 2, self.height - 3))
        return parts


def axis_title(words: str, middle: float, y: float) -> str:
    """Returns the title of a horizontal axis, which says what the axis shows.

    >>> axis_title("time (s)", 100.0, 50.0)
    '<text class="axis-title" x="100.0" y="50.0" text-anchor="middle">time (s)</text>'
    """
    return f'<text class="axis-title" x="{middle}" y="{y}" text-anchor="middle">{text(words)}</text>'


def drawing(parts: list[str], width: int, height: int, label: str, timed: str = "") -> Markup:
    """Returns an SVG of these parts.

    Args:
        parts: SVG elements.
        width: width in pixels.
        height: height in pixels.
        label: text that a screen reader reads out.
        timed: `Frame.place` of the area in which scripts/cursor.js marks the current moment; "" for none.

    >>> drawing([], 2, 1, "loss")
    '<svg viewBox="0 0 2 1" role="img" aria-label="loss"></svg>'
    """
    more = f' style="min-width:{round(SMALLEST * width)}px"' if width > WIDEST else ""
    more += f' data-frame="{timed}"' if timed else ""
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(label)}"{more}>{"".join(parts)}</svg>'
    )


def figure(title: str, *parts: Markup, width: int, axis: bool = False) -> Markup:
    """Returns a drawing under its title. If a wide drawing does not fit, it scrolls, also by keyboard.

    Args:
        title: text above the drawing; "" for none.
        parts: the drawing, and what is below it.
        width: width of the drawing, in pixels.
        axis: whether the title is the label of the y axis.

    >>> figure("loss", Markup("<svg></svg>"), width=340)
    '<figure class="chart"><h3>loss</h3><svg></svg></figure>'
    """
    head = tag("h3", title, class_="axis-title" if axis else None) if title else Markup("")
    if width > WIDEST:
        return tag(
            "figure", head, *parts, class_="chart scroll", tabindex="0", role="region", aria_label=title or "chart"
        )
    return tag("figure", head, *parts, class_="chart")
