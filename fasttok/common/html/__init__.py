"""Self-contained HTML pages: one file, no script, no network; plots are inline SVG that follows the page's colours.

Everything here returns `Markup`, a str that is safe to place in a page; plain strings are escaped on the way in.
"""

from fasttok.common.html.colours import KIND_COLOURS, PALETTE
from fasttok.common.html.images import CHANNEL_SWAP, image, image_kind
from fasttok.common.html.interval_bars import Bar, bars
from fasttok.common.html.labels import badge, bar, tokens
from fasttok.common.html.markup import Markup, page, tag, text
from fasttok.common.html.scale import tick_label, ticks
from fasttok.common.html.scatter import Dot, ScatterAxes, scatter, scatter_drawing, svg_file
from fasttok.common.html.series import Axes, Band, Series, plot
from fasttok.common.html.tables import CellValue, facts, number, table, tiles

__all__ = [
    "CHANNEL_SWAP",
    "KIND_COLOURS",
    "PALETTE",
    "Axes",
    "Band",
    "Bar",
    "CellValue",
    "Dot",
    "Markup",
    "ScatterAxes",
    "Series",
    "badge",
    "bar",
    "bars",
    "facts",
    "image",
    "image_kind",
    "number",
    "page",
    "plot",
    "scatter",
    "scatter_drawing",
    "svg_file",
    "table",
    "tag",
    "text",
    "tick_label",
    "ticks",
    "tiles",
    "tokens",
]
