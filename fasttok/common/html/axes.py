"""The parts of a drawing that are the same in every plot: its frame, axes with their labels, and the figure around it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fasttok.common.html.markup import Markup, tag, text
from fasttok.common.html.scale import Scale, tick_label, ticks_within

LEFT, RIGHT, BOTTOM = 54, 14, 32  # pixels around what is drawn
TOP, TOP_LABELLED = 8, 24
WIDEST = 480  # pixels: a wider drawing scrolls on a phone, where its words would be too small
SMALLEST = 0.8  # of its width: less than this it is never shown


@dataclass(frozen=True)
class Frame:
    """Where inside a drawing the data lie, in pixels.

    Attributes:
        width: of the whole drawing.
        height: of the whole drawing.
        x_label: what the x axis shows, with its unit.
        y_label: what the y axis shows, with its unit; "" if that stands above the drawing.
    """

    width: int
    height: int
    x_label: str
    y_label: str

    @property
    def top(self) -> int:
        """Room for the y axis's label."""
        return TOP_LABELLED if self.y_label else TOP

    @property
    def wide(self) -> int:
        """Width of what is drawn.

        >>> Frame(340, 190, "time (s)", "angle (rad)").wide, Frame(340, 190, "time (s)", "angle (rad)").tall
        (272, 134)
        """
        return self.width - LEFT - RIGHT

    @property
    def tall(self) -> int:
        """Height of what is drawn."""
        return self.height - self.top - BOTTOM

    @property
    def place(self) -> str:
        """Its left, right, top and bottom, in pixels of the drawing."""
        return f"{LEFT} {self.width - RIGHT} {self.top} {self.height - BOTTOM}"

    def x_scale(self, low: float, span: float) -> Scale:
        """The x axis, from left to right."""
        return Scale(low, span, LEFT, self.wide)

    def y_scale(self, low: float, span: float) -> Scale:
        """The y axis, from the bottom up."""
        return Scale(low, span, self.height - BOTTOM, -self.tall)

    def shade(self, low: float, high: float, kind: str, least: float = 0.0) -> str:
        """A tinted stretch of the x axis between two pixels, at least `least` wide."""
        return f'<rect class="{kind}" x="{low:.1f}" y="{self.top}" width="{max(high - low, least):.1f}" height="{self.tall}"/>'

    def rule(self, row: float, kind: str) -> str:
        """A line across what is drawn, at a height in pixels."""
        return f'<line class="{kind}" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{row:.1f}" y2="{row:.1f}"/>'

    def y_axis(self, scale: Scale, labels: Sequence[tuple[float, str]]) -> list[str]:
        """A line at each of some values, and its label beside it; what they are stands above. The line of 0 is darker."""
        parts = [f'<text class="axis-title" x="2" y="11">{text(self.y_label)}</text>'] if self.y_label else []
        for value, label in labels:
            row = scale.at(value)
            parts.append(self.rule(row, "grid" if value or label != "0" else "grid zero"))
            parts.append(f'<text x="{LEFT - 6}" y="{row + 4:.1f}" text-anchor="end">{label}</text>')
        return parts

    def x_axis(self, scale: Scale, low: float, high: float, *, whole: bool = False) -> list[str]:
        """Tick values below the drawing, whole numbers if only those are there, and what they are."""
        y = self.height - BOTTOM + 16
        parts = [
            f'<text x="{scale.at(value):.1f}" y="{y}" text-anchor="middle">{tick_label(value)}</text>'
            for value in ticks_within(low, high)
            if not whole or value == int(value)
        ]
        parts.append(axis_title(self.x_label, (LEFT + self.width - RIGHT) / 2, self.height - 3))
        return parts


def axis_title(words: str, middle: float, y: float) -> str:
    """What a horizontal axis shows, below it.

    >>> axis_title("time (s)", 100.0, 50.0)
    '<text class="axis-title" x="100.0" y="50.0" text-anchor="middle">time (s)</text>'
    """
    return f'<text class="axis-title" x="{middle}" y="{y}" text-anchor="middle">{text(words)}</text>'


def drawing(parts: list[str], width: int, height: int, label: str, timed: str = "") -> Markup:
    """An SVG of these parts.

    Args:
        parts: SVG elements.
        width: pixels.
        height: pixels.
        label: read out to those who do not see it.
        timed: where scripts/cursor.js draws the moment: `Frame.place`; "" for nowhere.

    >>> drawing([], 2, 1, "loss")
    '<svg viewBox="0 0 2 1" role="img" aria-label="loss"></svg>'
    """
    more = f' style="min-width:{round(SMALLEST * width)}px"' if width > WIDEST else ""
    more += f' data-frame="{timed}"' if timed else ""
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(label)}"{more}>{"".join(parts)}</svg>'
    )


def figure(title: str, *parts: Markup, width: int, axis: bool = False) -> Markup:
    """A drawing under its title; a wide one scrolls where there is less room, by keyboard too.

    Args:
        title: above it; "" for none.
        parts: the drawing, and what is below it.
        width: of the drawing, in pixels.
        axis: the title says what the y axis shows.

    >>> figure("loss", Markup("<svg></svg>"), width=340)
    '<figure class="chart"><h3>loss</h3><svg></svg></figure>'
    """
    head = tag("h3", title, class_="axis-title" if axis else None) if title else Markup("")
    if width > WIDEST:
        return tag(
            "figure", head, *parts, class_="chart scroll", tabindex="0", role="region", aria_label=title or "chart"
        )
    return tag("figure", head, *parts, class_="chart")
