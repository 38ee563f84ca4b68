"""Self-contained HTML pages: one file, no script, no network; plots are inline SVG that follows the page's colours.

Everything here returns `Markup`, a str that is safe to place in a page; plain strings are escaped on the way in.
"""

import base64
import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

PALETTE = ("#2f6fde", "#e0662b", "#2a9d74", "#9a5bd0", "#c93a5b", "#7a8a1f", "#1d97b8", "#8b6a4f")
KIND_COLOURS = {"robot": PALETTE[0], "vqa": PALETTE[1], "caption": PALETTE[2]}  # of rows of shards, on every page

SHARE = re.compile(r"[\d.,]+%")
CSS = files("fasttok.common").joinpath("page.css").read_text(encoding="utf-8")


class Markup(str):
    """HTML that needs no escaping."""

    __slots__ = ()


def text(value: Any) -> Markup:
    """Escapes anything that is not Markup yet.

    >>> text("a < b")
    'a &lt; b'
    """
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def tag(name: str, *children: Any, **attributes: Any) -> Markup:
    """One element; `class_` is `class`, None attributes are left out.

    >>> tag("b", "x & y", class_="soft")
    '<b class="soft">x &amp; y</b>'
    """
    attrs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{attrs}>{''.join(map(text, children))}</{name}>")


def page(title: str, *sections: Any) -> str:
    """A whole document."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{text(title)}</title>'
    body = "\n".join(map(text, sections))
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{CSS}</style></head>\n<body>\n{body}\n</body></html>\n'


def tiles(values: Mapping[str, Any]) -> Markup:
    """The few numbers a reader wants first: label -> value."""
    boxes = [tag("div", tag("b", value), tag("span", name), class_="tile") for name, value in values.items()]
    return tag("div", *boxes, class_="tiles")


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Markup:
    """A table; columns that hold only numbers, shares such as "12.5%" or None are right-aligned."""

    def numeric(i: int) -> bool:
        return all(
            row[i] is None or isinstance(row[i], int | float | np.number) or SHARE.fullmatch(str(row[i]))
            for row in rows
        )

    kinds = ["num" if numeric(i) else None for i in range(len(columns))]
    head = tag("tr", *[tag("th", name, class_=kind) for name, kind in zip(columns, kinds, strict=True)])
    body = [
        tag("tr", *[tag("td", number(cell), class_=kind) for cell, kind in zip(row, kinds, strict=True)])
        for row in rows
    ]
    return tag("table", head, *body)


def number(value: Any) -> Any:
    """Numbers as people read them; everything else unchanged.

    >>> number(12345), number(0.12345), number(None), number("x")
    ('12,345', '0.123', '–', 'x')
    """
    if value is None:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        real = float(value)
        if math.isnan(real):
            return "–"
        return f"{real:,.0f}" if abs(real) >= 1000 else f"{real:.3g}"
    return value


def image_kind(data: bytes) -> str:
    """png, webp, gif or jpeg, by the first bytes; what is none of them is called jpeg, and browsers show it as broken."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return "png" if data.startswith(b"\x89PNG") else "gif" if data.startswith(b"GIF8") else "jpeg"


def image(data: bytes, width: int = 128, alt: str = "", swapped: bool = False) -> Markup:
    """An embedded image, as encoded, enlarged without smoothing.

    Args:
        swapped: it was stored with red and blue exchanged, and is shown right. The page needs `CHANNEL_SWAP` once.
    """
    source = f"data:image/{image_kind(data)};base64,{base64.b64encode(data).decode()}"
    style = ' style="filter:url(#swap-red-blue)"' if swapped else ""
    return Markup(f'<img src="{source}" width="{width}" alt="{html.escape(alt)}"{style}>')


# An SVG filter, so that the bytes stay as they are and nothing has to decode them.
CHANNEL_SWAP = Markup(
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><filter id="swap-red-blue" '
    'color-interpolation-filters="sRGB"><feColorMatrix values="0 0 1 0 0  0 1 0 0 0  1 0 0 0 0  0 0 0 1 0"/></filter></svg>'
)


def facts(values: Mapping[str, Any]) -> Markup:
    """Names and values in columns; None and "" are left out."""
    shown = {name: value for name, value in values.items() if value is not None and value != ""}
    return tag("dl", *[tag("div", tag("dt", name), tag("dd", number(v))) for name, v in shown.items()], class_="facts")


def bar(share: float, colour: str = PALETTE[0]) -> Markup:
    """A horizontal bar for a share in [0, 1]."""
    fill = tag("i", style=f"width:{100 * min(max(share, 0), 1):.1f}%;background:{colour}")
    return tag("div", fill, class_="bar")


def badge(name: str, colour: str) -> Markup:
    """A small coloured label."""
    return tag("span", name, class_="badge", style=f"background:{colour}")


def tokens(pieces: Sequence[tuple[str, bool]], titles: Sequence[str] = ()) -> Markup:
    """Tokens in a row; those that count in a loss are coloured, the others grey.

    Args:
        pieces: (text of the token, whether its loss mask is True).
        titles: of the last tokens, what a pointer over one shows.
    """
    spans: list[Markup] = []
    hue = 0
    hints = [None] * (len(pieces) - len(titles)) + list(titles)
    for (piece, counted), hint in zip(pieces, hints, strict=True):
        if counted:
            hue = (hue + 47) % 360
            style = f"background:hsl({hue} 70% 50% / .22)"
            spans.append(tag("span", piece, class_="tok mono", style=style, title=hint))
        else:
            spans.append(tag("span", piece, class_="tok mono lossless", title=hint))
    return tag("div", *spans, class_="tokens")


@dataclass(frozen=True)
class Series:
    """One line of a plot: x and y of equal length; `dashed` for what is reconstructed or smoothed away."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    colour: str
    dashed: bool = False
    faint: bool = False


@dataclass(frozen=True)
class Band:
    """What lies between two lines of a plot, tinted: x, low and high of equal length."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    colour: str


@dataclass(frozen=True)
class Bar:
    """One bar: its length, its interval, and single values as dots."""

    name: str
    value: float
    low: float
    high: float
    colour: str
    dots: tuple[float, ...] = ()


def bars(
    items: Sequence[Bar], *, title: str = "", share: bool = False, mark: float | None = None, width: int = 340
) -> Markup:
    """Horizontal bars from 0, each with its interval.

    Args:
        share: values are shares, written in %. mark: a value to compare with, as a dashed line.
    """
    longest = min(max([14, *(len(item.name) for item in items)]), 22)  # characters of a name; longer ones are cut
    row, left, right, top = 22, 8 + 6 * longest, 44, 4
    most = max([item.high for item in items] + [max(item.dots, default=0.0) for item in items] + [mark or 0.0])
    most = min(max(most * 1.05, 0.1), 1.0) if share else max(most * 1.05, 1e-9)
    height = top + row * len(items) + 20

    def at(value: float) -> float:
        return left + min(max(value, 0.0), most) / most * (width - left - right)

    parts = []
    for value in [v for v in ticks(0.0, most, 3) if v <= most * 1.001]:
        label = f"{100 * value:g}" if share else tick_label(value)
        parts.append(f'<line class="grid" x1="{at(value):.1f}" x2="{at(value):.1f}" y1="{top}" y2="{height - 18}"/>')
        parts.append(f'<text x="{at(value):.1f}" y="{height - 5}" text-anchor="middle">{label}</text>')
    for i, item in enumerate(items):
        y, middle = top + i * row, top + i * row + row / 2
        name = item.name if len(item.name) <= longest else item.name[: longest - 1] + "…"
        said = f"{100 * item.value:.0f} %" if share else f"{item.value:.3g}"
        parts.append(
            f'<text x="{left - 6}" y="{middle + 4}" text-anchor="end">{text(name)}<title>{text(item.name)}</title></text>'
        )
        parts.append(
            f'<rect x="{left}" y="{y + 4}" width="{at(item.value) - left:.1f}" height="{row - 8}" rx="2" opacity=".75" '
            f'fill="{item.colour}"/>'
        )
        parts.append(
            f'<line class="whisker" x1="{at(item.low):.1f}" x2="{at(item.high):.1f}" y1="{middle}" y2="{middle}"/>'
        )
        parts += [f'<circle class="dot" cx="{at(dot):.1f}" cy="{middle}" r="2"/>' for dot in item.dots]
        parts.append(f'<text x="{width - right + 6}" y="{middle + 4}">{said}</text>')
    if mark is not None:
        parts.append(
            f'<line class="whisker" stroke-dasharray="4 3" x1="{at(mark):.1f}" x2="{at(mark):.1f}" y1="{top}" '
            f'y2="{height - 18}"/>'
        )
    drawing = Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(title)}">{"".join(parts)}</svg>'
    )
    return tag("figure", tag("h3", title) if title else Markup(""), drawing, style="margin:0")


def plot(series: Sequence[Series], *, width: int = 340, height: int = 190, x_label: str = "", title: str = "",
         zero: bool = False, log_y: bool = False, legend: bool = True, least: float = 0.0,
         shade: tuple[float, float] | None = None, bands: Sequence[Band] = ()) -> Markup:  # fmt: skip
    """Lines over shared axes with round tick values; points that are not finite leave gaps.

    Args:
        bands: intervals behind the lines (not with log_y).
        shade: a part of the x axis that is tinted, such as the padded steps of a chunk.
        zero: the y axis includes 0.
        log_y: logarithmic y axis (values <= 0 are left out).
        least: smallest span of the y axis, so that a line that hardly moves looks flat.
    """
    left, right, top, bottom = 44, 8, 8, 30 if x_label else 20

    def shown(s: Series) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.asarray(s.x, float), np.asarray(s.y, float)
        if log_y:
            with np.errstate(divide="ignore", invalid="ignore"):
                y = np.where(y > 0, np.log10(y), np.nan)
        return x, y

    points = [shown(s) for s in series]
    xs = np.concatenate([x for x, _ in points] or [np.zeros(1)])
    edges = [np.asarray(edge, float) for band in bands for edge in (band.low, band.high)]
    ys = np.concatenate([y[np.isfinite(y)] for y in [*(y for _, y in points), *edges]] or [np.zeros(1)])
    x0, x1 = (float(xs.min()), float(xs.max())) if xs.size else (0.0, 1.0)
    y0, y1 = (float(ys.min()), float(ys.max())) if ys.size else (0.0, 1.0)
    if zero:
        y0, y1 = min(y0, 0.0), max(y1, 0.0)
    if y1 - y0 < least:
        y0, y1 = (y0 + y1 - least) / 2, (y0 + y1 + least) / 2
    # Decades, where there are several.
    y_ticks = [float(v) for v in range(math.floor(y0), math.ceil(y1) + 1)] if log_y and y1 - y0 > 1.2 else ticks(y0, y1)
    y0, y1 = min(y0, y_ticks[0]), max(y1, y_ticks[-1])
    span_x, span_y = (x1 - x0) or 1.0, (y1 - y0) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (x - x0) / span_x * (width - left - right), height - bottom - (y - y0) / span_y * (
            height - top - bottom
        )

    parts = []
    if shade is not None:
        (a, _), (b, _) = at(max(shade[0], x0), y0), at(min(shade[1], x1), y0)
        parts.append(
            f'<rect class="shade" x="{a:.1f}" y="{top}" width="{max(b - a, 0):.1f}" height="{height - top - bottom}"/>'
        )
    for value in y_ticks:
        _, row = at(x0, value)
        label = tick_label(10**value if log_y else value)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{row:.1f}" y2="{row:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{row + 4:.1f}" text-anchor="end">{label}</text>')
    for value in [v for v in ticks(x0, x1, 4) if x0 <= v <= x1]:
        column, _ = at(value, y0)
        parts.append(
            f'<text x="{column:.1f}" y="{height - bottom + 15}" text-anchor="middle">{tick_label(value)}</text>'
        )
    if x_label:
        parts.append(f'<text x="{(left + width) / 2}" y="{height - 2}" text-anchor="middle">{text(x_label)}</text>')
    for band in bands:
        edge = [at(*p) for p in zip(band.x, band.low, strict=True)] + [
            at(*p) for p in zip(band.x, band.high, strict=True)
        ][::-1]
        parts.append(f'<path d="{_path(edge)}Z" fill="{band.colour}" opacity=".13"/>')
    for s, (x, y) in zip(series, points, strict=True):
        style = (
            f'stroke="{s.colour}"'
            + (' stroke-dasharray="4 3"' if s.dashed else "")
            + (' opacity=".28"' if s.faint else "")
        )
        parts.append(f'<path class="line" d="{_path([at(*p) for p in zip(x, y, strict=True)])}" {style}/>')
    drawing = Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(title or x_label)}">{"".join(parts)}</svg>'
    )
    keys = [
        tag("span", tag("i", style=f"border-top:3px {'dashed' if s.dashed else 'solid'} {s.colour}"), s.name)
        for s in series
        if s.name and not s.faint
    ]
    return tag("figure", tag("h3", title) if title else Markup(""), drawing,
               tag("div", *keys, class_="legend") if legend and keys else Markup(""), style="margin:0")  # fmt: skip


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round tick values that span [low, high].

    >>> ticks(0.0, 0.93)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if not high - low > 1e-12:  # below what tick values are rounded to
        pad = 0.5 * max(abs(low), abs(high)) if max(abs(low), abs(high)) > 1e-12 else 0.5
        low, high = low - pad, high + pad
    raw = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_label(value: float) -> str:
    """A tick's value, short."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}" if abs(value) >= 1000 else f"{value:.3g}"


def _path(points: Sequence[tuple[float, float]]) -> str:
    parts: list[str] = []
    pen_down = False
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        pen_down = True
    return "".join(parts)
