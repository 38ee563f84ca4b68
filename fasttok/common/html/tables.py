"""Builds tables, tiles and lists of facts."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fasttok.common.html.markup import Markup, breakable, tag

CellValue = Markup | str | int | float | np.integer[Any] | np.floating[Any] | np.bool_ | None
LONG = 8  # a table with so many rows or more can be sorted and filtered
MANY = 6  # a table with so many columns or more keeps the first one in sight
LONG_FACT = 48  # characters: a longer fact takes a line of its own
WRITTEN = re.compile(r"[+-]?\d[\d.,]*(e[+-]?\d+)?(\s?%)?|[-–]")  # a number, or the dash of a missing one
# Cells that stay on one line, such as: 50 % [35, 65]; 1 of 2: 50 % [9, 91]; 15 x 7; a badge.
WHOLE = re.compile(
    r"""(?:\d+ of \d+: )?[+-]?[\d.,]+(?:\s?%)? \[[^\]]{1,40}\]\*?|\d+ x \d+|<span class="badge"[^<]*</span>"""
)


def tiles(values: Mapping[str, CellValue]) -> Markup:
    """Returns tiles with the few numbers that a reader wants first: label -> value.

    >>> tiles({"rows": 3})
    '<div class="tiles"><div class="tile"><b>3</b><span>rows</span></div></div>'
    """
    boxes = [
        tag("div", tag("b", value), tag("span", name.replace(" %", "\u00a0%")), class_="tile")
        for name, value in values.items()
    ]
    return tag("div", *boxes, class_="tiles")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, sortable: bool = True) -> Markup:
    """Returns a table, which scrolls if the page is too narrow for it.

    A long table can be sorted and filtered (scripts/tables.js). Columns that contain only numbers, shares such as "12.5 %", or
    None are right-aligned. A table with many columns keeps the first one in sight while the others scroll.

    Args:
        columns: names of the columns.
        rows: rows with one cell per column.
        sortable: False if the order of the rows means something, as in a tree.

    >>> '<td class="num">40.00 %</td>' in table(["share"], [["40.00 %"]])
    True
    """

    def numeric(i: int) -> bool:
        return all(
            row[i] is None or isinstance(row[i], int | float | np.number) or WRITTEN.fullmatch(str(row[i]))
            for row in rows
        )

    kinds = ["num" if numeric(i) else None for i in range(len(columns))]
    names = [name.replace(" %", "\u00a0%") for name in columns]
    head = tag("tr", *[tag("th", name, class_=kind, scope="col") for name, kind in zip(names, kinds, strict=True)])
    body = [
        tag("tr", *[tag("td", _shown(cell), class_=kind or kept(cell)) for cell, kind in zip(row, kinds, strict=True)])
        for row in rows
    ]
    marks = ["long"] * (sortable and len(rows) >= LONG) + ["many"] * (len(columns) >= MANY)
    made = tag("table", tag("thead", head), tag("tbody", *body), class_=" ".join(marks) or None)
    return scrolling(made, " ".join(columns[:3]))


def _shown(cell: object) -> str:
    words = number(cell)
    return words if isinstance(words, Markup) else breakable(words)


def kept(cell: object) -> str | None:
    """Returns the CSS class of a cell that must stay on one line, None for any other cell.

    >>> kept("1 of 2: 50 % [9, 91]"), kept("15 x 7"), kept("50 words")
    ('kept', 'kept', None)
    """
    return "kept" if isinstance(cell, str) and WHOLE.fullmatch(cell) else None


def scrolling(wide: Markup, name: str) -> Markup:
    """Returns a box in which wide content scrolls, also by keyboard. A shadow shows on which side there is more.

    Args:
        wide: content that may be wider than a phone.
        name: name that a screen reader reads out.
    """
    return tag("div", wide, class_="scroll", tabindex="0", role="region", aria_label=f"table: {name}")


def number(value: object) -> str:
    """Returns a number as people read it, and a dash for None and NaN. Text and markup stay unchanged.

    >>> number(12345), number(0.12345), number(999.7), number(None), number("x")
    ('12,345', '0.123', '1,000', '–', 'x')
    """
    if value is None or (isinstance(value, str) and value == "-"):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        real = float(value)
        if math.isnan(real):
            return "–"
        return f"{real:,.0f}" if 999.5 <= abs(real) < 1e15 else f"{real:.3g}"  # 999.5 would be 1e+03
    return value if isinstance(value, str) else str(value)


def facts(values: Mapping[str, CellValue]) -> Markup:
    """Returns names and values in columns. Values that are None or "" are left out.

    >>> facts({"Hz": 5.0, "licence": None})
    '<dl class="facts"><div><dt>Hz</dt><dd>5</dd></div></dl>'
    """
    shown = {name: value for name, value in values.items() if value is not None and value != ""}
    pairs = [
        tag("div", tag("dt", name), tag("dd", number(v)), class_="whole" if len(number(v)) > LONG_FACT else None)
        for name, v in shown.items()
    ]
    return tag("dl", *pairs, class_="facts")
