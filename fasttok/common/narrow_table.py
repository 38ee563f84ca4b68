"""Lays out a table on a terminal that is too narrow for it.

The columns are stacked in bands, and each band repeats the first column.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

GAP = 2  # blanks between two columns
NARROWEST = 8  # characters that a column of longer texts gets on the narrowest terminal
PROSE = 24  # characters: a folded text can still be read at this width
WORD = 12  # characters: words of a header up to this length are never broken


@dataclass(frozen=True)
class ColumnWidths:
    """The width that one column would like, and the width that it needs.

    Attributes:
        header: header of the column.
        natural: characters of its widest line, unfolded.
        least: characters that it needs: a whole number, or enough of a text that it can still be read.
        number: whether its cells must not fold.
    """

    header: str
    natural: int
    least: int
    number: bool


def measure(header: str, cells: Sequence[str], *, number: bool) -> ColumnWidths:
    """Measures a column.

    >>> measure("FAST ids/row", ["11.4", "33.71"], number=True)
    ColumnWidths(header='FAST ids/row', natural=12, least=7, number=True)
    >>> measure("question", ["which of the two blocks is nearer?"], number=False).least
    24

    Args:
        header: header of the column.
        cells: its cells, as they are printed.
        number: whether the cells must not fold.
    """
    widest = max((cell_len(line) for cell in cells for line in cell.split("\n")), default=1)
    word = min(WORD, max((cell_len(word) for word in header.split()), default=0))
    least = max(word, widest if number else min(widest, PROSE))
    return ColumnWidths(header, max(widest, cell_len(header)), least, number)


def repeated(key: ColumnWidths, width: int) -> ColumnWidths:
    """Returns the first column with the width that it has in every band.

    It takes at most a third of the terminal, or `NARROWEST` characters if that is more. A number takes all that it needs.
    """
    fixed = key.least if key.number else min(key.natural, max(NARROWEST, width // 3))
    return replace(key, natural=fixed, least=fixed)


def bands(columns: Sequence[ColumnWidths], width: int) -> list[list[int]]:
    """Returns the numbers of the columns of each band; there is one band if all columns can be read beside each other.

    The first column begins each band. A band has at least one more column, even if that is too wide: the terminal then wraps its
    lines. A table of one or two columns is always one band.

    >>> source, count = measure("source", ["tabletop_planar"], number=False), measure("rows", ["9,600"], number=True)
    >>> bands([source, count, count, count], 80), bands([source, count, count, count], 30)
    ([[0, 1, 2, 3]], [[0, 1, 2], [0, 3]])

    Args:
        columns: columns of the table.
        width: characters per line of the terminal.
    """
    everything = list(range(len(columns)))
    if len(columns) < 3 or sum(column.least + GAP for column in columns) - GAP <= width:
        return [everything]
    first = repeated(columns[0], width).least
    found: list[list[int]] = []
    used = width
    for number in everything[1:]:
        needed = GAP + columns[number].least
        if used + needed > width:
            found.append([0])
            used = first
        found[-1].append(number)
        used += needed
    return found


def said(columns: Sequence[ColumnWidths], stacked: Sequence[Sequence[int]], width: int) -> str:
    """Returns a line that names the columns below the first band; "" if there is only one band.

    >>> both = [measure(name, ["1"], number=True) for name in ("a", "b", "c")]
    >>> said(both, [[0, 1], [0, 2]], 5)
    '5 characters per line are too few for this table; below, with a repeated: c'

    Args:
        columns: columns of the table.
        stacked: the bands, from `bands`.
        width: characters per line of the terminal.
    """
    below = [columns[number].header for band in stacked[1:] for number in band[1:]]
    if not below:
        return ""
    names = ", ".join(below)
    return f"{width} characters per line are too few for this table; below, with {columns[0].header} repeated: {names}"


def shares(columns: Sequence[ColumnWidths], width: int) -> list[int]:
    """Returns the width of each column of one band.

    Each column gets what it needs. The space that is left goes to the columns that want more, the narrowest ones first.

    >>> prose, count = measure("what", ["a robot that moves in a plane"], number=False), measure("rows", ["12"], number=True)
    >>> shares([prose, count], 80), shares([prose, count], 30), shares([prose, count], 16), shares([prose, count], 5)
    ([29, 4], [24, 4], [10, 4], [8, 4])

    Args:
        columns: columns of the band.
        width: characters per line of the terminal. The widths exceed it only if numbers and `NARROWEST` need more.
    """
    room = width - GAP * (len(columns) - 1)
    if sum(column.least for column in columns) > room:
        columns = [c if c.number else replace(c, least=min(c.least, NARROWEST)) for c in columns]
    widths = [column.least for column in columns]
    spare = max(0, room - sum(widths))
    modest_first = sorted(range(len(columns)), key=lambda i: columns[i].natural)
    for served, i in enumerate(modest_first):
        more = min(max(0, columns[i].natural - widths[i]), spare // (len(columns) - served))
        widths[i] += more
        spare -= more
    return widths
