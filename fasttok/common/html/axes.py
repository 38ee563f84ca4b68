"""The parts of a drawing that are the same in every plot: its frame, axes with their labels, and the figure around it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fasttok.common.html.markup import Markup, tag, text
from fasttok.common.html.scale import Scale, tick_label, ticks_within

LEFT, RIGHT, TOP = 44, 8, 8  # pixels around what is drawn
BOTTOM, BOTTOM_LABELLED = 20, 30


@dataclass(frozen=True)
class Frame:
    """Where inside a drawing the data lie, in pixels.

    Attributes:
        width: of the whole drawing.
        height: of the whole drawing.
        x_label: what the x axis shows, "" for no label.
    """

    width: int
    height: int
    x_label: str = ""

    @property
    def bottom(self) -> int:
        """Room for the x axis's labels."""
        return BOTTOM_LABELLED if self.x_label else BOTTOM

    @property
    def wide(self) -> int:
        """Width of what is drawn.

        >>> Frame(340, 190).wide, Frame(340, 190).tall
        (288, 162)
        """
        return self.width - LEFT - RIGHT

    @property
    def tall(self) -> int:
        """Height of what is drawn."""
        return self.height - TOP - self.bottom

    def x_scale(self, low: float, span: float) -> Scale:
        """The x axis, from left to right."""
        return Scale(low, span, LEFT, self.wide)

    def y_scale(self, low: float, span: float) -> Scale:
        """The y axis, from the bottom up."""
        return Scale(low, span, self.height - self.bottom, -self.tall)

    def shade(self, low: float, high: float, kind: str, least: float = 0.0) -> str:
        """A tinted stretch of the x axis between two pixels, at least `least` wide."""
        return (
            f'<rect class="{kind}" x="{low:.1f}" y="{TOP}" width="{max(high - low, least):.1f}" height="{self.tall}"/>'
        )

    def rule(self, row: float, kind: str) -> str:
        """A line across what is drawn, at a height in pixels."""
        return f'<line class="{kind}" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{row:.1f}" y2="{row:.1f}"/>'

    def y_axis(self, scale: Scale, labels: Sequence[tuple[float, str]]) -> list[str]:
        """A line at each of some values, and its label beside it."""
        parts = []
        for value, label in labels:
            row = scale.at(value)
            parts.append(self.rule(row, "grid"))
            parts.append(f'<text x="{LEFT - 6}" y="{row + 4:.1f}" text-anchor="end">{label}</text>')
        return parts

    def x_axis(self, scale: Scale, low: float, high: float) -> list[str]:
        """Tick values below the drawing, and what they are."""
        y = self.height - self.bottom + 15
        parts = [
            f'<text x="{scale.at(value):.1f}" y="{y}" text-anchor="middle">{tick_label(value)}</text>'
            for value in ticks_within(low, high)
        ]
        if self.x_label:
            middle = (LEFT + self.width) / 2
            parts.append(f'<text x="{middle}" y="{self.height - 2}" text-anchor="middle">{text(self.x_label)}</text>')
        return parts


def drawing(parts: list[str], width: int, height: int, label: str) -> Markup:
    """An SVG of these parts; `label` is read out to those who do not see it.

    >>> drawing([], 2, 1, "loss")
    '<svg viewBox="0 0 2 1" role="img" aria-label="loss"></svg>'
    """
    return Markup(f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(label)}">{"".join(parts)}</svg>')


def figure(title: str, *parts: Markup) -> Markup:
    """A drawing under its title.

    >>> figure("loss", Markup("<svg></svg>"))
    '<figure style="margin:0"><h3>loss</h3><svg></svg></figure>'
    """
    return tag("figure", tag("h3", title) if title else Markup(""), *parts, style="margin:0")
