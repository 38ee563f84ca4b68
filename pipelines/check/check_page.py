"""The page of `fasttok-pipelines check DATASET --html`: every finding, with drawings of its first or worst place."""

import io

import numpy as np
from numpy.typing import NDArray

from fasttok.common import html
from fasttok.common.html import BAD, NEUTRAL, PALETTE, WARNING, Axes, Markup, Series, percent, tag
from pipelines.check.dataset_findings import SEVERITIES, Curves, DatasetFinding, Pictures, Severity
from pipelines.check.diagnose import Diagnosis, summary

COLOURS: dict[Severity, str] = {"error": BAD, "warning": WARNING, "note": NEUTRAL}
MOST_POINTS = 1500  # per line
LEAD = (
    "An error makes training wrong or impossible, a warning probably harms it, a note is worth knowing. Each finding shows its "
    "first or worst place; the tinted part of a drawing is that place."
)


def check_page_of(found: Diagnosis, command: str = "") -> str:
    """Returns one self-contained page, which names the `command` that made it."""
    counts = {severity: sum(f.severity == severity for f in found.findings) for severity in SEVERITIES}
    steps = sum(len(episode.action) for episode in found.sample.episodes)
    title = f"{found.dataset.name}: check"
    return html.page(
        title,
        tag("h1", title),
        tag("p", f"{summary(found)}.", class_="soft"),
        html.tiles({
            "errors": counts["error"], "warnings": counts["warning"], "notes": counts["note"],
            "episodes checked": len(found.sample.episodes), "steps": f"{steps:,}", "records rejected": found.rejected,
        }),
        tag("p", LEAD if found.findings else "Nothing was found.", class_="soft"),
        _overview(found.findings),
        *[_section(number, finding) for number, finding in enumerate(found.findings)],
        *_measured(found),
        command=command,
    )  # fmt: skip


def _overview(findings: list[DatasetFinding]) -> Markup:
    rows = [
        [_badge(finding), tag("a", finding.check, href=f"#finding-{number}"), finding.count, _clipped(finding.what)]
        for number, finding in enumerate(findings)
    ]
    return html.table(["severity", "check", "count", "what"], rows) if rows else Markup("")


def _section(number: int, finding: DatasetFinding) -> Markup:
    drawn = [_drawing(drawing) for drawing in finding.drawings]
    place = finding.place
    return tag(
        "section",
        tag("h2", finding.check, Markup(" "), _badge(finding), id=f"finding-{number}"),
        tag("p", finding.what),
        tag("p", tag("b", "Next: "), finding.todo),
        html.facts({
            "split": place.split, "file": place.file, "episode": None if place.episode is None else str(place.episode),
            "step": None if place.step is None else str(place.step), "dim": place.dim,
        }),
        tag("pre", finding.entry, class_="mono") if finding.entry else "",
        tag("div", *drawn, class_="plots wide-plots") if drawn else "",
    )  # fmt: skip


def _drawing(drawing: Curves | Pictures) -> Markup:
    if isinstance(drawing, Pictures):
        shown = [
            tag("figure", html.image(_png(image), 200, name), tag("figcaption", name), style="margin:0")
            for name, image in drawing.images.items()
        ]
        return Markup("".join(shown))
    longest = max((len(values) for values in drawing.lines.values()), default=0)
    every = max(1, -(-longest // MOST_POINTS))
    series = [
        Series(name, np.arange(0, len(values), every), values[::every], PALETTE[i % len(PALETTE)])
        for i, (name, values) in enumerate(drawing.lines.items())
    ]
    shade = None
    if drawing.mark is not None:
        room = max(0.5, 0.004 * longest)
        shade = drawing.mark[0] - room, drawing.mark[1] + room
    axes = Axes("step of the episode", drawing.y_label)
    return tag("div", html.plot(series, axes, title=drawing.title, shade=shade))


def _measured(found: Diagnosis) -> list[Markup]:
    """Returns a table of what was measured for each action dim."""
    if not found.meanings:
        return []
    rows = []
    for column, dim in zip(found.sample.columns.action, found.meanings, strict=True):
        said = column.meaning.encoding if column.meaning is not None else None
        state = None if dim.state is None else str(found.sample.columns.state[dim.state])
        rows.append([
            str(column), said, dim.meaning, dim.strength, state, dim.lag, percent(dim.absolute, 0), percent(dim.delta, 0),
            dim.gain,
        ])  # fmt: skip
    columns = ["action dim", "entry says", "measured", "evidence", "state dim", "steps later",
               "explained if absolute", "explained if a delta", "gain"]  # fmt: skip
    words = "Which share of the state's movement each answer explains; a gain of 1 means that both are in one unit."
    return [tag("h2", "Action against state"), tag("p", words, class_="soft"), html.table(columns, rows)]


def _badge(finding: DatasetFinding) -> Markup:
    return html.badge(finding.severity, COLOURS[finding.severity])


def _clipped(words: str, most: int = 160) -> str:
    return words if len(words) <= most else f"{words[:most]} …"


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, "PNG")
    return stream.getvalue()
