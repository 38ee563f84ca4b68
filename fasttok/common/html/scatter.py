"""Draws scatter plots: points with their intervals, a straight line through them, and the line's band."""

from collections.abc import Sequence
from dataclasses import dataclass

from fasttok.common.html.axes import Frame, drawing, figure
from fasttok.common.html.markup import Markup, tag, text
from fasttok.common.html.scale import tick_label, ticks
from fasttok.common.html.series import Band, Series, line_through


@dataclass(frozen=True)
class Dot:
    """One point of a scatter plot.

    Attributes:
        x: value on the x axis.
        y: value on the y axis.
        low: lower end of the interval of y.
        high: upper end of the interval of y.
        colour: colour of the point.
        name: what the point is, shown under the pointer.
    """

    x: float
    y: float
    low: float
    high: float
    colour: str
    name: str = ""


@dataclass(frozen=True)
class ScatterAxes:
    """What the axes of a scatter plot show.

    Attributes:
        x_label: what the x axis shows, with its unit.
        y_label: what the y axis shows, with its unit.
        percent: whether y is a share; its ticks are then written in percentage points, such as +10 for 0.1.
        mark: a value of y to compare with, drawn as a darker line; None for none.
        least: values that the y axis always covers, so that all panels of one quantity have the same axis.
    """

    x_label: str
    y_label: str
    percent: bool = False
    mark: float | None = None
    least: tuple[float, ...] = ()


def scatter(
    points: Sequence[Dot],
    axes: ScatterAxes,
    *,
    line: Series | None = None,
    band: Band | None = None,
    legend: Sequence[tuple[str, str]] = (),
    title: str = "",
    width: int = 340,
    height: int = 250,
) -> Markup:
    """Returns points with their intervals of y, on axes with round tick values.

    Args:
        points: the points; if there are none, only the axes are drawn.
        axes: what the axes show.
        line: line through the points; None for none.
        band: band around the line; None for none.
        legend: (name, colour) of each group of points.
        title: text above the plot; "" for none.
        width: width in pixels.
        height: height in pixels.

    >>> "<circle" in scatter([Dot(0.0, 0.5, 0.4, 0.6, "red", "a & b")], ScatterAxes("x", "y"))
    True
    """
    svg = scatter_drawing(points, axes, line=line, band=band, label=title, width=width, height=height)
    keys = [
        tag("span", tag("i", class_="box", style=f"width:11px;background:{colour}"), name) for name, colour in legend
    ]
    return figure(title, svg, tag("div", *keys, class_="legend") if keys else Markup(""), width=width)


def scatter_drawing(
    points: Sequence[Dot],
    axes: ScatterAxes,
    *,
    line: Series | None,
    band: Band | None,
    label: str,
    width: int,
    height: int,
) -> Markup:
    """Returns the drawing of `scatter` as an SVG element, without title and legend.

    Args:
        points: see `scatter`.
        axes: see `scatter`.
        line: see `scatter`.
        band: see `scatter`.
        label: text that a screen reader reads out.
        width: width in pixels.
        height: height in pixels.
    """
    xs = [p.x for p in points] or [0.0, 1.0]
    ys = [v for p in points for v in (p.low, p.high)] + [float(y) for y in (line.y if line else ())]
    ys += [*axes.least] if axes.mark is None else [*axes.least, axes.mark]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys or [0.0]), max(ys or [1.0]))
    frame = Frame(width, height, axes.x_label, axes.y_label)
    x_scale = frame.x_scale(x_ticks[0], x_ticks[-1] - x_ticks[0])
    y_scale = frame.y_scale(y_ticks[0], y_ticks[-1] - y_ticks[0])

    def path(x: Sequence[float], y: Sequence[float]) -> str:
        return line_through([(x_scale.at(a), y_scale.at(b)) for a, b in zip(x, y, strict=True)])

    parts = frame.y_axis(y_scale, [(v, f"{100 * v:+g}" if axes.percent and v else tick_label(v)) for v in y_ticks])
    parts += frame.x_axis(x_scale, x_ticks[0], x_ticks[-1])
    if axes.mark is not None:
        parts.append(frame.rule(y_scale.at(axes.mark), "whisker"))
    if band is not None:
        low, high = _inside(band.low, y_ticks), _inside(band.high, y_ticks)
        around = path([*band.x, *band.x[::-1]], [*low, *high[::-1]])
        parts.append(f'<path d="{around}Z" fill="{band.colour}" opacity=".13"/>')
    for p in points:
        x, y = x_scale.at(p.x), y_scale.at(p.y)
        ends = f'y1="{y_scale.at(p.low):.1f}" y2="{y_scale.at(p.high):.1f}"'
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" {ends} stroke="{p.colour}" opacity=".35"/>')
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{p.colour}"><title>{text(p.name)}</title></circle>'
        )
    if line is not None:
        parts.append(f'<path class="line" d="{path(list(line.x), list(line.y))}" stroke="{line.colour}"/>')
    return drawing(parts, width, height, label)


def _inside(values: Sequence[float], y_ticks: Sequence[float]) -> list[float]:
    """Returns the values, clipped to the ends of the y axis."""
    return [min(max(value, y_ticks[0]), y_ticks[-1]) for value in values]


STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#5a616b}.h{font-size:13px;font-weight:600;fill:#1d2126}"
    ".axis-title{fill:#1d2126}.grid{stroke:#e4e5e3}.zero{stroke:#8a919b}.whisker{stroke:#1d2126;stroke-width:1.2}.line{fill:none;stroke-width:1.8}"
)


def svg_file(panels: Sequence[tuple[str, Markup]], width: int, height: int, columns: int = 2) -> str:
    """Returns the text of an SVG file that shows several drawings under their titles, on white.

    Args:
        panels: (title, drawing made by `scatter_drawing`) of each.
        width: width of each drawing, in pixels.
        height: height of each drawing, in pixels.
        columns: number of drawings side by side.
    """
    gap, head = 20, 26
    rows = -(-len(panels) // columns)
    wide, tall = gap + columns * (width + gap), gap + rows * (head + height + gap)
    parts = [f'<rect width="{wide}" height="{tall}" fill="#fff"/>']
    for i, (title, drawn) in enumerate(panels):
        x, y = gap + i % columns * (width + gap), gap + i // columns * (head + height + gap)
        parts.append(f'<text class="h" x="{x}" y="{y + 13}">{text(title)}</text>')
        parts.append(drawn.replace("<svg ", f'<svg x="{x}" y="{y + head}" width="{width}" height="{height}" ', 1))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{tall}" viewBox="0 0 {wide} {tall}">'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )
