"""The page of `fasttok-mixtures explain --html`: shares as bars, the curriculum, and where the numbers come from."""

from collections.abc import Sequence

from fasttok.common import html
from fasttok.common.html import (
    KIND_COLOURS,
    NEUTRAL,
    PALETTE,
    Axes,
    Markup,
    Series,
    percent,
    plot,
    scrolling,
    table,
    tag,
    tiles,
)
from mixtures.shares import phases
from mixtures.spec import Group, Mixture
from mixtures.summary import Line

COLOURS: dict[str | None, str] = {None: NEUTRAL} | dict(KIND_COLOURS)


def explain_page(mixture: Mixture, samples: int, lines: list[Line], note: str, command: str = "") -> str:
    """Returns the whole page.

    Args:
        mixture: the mixture to explain.
        samples: number of samples of the build.
        lines: lines of the mixture, the one of the whole mixture first.
        note: where the numbers come from.
        command: command that made the page.

    >>> from mixtures.spec import Source
    >>> from mixtures.summary import SourceSizes, summarise
    >>> mixture = Mixture("demo", Group("demo", (Source("a", "a"),)))
    >>> "<h2>Shares</h2>" in explain_page(mixture, 8, summarise(mixture, 8, {"a": SourceSizes()})[0], "estimates")
    True
    """
    leaves = [line for line in lines if not line.group]
    kinds: dict[str, float] = {}
    for line in leaves:
        label = f"{line.sizes.kind or 'unknown kind'}, of the samples"
        kinds[label] = kinds.get(label, 0.0) + line.share
    cells = [row(line, lines[0]) for line in lines]
    shown = told(cells)
    columns = [UNITS.get(COLUMNS[i], COLUMNS[i]) for i in shown]
    sections = [
        tag("h1", f"Mixture {mixture.name}"),
        tag("p", mixture.description),
        tiles({"samples": f"{samples:,}", "sources": len(leaves), **{k: percent(v, 2) for k, v in sorted(kinds.items())}}),
        tag("p", note, class_="soft"),
        tag("h2", "Shares"),
        bars(lines),
        tag("h2", "Numbers"),
        tag("p", f"Quotas are exact: each within one sample of its share. Policy of the mixture: {policies(mixture.root)}."
            f"{ABOUT_TOKENS if COLUMNS.index('token share') in shown else ''}", class_="soft"),
        table(columns, [[indented(one[0]), *(one[i] for i in shown[1:])] for one in cells], sortable=False),
    ]  # fmt: skip
    if mixture.schedule:
        sections += [tag("h2", "Curriculum"), curriculum(mixture, samples, leaves)]
    return html.page(f"Mixture {mixture.name}", *sections, command=command)


COLUMNS = ("source", "kind", "share", "samples", "frames", "epochs", "chunk", "FAST ids", "token share", "MB", "note")
# Longer names of columns on the page, which has room to say what they count.
UNITS = {"chunk": "chunk, steps x dims", "FAST ids": "FAST ids per sample"}

ABOUT_TOKENS = (
    " Token share counts the tokens that the cross-entropy is on; under a loss with one denominator for all tokens, gradients "
    "follow it and not the share of samples."
)


def told(rows: Sequence[Sequence[object]]) -> list[int]:
    """Returns the columns that have a value in any line; source, share and samples are always among them.

    >>> told([["m", None, "100.00 %", 8, None, 0.5, None, None, None, None, ""]])
    [0, 2, 3, 5]
    """
    return [i for i in range(len(COLUMNS)) if i in (0, 2, 3) or any(cells[i] not in (None, "") for cells in rows)]


def indented(name: object) -> Markup:
    """Returns a line's name, indented by its depth. It stays indented if the name is broken into several lines.

    >>> indented("\u2003web")
    '<div style="padding-left:14px">web</div>'
    """
    words = str(name).lstrip("\u2003")
    return tag("div", html.breakable(words), style=f"padding-left:{14 * (len(str(name)) - len(words))}px")


def row(line: Line, whole: Line) -> list[str | int | float | None]:
    """Returns the cells of a line, in the order of `COLUMNS`.

    Args:
        line: a source or group.
        whole: the line of the whole mixture.

    >>> from mixtures.summary import SourceSizes
    >>> line = Line("web", 1, True, 0.4, 0.4, 40, (40,), SourceSizes(), None, None, None)
    >>> row(line, line)[:4]
    ['\u2003web', None, '40.00 %', 40]
    """
    sizes = line.sizes
    chunk = f"{sizes.horizon} x {sizes.action_dim}" if sizes.horizon and sizes.action_dim else None
    return [
        "\u2003" * line.depth + line.name,
        sizes.kind,
        percent(line.share, 2),
        line.samples,
        sizes.frames,
        line.epochs,
        chunk,
        sizes.fast_tokens,
        percent(line.tokens / whole.tokens, 2) if line.tokens is not None and whole.tokens else None,
        line.bytes / 1e6 if line.bytes is not None else None,
        notes(line),
    ]


def notes(line: Line) -> str:
    """Says what is unusual about a source.

    >>> from mixtures.summary import SourceSizes
    >>> sizes = SourceSizes(left_out={"language": 1200})
    >>> notes(Line("arm", 1, False, 0.4, 0.4, 40, (40,), sizes, None, None, None))
    '1,200 left out by language'
    """
    words = [f"capped by max_epochs, weights say {percent(line.wanted, 2)}"] if line.capped else []
    words += [f"{count:,} left out by {name}" for name, count in line.sizes.left_out.items()]
    return ", ".join(words)


def bars(lines: list[Line]) -> Markup:
    """Draws a bar per source, full at 100 % of the samples, with its share of tokens if that is known; groups have no bar.

    >>> from mixtures.summary import SourceSizes
    >>> whole, half = (Line(name, depth, not depth, share, share, 1, (1,), SourceSizes(), None, None, None)
    ...                for name, depth, share in (("m", 0, 1.0), ("a", 1, 0.5)))
    >>> "width:50.0%" in bars([whole, half])
    True
    """
    whole = lines[0]
    counted = any(line.tokens is not None for line in lines[1:] if not line.group) and whole.tokens
    cells = []
    for line in lines[1:]:
        indent = f"padding-left:{(line.depth - 1) * 18}px"
        share = html.bar(line.share, COLOURS[line.sizes.kind]) if not line.group else ""
        tokens: str | None = "" if line.group else None
        if line.tokens is not None and whole.tokens and not line.group:
            tokens = percent(line.tokens / whole.tokens, 2)
        name = tag("b" if line.group else "span", html.breakable(line.name))
        cells.append(
            tag(
                "tr",
                tag("td", tag("div", name, style=indent)),
                tag("td", percent(line.share, 2), class_="num"),
                tag("td", share, style="width:45%"),
                tag("td", html.number(tokens), class_="num") if counted else "",
            )
        )
    keys = [
        tag("span", tag("i", style=f"border-top:6px solid {colour}"), kind or "unknown kind")
        for kind, colour in COLOURS.items()
        if any(line.sizes.kind == kind and not line.group for line in lines)
    ]
    names = ["source", "share of samples", "from 0 to 100 %", *(["share of tokens"] if counted else [])]
    head = [tag("th", name, scope="col", class_="num" if "share" in name else None) for name in names]
    whole_table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *cells))
    return Markup(tag("div", *keys, class_="legend") + scrolling(whole_table, "shares of the sources"))


def policies(group: Group) -> str:
    """Writes the policies of a mixture in words.

    >>> policies(Group("m", (Group("web", (), policy="proportional"),)))
    'as_given; web: proportional'
    """
    own = group.policy + (f" (T = {group.temperature:g})" if group.policy == "temperature" else "")
    inner = [f"{m.name}: {policies(m)}" for m in group.members if isinstance(m, Group) and m.policy != "as_given"]
    return own + (f"; {'; '.join(inner)}" if inner else "")


def curriculum(mixture: Mixture, samples: int, leaves: list[Line]) -> Markup:
    """Draws the shares along the build as steps, and the samples per phase as a table.

    >>> from mixtures.summary import SourceSizes
    >>> leaf = Line("a", 1, False, 1.0, 1.0, 8, (8,), SourceSizes(), None, None, None)
    >>> "0 to 8" in curriculum(Mixture("m", Group("m", ())), 8, [leaf])
    True
    """
    spans = phases(mixture, samples)
    lines = []
    for i, leaf in enumerate(leaves):
        x = [float(v) for _, start, stop in spans for v in (start, stop)]
        y = [100 * n / (b - a) for n, (_, a, b) in zip(leaf.phases, spans, strict=True) for _ in (0, 1)]
        lines.append(Series(leaf.name, x, y, PALETTE[i % len(PALETTE)]))
    drawing = tag(
        "div",
        plot(lines, Axes("samples of the build", "share of samples (%)", zero=True), width=680, height=260),
        class_="card",
    )
    columns = ["source", *[f"{start:,} to {stop:,}" for _, start, stop in spans]]
    says = tag("p", "Samples of each source between two places in the build:", class_="soft")
    return Markup(drawing + says + table(columns, [[leaf.name, *leaf.phases] for leaf in leaves]))
