"""A study's tables, for the terminal, Markdown and the page: results, comparison with the reference arm, budgets, search."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fasttok.common.console import write_text
from fasttok.common.output_folder import Mark, OutputKind
from train.study.intervals import Estimate
from train.study.study_result import StudyResult

TableRow = list[str | int]


class StudyTable(NamedTuple):
    """A table of a study.

    Attributes:
        title: heading of the table.
        note: says what the numbers are.
        columns: headers of the columns.
        rows: the cells of each line, as many as there are columns.
    """

    title: str
    note: str
    columns: list[str]
    rows: list[TableRow]


def percent(e: Estimate | None) -> str:
    """Formats a share with its interval, in %.

    >>> percent(Estimate(0.5, 0.4, 0.6, ()))
    '50 [40, 60]'
    """
    return "-" if e is None else f"{100 * e.mean:.0f} [{100 * e.low:.0f}, {100 * e.high:.0f}]"


def plain(e: Estimate | None) -> str:
    """Formats a number with its interval."""
    return "-" if e is None else f"{e.mean:.3g} [{e.low:.3g}, {e.high:.3g}]"


def points(e: Estimate | None) -> str:
    """Formats a difference of shares in percentage points, with * if its interval does not contain 0.

    >>> points(Estimate(0.05, 0.01, 0.09, ()))
    '+5 [+1, +9]*'
    """
    if e is None:
        return "-"
    mark = "*" if e.low > 0 or e.high < 0 else ""
    return f"{100 * e.mean:+.0f} [{100 * e.low:+.0f}, {100 * e.high:+.0f}]{mark}"


def overview(result: StudyResult) -> StudyTable:
    """Returns the table of what every arm reached."""
    first, rest = result.splits[0], result.splits[1:]
    metrics = list(dict.fromkeys(name for arm in result.arms for name in arm.metrics))
    by_task = [name for name in metrics if name.startswith(f"success/{first}/")]
    shown: list[tuple[str, str, Callable[[Estimate | None], str]]] = [
        (f"success, {first} (%)", f"success/{first}", percent)
    ]
    shown += [(f"{name.split('/')[-1]} (%)", name, percent) for name in by_task if len(by_task) > 1]
    shown += [(f"followed, {first} (%)", f"followed/{first}", percent)]
    shown += [(f"success, {split} (%)", f"success/{split}", percent) for split in rest]
    shown += [
        (f"{name}, {s} (%)", f"{name}/{s}", percent)
        for s in rest
        if s == "uncorrelated"
        for name in ("followed", "shortcut")
    ]
    shown += [("VQA (%)", "vqa", percent)]
    shown += [(f"action error, {decode}", f"error/{decode}", plain) for decode in ("flow", "tokens")]
    shown = [column for column in shown if column[1] in metrics]
    rows: list[TableRow] = [[arm.arm, *[show(arm.metrics.get(name)) for _, name, show in shown]] for arm in result.arms]
    note = (
        "Means over seeds; brackets: 95 % bootstrap intervals over seeds and over the episodes, which all seeds share. Action "
        "error: on held-out chunks, as a share of what always predicting the mean gets."
    )
    return StudyTable("Results", note, ["arm", *[title for title, _, _ in shown]], rows)


def compared(result: StudyResult) -> StudyTable:
    """Returns the table of differences from the reference arm, or from the arm that a row names."""
    names = [f"success/{s}" for s in result.splits]
    names += [f"followed/{s}" for s in result.splits if s in (result.splits[0], "uncorrelated")]
    names = [n for n in [*names, "vqa", "vqa, before"] if any(n in arm.against for arm in result.arms)]
    rows: list[TableRow] = [
        [
            f"{arm.arm} (against {arm.compared_with})" if arm.compared_with else arm.arm,
            *[points(arm.against.get(name)) for name in names],
        ]
        for arm in result.arms
    ]
    titles = {"vqa, before": "VQA, against the base VLM", "vqa": "VQA"}
    columns = ["arm", *[titles.get(name, name.replace("/", ", ")) for name in names]]
    note = "Differences in points, paired by seed and episode; * marks intervals without 0."
    return StudyTable(f"Against {result.reference}", note, columns, rows)


def budgets(result: StudyResult) -> StudyTable:
    """Returns the table of what each arm was given, and what it took."""
    rows: list[TableRow] = []
    for arm in result.arms:
        reached = [n for n in arm.robot_samples_to_threshold if n is not None]
        total = len(arm.robot_samples_to_threshold)
        to = f"{np.median(reached):,.0f} ({len(reached)} of {total})" if reached else f"none of {total}"
        ms = [f"{arm.metrics[n].mean:.2f}" if n in arm.metrics else "-" for n in ("ms/flow", "ms/tokens")]
        seconds = round(float(np.median(arm.seconds)))
        flags = f"{arm.flags} (from {arm.start})" if arm.start else arm.flags
        rows.append(
            [arm.arm, flags, arm.shards, arm.steps, round(arm.robot_samples), f"{arm.tflop:.3g}", seconds, to, *ms]
        )
    columns = ["arm", "flags", "shards", "steps", "robot samples", "TFLOP", "seconds"]
    columns += [f"robot samples to {100 * result.threshold:.0f} %", "ms, flow", "ms, tokens"]
    note = "Of one run. seconds: median of training. robot samples to: between measured points linearly. ms: per chunk."
    return StudyTable("Budgets", note, columns, rows)


def search(result: StudyResult) -> StudyTable | None:
    """Returns the table of what each value of the search reached; None without a search."""
    if not result.tuned:
        return None
    values = list(next(iter(result.tuned.values())))
    rows: list[TableRow] = [
        [arm, *[f"{e[v]:.4g}" for v in values], min(e, key=e.__getitem__)] for arm, e in result.tuned.items()
    ]
    note = "Held-out action error of shorter runs with another seed; each arm takes its best value."
    return StudyTable("Search", note, ["arm", *values, "taken"], rows)


def tables(result: StudyResult) -> list[StudyTable]:
    """Returns all tables that the study has."""
    return [t for t in (overview(result), compared(result), budgets(result), search(result)) if t is not None]


def short(value: Any) -> Any:
    """Rounds all floats in plain values to five digits: nothing measured here is more exact.

    >>> short({"a": [1 / 3, 7]})
    {'a': [0.33333, 7]}
    """
    if isinstance(value, dict):
        return {key: short(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [short(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


STUDY = OutputKind(
    "study",
    marks=(Mark("results.json", ("command", "study", "question", "seeds")),),
    files=("results.json", "results.md", "study.html"),
    resume="always",
)


def write(result: StudyResult, command: str, out: Path) -> None:
    """Writes OUT/results.json and OUT/results.md.

    Args:
        result: what the study found.
        command: the command that carried it out.
        out: folder of the study.
    """
    write_text(out / "results.json", json.dumps(short({"command": command} | result.to_json()), indent=1) + "\n")
    write_text(out / "results.md", markdown(result, command))


def markdown(result: StudyResult, command: str) -> str:
    """Returns the text of results.md."""
    base, seeds = result.base, result.seeds
    text = [f"# {result.study}", "", result.question, "", f"`{command}`", ""]
    text += [
        f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))}), "
        f"{result.episodes} episodes per split and embodiment. "
        f"{result.hardware}, {result.date}, {result.seconds / 60:.0f} minutes of runs besides the base VLM"
        f"{' and the search' * bool(result.tuned)}. "
        + ", ".join(f"{name} {number}" for name, number in result.versions.items()),
        "",
        f"Base VLM: `{base.flags}` on `{base.shards}`. Every arm: `{result.common}`."
        + (f" World: {result.world}." if result.world else ""),
    ]
    if base.vqa:
        v = base.vqa
        common = f"always the most common answer of a question's kind: {100 * v.baseline:.1f} %"
        text += [f"VQA of the base: {100 * v.accuracy:.1f} % of {v.questions} ({common})."]
    for table in tables(result):
        text += markdown_table(table)
    return "\n".join(text) + "\n"


def markdown_table(table: StudyTable) -> list[str]:
    """Returns the lines of a table in Markdown, below its title and its note."""
    head = ["", f"## {table.title}", "", table.note, ""]
    head += ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    return head + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in table.rows]
