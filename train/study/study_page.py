"""Writes a study as one self-contained HTML page: its question, bars with intervals, curves with bands, and films of episodes."""

from collections.abc import Callable
from pathlib import Path

from fasttok.common import html
from fasttok.common.console import write_text
from fasttok.common.html import Axes, Band, Markup, Series, tag
from train.judging import rollout_videos
from train.judging.measurements import SHARES
from train.study import tables
from train.study.spec import Study
from train.study.study_result import CurveRow, StudyResult

FRAMES, COLOURS = 8, 64  # frames and colours of a film: few, so that the page stays small
LABELS = {
    "success": "success",
    "followed": "language followed",
    "shortcut": "took the shortcut",
    "vqa": "exact answers",
}


def write(study: Study, result: StudyResult, film_files: dict[str, Path], out: Path, command: str = "") -> None:
    """Writes the page.

    Args:
        study: the study.
        result: its result.
        film_files: maps each arm to the file with its first seed's films; the file may be missing.
        out: file of the page.
        command: the command that made the page.
    """
    document = html.page(
        result.study,
        tag("h1", result.study),
        tag("p", result.question, class_="soft"),
        headline(result),
        *table_section(tables.overview(result)),
        *table_section(tables.compared(result)),
        *bars_section(result),
        *curves_section(result),
        *films_section(result, film_files),
        *method_section(study, result),
        command=command,
    )  # fmt: skip
    write_text(out, document)


def headline(result: StudyResult) -> Markup:
    """Returns tiles with the few numbers that a reader wants first."""
    first, reference = result.splits[0], result.reference
    values: dict[str, str | int] = {"arms": len(result.arms), "seeds": len(result.seeds)}
    values["episodes per split, embodiment and seed"] = result.episodes
    ours = next(arm for arm in result.arms if arm.arm == reference)
    name = f"success/{first}"
    if name in ours.metrics:
        values[f"success of {reference}, {first}"] = f"{100 * ours.metrics[name].mean:.0f} %"
    if result.base.vqa:
        values["VQA of the VLM before"] = f"{100 * result.base.vqa.accuracy:.0f} %"
    values["minutes of runs"] = f"{result.seconds / 60:.0f}"
    return html.tiles(values)


def table_section(table: tables.StudyTable) -> list[Markup]:
    """Returns the table's title, its note and the table; nothing if it has fewer than two columns."""
    if len(table.columns) < 2:
        return []
    head = [tag("h2", table.title), tag("p", table.note, class_="soft")]
    return [*head, html.table([column.replace("_", " ") for column in table.columns], table.rows)]


def colour_of(result: StudyResult, arm: str) -> str:
    """Returns the colour of an arm, which is the same in every plot."""
    names = [a.arm for a in result.arms]
    return html.PALETTE[names.index(arm) % len(html.PALETTE)]


def bars_section(result: StudyResult) -> list[Markup]:
    """Returns a panel for each metric and split, with a bar for each arm, its interval, and the seeds as dots."""
    wanted = [
        (f"{metric}/{split}", f"{LABELS[metric]}, {split.replace('_', ' ')}")
        for split in result.splits
        for metric in SHARES
    ]
    wanted += [
        ("vqa", "VQA accuracy after training"),
        ("error/flow", "action error, flow"),
        ("error/tokens", "action error, tokens"),
    ]
    before = result.base.vqa.accuracy if result.base.vqa else None
    drawn = {
        name: [html.Bar(arm.arm, e.mean, e.low, e.high, colour_of(result, arm.arm), e.seeds)
               for arm in result.arms if (e := arm.metrics.get(name)) is not None]
        for name, _ in wanted
    }  # fmt: skip
    ends: dict[str, float] = {}  # end of each metric's axis, the same in all its panels
    for name, bars in drawn.items():
        metric, mark = name.split("/")[0], before if name == "vqa" else None
        ends[metric] = max(ends.get(metric, 0.0), html.longest_bar(bars, mark) if bars else 0.0)
    panels = []
    for name, title in wanted:
        if not drawn[name]:
            continue
        metric, mark = name.split("/")[0], before if name == "vqa" else None
        share = metric != "error"
        label = f"{LABELS.get(metric, metric)} (%)" if share else "action error (1: always the mean)"
        panel = html.bars(drawn[name], label, title=title, share=share, mark=mark, most=ends[metric])
        panels.append(tag("div", panel, class_="card"))
    note = (
        "Lines: 95 % intervals; dots: seeds. Panels of one metric have the same axis. Action error: 1 is always predicting the "
        "mean. The mark at VQA: the VLM before."
    )
    return [tag("h2", "Every metric"), tag("p", note, class_="soft"), tag("div", *panels, class_="cards")]


def curves_section(result: StudyResult) -> list[Markup]:
    """Returns curves of success, followed language and action error along training, by robot samples and by FLOPs."""
    first = result.splits[0]
    panels = []
    costs: list[tuple[str, Callable[[CurveRow], float]]] = [
        ("robot samples seen", lambda row: row.robot_samples),
        ("compute (TFLOP)", lambda row: row.tflop),
    ]
    for label, x_of in costs:
        for name, title in ((f"success/{first}", f"success, {first}"), (f"followed/{first}", f"language followed, {first}"),
                            ("error/flow", "action error, flow"), ("error/tokens", "action error, tokens")):  # fmt: skip
            series, bands = [], []
            for arm in result.arms:
                points = [row for row in arm.curve if name in row.metrics]
                if len(points) < 2:
                    continue
                colour, at = colour_of(result, arm.arm), [x_of(row) for row in points]
                estimates = [row.metrics[name] for row in points]
                times = 1.0 if name.startswith("error") else 100.0
                series.append(Series(arm.arm, at, [times * e.mean for e in estimates], colour))
                bands.append(Band(at, [times * e.low for e in estimates], [times * e.high for e in estimates], colour))
            if series:
                unit = "1: always the mean" if name.startswith("error") else "%"
                axes = Axes(label, f"{title} ({unit})", zero=True)
                panels.append(tag("div", html.plot(series, axes, bands=bands), class_="card"))
    if not panels:
        return []
    note = "The same runs by what they have seen and by what they have cost. Bands: 95 % intervals."
    return [tag("h2", "Along training"), tag("p", note, class_="soft"), tag("div", *panels, class_="cards")]


def films_section(result: StudyResult, film_files: dict[str, Path]) -> list[Markup]:
    """Shows one success and up to two failures of each arm, as far as it has films of them."""
    out: list[Markup] = []
    for arm in result.arms:
        path = film_files[arm.arm]
        if not path.is_file():
            continue
        every = [(where, film) for where, shown in rollout_videos.load(path).items() for film in shown]
        good = [(where, film) for where, film in every if film.success][:1]
        bad = [(where, film) for where, film in every if not film.success]
        bad = bad[:1] + [(where, film) for where, film in bad if where != bad[0][0]][:1]
        strips = [
            tag(
                "div",
                *rollout_videos.strip(film, f"{rollout_videos.place(where)}, episode {film.seed}", FRAMES, COLOURS),
            )
            for where, film in good + bad
        ]
        out.append(tag("div", tag("h3", arm.arm), *strips, class_="card wide"))
    if not out:
        return []
    note = "The first filmed success and failures of each arm's first seed. Every run met the same episodes."
    return [tag("h2", "Rollouts and failures"), tag("p", note, class_="soft"), tag("div", *out, class_="cards")]


def method_section(study: Study, result: StudyResult) -> list[Markup]:
    """Returns the budgets, the search, the commands and the hardware."""
    base = result.base
    e = study.evaluate
    facts: dict[str, str | int] = {
        "base VLM": f"fasttok-train {base.flags}", "every arm": f"fasttok-train {result.common}",
        "seeds": ", ".join(map(str, result.seeds)), "robot samples of a run": study.robot_samples,
        "episodes": f"{e.episodes} per split and embodiment, seeds from {e.seed}, the same for all",
        "held-out chunks": e.rows, "questions": e.questions, "world": ", ".join(f"{k} {v}" for k, v in study.world.items()),
        "hardware": result.hardware, "date": result.date,
        "versions": ", ".join(f"{k} {v}" for k, v in result.versions.items()),
    }  # fmt: skip
    searched = tables.search(result)
    return [*table_section(tables.budgets(result)), *(table_section(searched) if searched else []),
            tag("h2", "How it was run"), html.facts(facts)]  # fmt: skip
