"""Draws the figure over all studies: what insulation gains or costs, against token error and VQA accuracy of the base VLM.

Imports no JAX.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fasttok.common import html
from fasttok.common.html import Band, Dot, Markup, ScatterAxes, Series, tag
from fasttok.errors import InputError
from train.study.intervals import Estimate
from train.study.pairs import FoundPairs, InsulationPair
from train.study.regression import FittedLine, LineInterval, fit_line
from train.study.study_page import table_section
from train.study.tables import StudyTable, TableRow, markdown_table
from train.study.tables import points as points_of

FEWEST = 3  # fewest pairs for a line
WIDTH, HEIGHT = 340, 250  # size of a panel in pixels
LABELS = {
    "token_error": "action error of the insulated run's tokens (1: the mean)",
    "base_vqa": "VQA accuracy of the base VLM (%)",
}
PER_CENT = ("base_vqa",)  # drawn in per cent; the pairs have it as a share


@dataclass(frozen=True)
class FigurePanel:
    """One plot.

    Attributes:
        against: field of `InsulationPair` that the x axis shows.
        split: split of the environment.
        pairs: the pairs that are drawn.
        line: line through the pairs; None if all have the same x.
    """

    against: str
    split: str
    pairs: tuple[InsulationPair, ...]
    line: FittedLine | None

    @property
    def title(self) -> str:
        """Title of the plot, for people."""
        against = "token error" if self.against == "token_error" else "base VQA"
        return f"insulated minus joint, {self.split.replace('_', ' ')}, by {against}"


def panels(found: FoundPairs) -> list[FigurePanel]:
    """Returns one plot per quantity and split, those against the token error first.

    A split is shown if at least half of the pairs, and at least three, have it: a line through fewer pairs would be about other
    conditions than the rest.

    Raises:
        InputError: there are fewer than three pairs.
    """
    if len(found.pairs) < FEWEST:
        without = f"; left out, as a search gave their arms different values: {', '.join(found.searched)}"
        raise InputError(
            f"found {len(found.pairs)} pairs of an insulated and a joint run of the same condition and seed, a line needs at "
            f"least {FEWEST}; give results.json of more studies" + (without if found.searched else "")
        )
    splits = dict.fromkeys(split for pair in found.pairs for split in pair.success)
    everywhere = {s: [p for p in found.pairs if s in p.success] for s in splits}
    shown = [s for s in splits if len(everywhere[s]) >= max(FEWEST, len(found.pairs) / 2)]
    out = []
    for against in LABELS:
        for split in shown:
            pairs = tuple(p for p in everywhere[split] if getattr(p, against) is not None)
            if len(pairs) >= FEWEST:
                out.append(FigurePanel(against, split, pairs, _line(pairs, against, split)))
    return out


def _line(pairs: Sequence[InsulationPair], against: str, split: str) -> FittedLine | None:
    conditions = list(dict.fromkeys(pair.condition for pair in pairs))
    return fit_line(
        np.array([getattr(pair, against) for pair in pairs], float),
        np.array([pair.success[split].difference for pair in pairs]),
        np.array([conditions.index(pair.condition) for pair in pairs]),
    )


def answer(shown: Sequence[FigurePanel], found: FoundPairs) -> list[str]:
    """Returns sentences that say what the figure's numbers show."""
    conditions = len({pair.condition for pair in found.pairs})
    out = [f"{len(found.pairs)} pairs of runs that differ in insulation alone, of {conditions} conditions."]
    better = sum(pair.token_error < 1 for pair in found.pairs)
    out.append(f"In {better} of them the insulated run's tokens act better than always predicting the mean.")
    for panel in shown:
        what = "token error" if panel.against == "token_error" else "VQA accuracy of the base"
        step = "10 points" if panel.against in PER_CENT else "0.1"
        if panel.line is None:
            out.append(f"On {panel.split}: all pairs have the same {what}, so nothing can be said of it.")
            continue
        slope, groups = panel.line.slope, panel.line.slope_by_group
        clear = slope.low > 0 or slope.high < 0
        said = (
            f"On {panel.split}, where the {what} is lower by {step}, insulation's lead differs by {points(slope, -0.1)} points "
            f"(by conditions: {points(groups, -0.1)})"
        )
        out.append(said + ("." if clear else ": the interval contains 0, so no relation is shown."))
    return out


def points(interval: LineInterval | None, times: float = 1.0) -> str:
    """Formats a share, multiplied by `times`, with its interval, in percentage points; "-" if there is none.

    >>> points(LineInterval(-0.5, -0.75, -0.25), -0.1)
    '+5.0 [+2.5, +7.5]'
    """
    if interval is None:
        return "-"
    ends = sorted((100 * times * interval.low, 100 * times * interval.high))
    return f"{100 * times * interval.value:+.1f} [{ends[0]:+.1f}, {ends[1]:+.1f}]"


def colours(found: FoundPairs) -> dict[str, str]:
    """Returns the colour of each study, which is the same in every plot."""
    studies = dict.fromkeys(pair.study for pair in found.pairs)
    return {study: html.PALETTE[i % len(html.PALETTE)] for i, study in enumerate(studies)}


def covered(shown: Sequence[FigurePanel]) -> tuple[float, float]:
    """Returns the lowest and the highest end of all intervals in all plots, so that their y axes can be the same."""
    every = [pair.success[panel.split] for panel in shown for pair in panel.pairs]
    return min(at.low for at in every), max(at.high for at in every)


def drawn(
    panel: FigurePanel, colour_of: dict[str, str], covers: tuple[float, float]
) -> tuple[list[Dot], ScatterAxes, Series | None, Band | None]:
    """Returns the dots, the axes, the line and the band of a plot; `covers` is the range that its y axis covers."""
    dots = []
    scale = 100 if panel.against in PER_CENT else 1
    for pair in panel.pairs:
        at = pair.success[panel.split]
        name = f"{pair.study}: {pair.insulated} - {pair.joint}, seed {pair.seed}"
        x = scale * float(getattr(pair, panel.against))
        dots.append(Dot(x, at.difference, at.low, at.high, colour_of[pair.study], name))
    axes = ScatterAxes(LABELS[panel.against], "difference in success (points)", percent=True, mark=0.0, least=covers)
    if panel.line is None:
        return dots, axes, None, None
    line = panel.line
    ends = [line.x[0], line.x[-1]]
    colour = html.PALETTE[0]
    return (
        dots,
        axes,
        Series("", [scale * x for x in ends], [line.at(x) for x in ends], colour),
        Band([scale * x for x in line.x], line.low, line.high, colour),
    )


def svg(shown: Sequence[FigurePanel], found: FoundPairs) -> str:
    """Returns the plots as a self-contained SVG file."""
    made: list[tuple[str, Markup]] = []
    width = WIDTH + 80  # labels of the x axis are long
    colour_of, covers = colours(found), covered(shown)
    for panel in shown:
        dots, axes, line, band = drawn(panel, colour_of, covers)
        made.append(
            (
                panel.title,
                html.scatter_drawing(dots, axes, line=line, band=band, label=panel.title, width=width, height=HEIGHT),
            )
        )
    return html.svg_file(made, width, HEIGHT)


def lines_table(shown: Sequence[FigurePanel]) -> StudyTable:
    """Returns the table of the lines through the plots."""
    rows: list[TableRow] = []
    for panel in shown:
        against = panel.against.replace("_", " ").replace("vqa", "VQA")
        head: TableRow = [against, panel.split, len(panel.pairs)]
        if panel.line is None:
            rows.append([*head, "-", "-", "-"])
            continue
        line = panel.line
        rows.append([*head, points(line.slope), points(line.slope_by_group), points(line.intercept)])
    columns = ["against", "split", "pairs", "slope", "slope, by conditions", "intercept"]
    note = (
        "Difference in success (insulated minus joint, points) = intercept + slope x. Brackets: 95 % percentile bootstrap over "
        "pairs; by conditions: over conditions, whose seeds are drawn together (-: too few of them, or too few different x)."
    )
    return StudyTable("The lines", note, columns, rows)


def pairs_table(found: FoundPairs) -> StudyTable:
    """Returns the table of all pairs, in the order of their token errors."""
    splits = list(dict.fromkeys(split for pair in found.pairs for split in pair.success))
    rows: list[TableRow] = []
    for pair in sorted(found.pairs, key=lambda pair: pair.token_error):
        at = [pair.success.get(split) for split in splits]
        cells = [points_of(None if d is None else Estimate(d.difference, d.low, d.high, ())) for d in at]
        vqa = "-" if pair.base_vqa is None else f"{100 * pair.base_vqa:.0f}"
        rows.append([pair.study, pair.insulated, pair.joint, pair.seed, f"{pair.token_error:.2f}", vqa, *cells])
    columns = ["study", "insulated", "joint", "seed", "token error", "base VQA (%)", *(f"{s}, points" for s in splits)]
    note = (
        "Difference in success; brackets: 95 % intervals of its episodes (Newcombe 1998, as if the two runs had not met the same "
        "episodes)."
    )
    return StudyTable("The pairs", note, columns, rows)


def left_out(found: FoundPairs) -> list[str]:
    """Returns sentences about the pairs that were found but do not count."""
    out = []
    if found.repeats:
        out.append(f"{found.repeats} pairs of a condition and seed that was measured again later are left out.")
    if found.searched:
        out.append(
            f"Left out, as a search gave their arms different values: {', '.join(found.searched)} (--own-values takes them)."
        )
    return out


def page(shown: Sequence[FigurePanel], found: FoundPairs, command: str = "") -> str:
    """Returns the figure as one HTML page; `command` is the command that made it."""
    colour_of, covers = colours(found), covered(shown)
    cards = []
    for panel in shown:
        dots, axes, line, band = drawn(panel, colour_of, covers)
        plot = html.scatter(
            dots, axes, line=line, band=band, legend=list(colour_of.items()), title=panel.title, width=WIDTH,
            height=HEIGHT,
        )  # fmt: skip
        cards.append(tag("div", plot, class_="card"))
    said, *rest = [*answer(shown, found), *left_out(found)]
    return html.page(
        "When does insulation pay?",
        tag("h1", "When does insulation pay?"),
        tag(
            "p",
            "An insulated run against joint training of the same condition and seed, over all studies.",
            class_="soft",
        ),
        tag("p", said),
        tag("ul", *[tag("li", sentence) for sentence in rest]),
        tag("h2", "Every pair"),
        tag(
            "p",
            "A point for each pair; vertical lines: 95 % intervals; tinted: that of the line. All plots have the same y axis.",
            class_="soft",
        ),
        tag("div", *cards, class_="cards"),
        *table_section(lines_table(shown)),
        *table_section(pairs_table(found)),
        command=command,
    )


def markdown(shown: Sequence[FigurePanel], found: FoundPairs, command: str, picture: str) -> str:
    """Returns the figure's text and tables as Markdown, for documentation.

    Args:
        shown: the plots.
        found: the pairs.
        command: the command that made the figure.
        picture: name of the file with the plots, in the same folder.
    """
    text = ["# When does insulation pay?", "", f"`{command}`", "", f"![Insulated minus joint]({picture})", ""]
    text += [f"- {sentence}" for sentence in [*answer(shown, found), *left_out(found)]]
    for table in (lines_table(shown), pairs_table(found)):
        text += markdown_table(table)
    return "\n".join(text) + "\n"
