"""A study as one self-contained HTML page: what was asked, bars with intervals, curves with bands, rollouts and failures."""

from pathlib import Path
from typing import Any

from fasttok.common import html
from fasttok.common.console import write_text
from fasttok.common.html import Axes, Band, Markup, Series, tag
from train import rollout_videos
from train.study import results, tables
from train.study.plan import Study

FRAMES, COLOURS = 8, 64  # of a film: the page stays small
LABELS = {"success": "success", "followed": "language followed", "shortcut": "took the shortcut"}


def write(study: Study, summary: dict[str, Any], filmed: dict[str, Path], out: Path) -> None:
    """Writes the page.

    Args:
        filmed: arm -> file of its first seed's films.
    """
    document = html.page(
        summary["study"],
        tag("h1", summary["study"]),
        tag("p", summary["question"], class_="soft"),
        headline(summary),
        *table_section(tables.overview(summary)),
        *table_section(tables.compared(summary)),
        *bars_section(summary),
        *curves_section(summary),
        *films_section(summary, filmed),
        *method_section(study, summary),
    )  # fmt: skip
    write_text(out, document)


def headline(summary: dict[str, Any]) -> Markup:
    """The few numbers a reader wants first."""
    first, reference = summary["splits"][0], summary["reference"]
    values: dict[str, Any] = {"arms": len(summary["arms"]), "seeds": len(summary["seeds"])}
    values["episodes per split and seed"] = summary["episodes"]
    ours = next(arm for arm in summary["arms"] if arm["arm"] == reference)
    name = f"success/{first}"
    if name in ours["metrics"]:
        values[f"success of {reference}, {first}"] = f"{100 * ours['metrics'][name]['mean']:.0f} %"
    if summary["base"]["vqa"]:
        values["VQA of the VLM before"] = f"{100 * summary['base']['vqa']['accuracy']:.0f} %"
    values["minutes of runs"] = f"{summary['seconds'] / 60:.0f}"
    return html.tiles(values)


def table_section(table: tables.Table) -> list[Markup]:
    """A heading, what the numbers are, and the table."""
    if len(table.columns) < 2:
        return []
    head = [tag("h2", table.title), tag("p", table.note, class_="soft")]
    return [*head, tag("div", html.table(table.columns, table.rows), class_="scroll")]


def colour_of(summary: dict[str, Any], arm: str) -> str:
    """The same colour for an arm in every plot."""
    names = [a["arm"] for a in summary["arms"]]
    return html.PALETTE[names.index(arm) % len(html.PALETTE)]


def bars_section(summary: dict[str, Any]) -> list[Markup]:
    """A panel per metric and split, a bar per arm, with its interval and the seeds as dots."""
    wanted = [
        (f"{metric}/{split}", f"{LABELS[metric]}, {split.replace('_', ' ')}")
        for split in summary["splits"]
        for metric in results.SHARES
    ]
    wanted += [
        ("vqa", "VQA accuracy after training"),
        ("error/flow", "action error, flow"),
        ("error/tokens", "action error, tokens"),
    ]
    panels = []
    for name, title in wanted:
        found = [(arm["arm"], arm["metrics"][name]) for arm in summary["arms"] if name in arm["metrics"]]
        if not found:
            continue
        share = not name.startswith("error")
        bars = [
            html.Bar(arm, e["mean"], e["low"], e["high"], colour_of(summary, arm), tuple(e["seeds"]))
            for arm, e in found
        ]
        before = summary["base"]["vqa"] and summary["base"]["vqa"]["accuracy"] if name == "vqa" else None
        panels.append(tag("div", html.bars(bars, title=title, share=share, mark=before), class_="card"))
    note = "Lines: 95 % intervals; dots: seeds. Action error: 1 is always predicting the mean. The mark at VQA: the VLM before."
    return [tag("h2", "Every metric"), tag("p", note, class_="soft"), tag("div", *panels, class_="cards")]


def curves_section(summary: dict[str, Any]) -> list[Markup]:
    """Success and action error along training, by robot samples and by FLOPs."""
    first = summary["splits"][0]
    panels = []
    for x, label in (("robot_samples", "robot samples"), ("tflop", "TFLOP")):
        for name, title in ((f"success/{first}", f"success, {first}"), (f"followed/{first}", f"language followed, {first}"),
                            ("error/flow", "action error, flow"), ("error/tokens", "action error, tokens")):  # fmt: skip
            series, bands = [], []
            for arm in summary["arms"]:
                points = [point for point in arm["curve"] if name in point]
                if len(points) < 2:
                    continue
                colour, at = colour_of(summary, arm["arm"]), [point[x] for point in points]
                series.append(Series(arm["arm"], at, [point[name]["mean"] for point in points], colour))
                bands.append(Band(at, [p[name]["low"] for p in points], [p[name]["high"] for p in points], colour))
            if series:
                panels.append(
                    tag("div", html.plot(series, Axes(label, zero=True), bands=bands, title=title), class_="card")
                )
    if not panels:
        return []
    note = "The same runs by what they have seen and by what they have cost. Bands: 95 % intervals."
    return [tag("h2", "Along training"), tag("p", note, class_="soft"), tag("div", *panels, class_="cards")]


def films_section(summary: dict[str, Any], filmed: dict[str, Path]) -> list[Markup]:
    """Of each arm a success and up to two failures, where there are any."""
    out: list[Markup] = []
    for arm in summary["arms"]:
        path = filmed[arm["arm"]]
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
        out.append(tag("div", tag("h3", arm["arm"]), *strips, class_="card wide"))
    if not out:
        return []
    note = "The first filmed success and failures of each arm's first seed. Every run met the same episodes."
    return [tag("h2", "Rollouts and failures"), tag("p", note, class_="soft"), tag("div", *out, class_="cards")]


def method_section(study: Study, summary: dict[str, Any]) -> list[Markup]:
    """Budgets, the search, commands, hardware."""
    base = summary["base"]
    e = study.evaluate
    facts = {
        "base VLM": f"fasttok-train {base['flags']}", "every arm": f"fasttok-train {summary['common']}",
        "seeds": ", ".join(map(str, summary["seeds"])), "robot samples of a run": study.robot_samples,
        "episodes": f"{e.episodes} per split and embodiment, seeds from {e.seed}, the same for all",
        "held-out chunks": e.rows, "questions": e.questions, "world": ", ".join(f"{k} {v}" for k, v in study.world.items()),
        "hardware": summary["hardware"], "date": summary["date"],
        "versions": ", ".join(f"{k} {v}" for k, v in summary["versions"].items()),
    }  # fmt: skip
    found = tables.search(summary)
    return [*table_section(tables.budgets(summary)), *(table_section(found) if found else []), html.facts(facts)]
