"""Draws line plots: series of points, and bands behind them, on shared axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttok.common.html.axes import Frame, drawing, figure
from fasttok.common.html.markup import Markup, tag, text
from fasttok.common.html.scale import tick_label, ticks

Points = Sequence[float] | NDArray[np.generic]


@dataclass(frozen=True)
class Series:
    """One line of a plot.

    Attributes:
        name: name in the legend; "" leaves the line out of it.
        x: (n,) values; values that are not finite leave gaps.
        y: (n,) values; values that are not finite leave gaps.
        colour: colour of the line.
        dashed: whether the line is dashed, for values that are reconstructed or for comparison.
        faint: whether the line is pale and not in the legend.
        dots: whether the points are drawn as dots, without a line.
    """

    name: str
    x: Points
    y: Points
    colour: str
    dashed: bool = False
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Band:
    """The tinted area between two lines of a plot.

    Attributes:
        x: (n,) values on the x axis.
        low: (n,) values of the lower line.
        high: (n,) values of the upper line.
        colour: colour of the tint.
    """

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: str


@dataclass(frozen=True)
class Axes:
    """What the axes of a plot show.

    Attributes:
        x_label: what the x axis shows, with its unit.
        y_label: what the y axis shows, with its unit.
        zero: whether the y axis includes 0.
        log_y: whether the y axis is logarithmic; values <= 0 are then left out.
        least: smallest span of the y axis, so that a line that hardly moves looks flat.
        told: whether a `cursor` beside the plot shows the lines' values, for lines with one point per step of the cursor.
    """

    x_label: str
    y_label: str
    zero: bool = False
    log_y: bool = False
    least: float = 0.0
    told: bool = False

    def heights(self, y: Points) -> NDArray[np.float64]:
        """Returns values in the unit of the y axis: unchanged, or their decimal logarithms (NaN for values <= 0)."""
        values = np.asarray(y, float)
        if not self.log_y:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(values > 0, np.log10(values), np.nan)

    def y_range(self, low: float, high: float) -> tuple[float, float]:
        """Returns the range of the y axis for values from `low` to `high`.

        >>> Axes("step", "loss", zero=True).y_range(1.0, 2.0), Axes("step", "loss", least=4.0).y_range(1.0, 2.0)
        ((0.0, 2.0), (-0.5, 3.5))
        """
        if self.zero:
            low, high = min(low, 0.0), max(high, 0.0)
            high = 1.0 if low == high else high
        if high - low < self.least:
            low, high = (low + high - self.least) / 2, (low + high + self.least) / 2
        return low, high

    def y_ticks(self, low: float, high: float) -> list[float]:
        """Returns the tick values in the unit of the y axis: the decades of a logarithmic axis if it covers several."""
        if self.log_y and high - low > 1.2:
            return [float(v) for v in range(math.floor(low), math.ceil(high) + 1)]
        return ticks(low, high)


def plot(
    series: Sequence[Series],
    axes: Axes,
    *,
    width: int = 340,
    height: int = 190,
    title: str = "",
    legend: bool = True,
    shade: tuple[float, float] | None = None,
    bands: Sequence[Band] = (),
) -> Markup:
    """Returns lines on shared axes with round tick values. Points that are not finite leave gaps.

    Args:
        series: the lines.
        axes: what the axes show.
        width: width in pixels.
        height: height in pixels.
        title: text above the plot; if it is "", the label of the y axis takes this place.
        legend: whether the names of the series are listed below the plot.
        shade: (low, high) range of the x axis that is tinted, such as the padded steps of a chunk; None for none.
        bands: tinted areas behind the lines (not on a logarithmic axis).

    >>> 'd="M54.0 150.0L326.0 8.0"' in plot([Series("a", [0, 1], [0, 1], "red")], Axes("step", "loss"), height=182)
    True
    """
    points = [(np.asarray(s.x, float), axes.heights(s.y)) for s in series]
    xs = np.concatenate([x for x, _ in points] or [np.zeros(1)])
    edges = [np.asarray(edge, float) for band in bands for edge in (band.low, band.high)]
    ys = np.concatenate([y[np.isfinite(y)] for y in [*(y for _, y in points), *edges]] or [np.zeros(1)])
    x0, x1 = (float(xs.min()), float(xs.max())) if xs.size else (0.0, 1.0)
    y0, y1 = axes.y_range(*((float(ys.min()), float(ys.max())) if ys.size else (0.0, 1.0)))
    y_ticks = axes.y_ticks(y0, y1)
    y0, y1 = min(y0, y_ticks[0]), max(y1, y_ticks[-1])
    frame = Frame(width, height, axes.x_label, axes.y_label if title else "")
    x_scale, y_scale = frame.x_scale(x0, (x1 - x0) or 1.0), frame.y_scale(y0, (y1 - y0) or 1.0)

    def path(x: Points, y: Points) -> str:
        return line_through([(x_scale.at(float(a)), y_scale.at(float(b))) for a, b in zip(x, y, strict=True)])

    parts = []
    if shade is not None:
        parts.append(frame.shade(x_scale.at(max(shade[0], x0)), x_scale.at(min(shade[1], x1)), "shade"))
    parts += frame.y_axis(y_scale, [(v, tick_label(10**v if axes.log_y else v)) for v in y_ticks])
    parts += frame.x_axis(x_scale, x0, x1, whole=bool(np.all(xs % 1 == 0)))  # there are no half steps
    for band in bands:
        around = path([*band.x, *band.x[::-1]], [*band.low, *band.high[::-1]])
        parts.append(f'<path d="{around}Z" fill="{band.colour}" opacity=".13"/>')
    for s, (x, y) in zip(series, points, strict=True):
        if s.dots:
            parts += [
                f'<circle class="mark" cx="{x_scale.at(a):.1f}" cy="{y_scale.at(b):.1f}" r="4.5" fill="{s.colour}"/>'
                for a, b in zip(x.tolist(), y.tolist(), strict=True)
                if math.isfinite(a) and math.isfinite(b)
            ]
            continue
        style = (
            f'stroke="{s.colour}"'
            + (' stroke-dasharray="4 3"' if s.dashed else "")
            + (' opacity=".28"' if s.faint else "")
        )
        said = _values(s, y) if axes.told and s.name else ""
        parts.append(f'<path class="line" d="{path(x, y)}" {style}{said}/>')
    keys = _legend(series) if legend else Markup("")
    label = title or f"{axes.y_label} over {axes.x_label}"
    return figure(
        title or axes.y_label, drawing(parts, width, height, label, frame.place), keys, width=width, axis=not title
    )


def _values(s: Series, y: NDArray[np.float64]) -> str:
    """Returns the attributes with a line's name and values that scripts/cursor.js reads."""
    return f' data-name="{text(s.name)}" data-values="{" ".join(f"{value:.4g}" for value in y.tolist())}"'


def _legend(series: Sequence[Series]) -> Markup:
    """Returns the names of the lines, each beside a sample of its line; nothing if no line has a name."""
    keys = [tag("span", _key(s), s.name) for s in series if s.name and not s.faint]
    return tag("div", *keys, class_="legend") if keys else Markup("")


def _key(s: Series) -> Markup:
    """Returns a sample of a line, or of its dots."""
    if s.dots:
        return tag("i", class_="dot", style=f"background:{s.colour}")
    return tag("i", style=f"border-top:3px {'dashed' if s.dashed else 'solid'} {s.colour}")


def line_through(points: Sequence[tuple[float, float]]) -> str:
    """Returns the SVG path of a line through points. Points that are not finite break the line."""
    parts: list[str] = []
    pen_down = False
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        pen_down = True
    return "".join(parts)
