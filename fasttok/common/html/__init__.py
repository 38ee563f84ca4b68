"""Builds self-contained HTML pages.

A page is one file: it loads nothing from the network, and it is complete without JavaScript. Plots are inline SVG that follows
the page's colours. The functions here return `Markup`, a str that is safe to place in a page; they escape plain strings.
"""

from fasttok.common.html.colours import (
    BAD,
    COMPUTED,
    COMPUTED_NEXT,
    GOOD,
    KIND_COLOURS,
    NEUTRAL,
    PALETTE,
    RECORDED,
    WARNING,
)
from fasttok.common.html.images import CHANNEL_SWAP, image, image_kind
from fasttok.common.html.interval_bars import Bar, bars, longest_bar
from fasttok.common.html.labels import badge, bar, token_hue, tokens
from fasttok.common.html.markup import Markup, breakable, page, tag, text
from fasttok.common.html.scale import tick_label, ticks
from fasttok.common.html.scatter import Dot, ScatterAxes, scatter, scatter_drawing, svg_file
from fasttok.common.html.series import Axes, Band, Series, plot
from fasttok.common.html.tables import CellValue, facts, number, scrolling, table, tiles
from fasttok.common.html.timeline import cursor, moments, timeline
from fasttok.common.percent import percent

__all__ = [
    "BAD",
    "CHANNEL_SWAP",
    "COMPUTED",
    "COMPUTED_NEXT",
    "GOOD",
    "KIND_COLOURS",
    "NEUTRAL",
    "PALETTE",
    "RECORDED",
    "WARNING",
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
    "breakable",
    "cursor",
    "facts",
    "image",
    "image_kind",
    "longest_bar",
    "moments",
    "number",
    "page",
    "percent",
    "plot",
    "scatter",
    "scatter_drawing",
    "scrolling",
    "svg_file",
    "table",
    "tag",
    "text",
    "tick_label",
    "ticks",
    "tiles",
    "timeline",
    "token_hue",
    "tokens",
]
