"""Makes the page of a report: results, curves of losses, held-out numbers, gradients and rates, and the settings of the runs."""

from collections.abc import Iterable, Sequence

import numpy as np

from fasttok.common import html
from fasttok.common.html import Axes, CellValue, Markup, Series, tag
from train.report.run_log import FloatArray, RunLog
from train.runs.settings import as_words, settings

POINTS = 400  # of a line; more points are averaged
SMOOTH = 25  # a point of a smoothed line is the mean of 1 / SMOOTH of all points on either side
STEEP = 30.0  # an axis is logarithmic if its largest value is more than this many times the smallest
TITLES = {
    "loss": "loss as it is minimised (sum of its parts)",
    "loss_vlm": "L_VLM: its share of the loss (nats)",
    "loss_fast": "L_FAST: its share of the loss (nats)",
    "loss_flow": "L_FLOW (squared error of the velocity)",
    "loss_l1": "L_L1 (absolute error of normalised actions)",
    "ce_vlm": "questions and captions (nats per token)",
    "ce_fast": "action tokens (nats per token)",
    "samples_per_second": "speed (rows per second)",
    "data_wait": "waiting for data (% of the time)",
    "mfu": "model FLOPs utilisation (%)",
    "learning_rate": "learning rate (per step)",
    "insulation": "share of the expert's gradient that reaches the backbone",
}
PERCENT = {"data_wait", "mfu"}


def document(runs: Sequence[RunLog], command: str = "") -> str:
    """Returns the whole page.

    Args:
        runs: one or more runs, whose names differ.
        command: command line that made the page; "" if there was none.
    """
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    return html.page(
        title,
        tag("h1", title),
        *overview(runs),
        *losses_section(runs),
        *held_out_section(runs),
        *gradients_section(runs),
        *rates_section(runs),
        *settings_section(runs),
        command=command,
    )


def overview(runs: Sequence[RunLog]) -> list[Markup]:
    """Returns the few numbers that a reader wants first: tiles for one run, a table for several."""
    facts = [_facts(run) for run in runs]
    parts = [html.tiles({name: html.number(value) for name, value in facts[0].items() if value is not None})]
    if len(runs) > 1:
        names = [name for name in facts[0] if any(fact[name] is not None for fact in facts)]
        rows = [[_name(run, runs), *(fact[name] for name in names)] for run, fact in zip(runs, facts, strict=True)]
        parts = [html.table(["run", *names], rows)]
    empty = [run.name for run in runs if not run.rows]
    if empty:
        parts.append(tag("p", f"No numbers yet: {', '.join(empty)}.", class_="warn"))
    return parts


def _facts(run: RunLog) -> dict[str, CellValue]:
    best = run.curve("held_out_nrmse")
    lowest = int(np.argmin(best[1])) if len(best[1]) else None
    speeds = run.curve("samples_per_second")[1]
    compiling = run.curve("compile_seconds")[1]
    return {
        "step": f"{run.step:,} of {run.config.steps:,}",
        "state": "finished" if run.done else f"last row {run.written:%Y-%m-%d %H:%M}" if run.written else "not begun",
        "rows seen": run.step * run.config.batch_size,
        "loss": run.last("loss"),
        "held-out loss": run.last("held_out_loss"),
        "held-out action error (1: predicting the mean)": run.last("held_out_nrmse"),
        "lowest action error, at step": None if lowest is None else f"{best[1][lowest]:.3g}, {best[0][lowest]:,.0f}",
        "rows per second, median": float(np.median(speeds)) if len(speeds) else None,
        "seconds of compiling": round(float(compiling.sum())) if len(compiling) else None,
    }


def losses_section(runs: Sequence[RunLog]) -> list[Markup]:
    """Returns plots of the losses; a plot has the held-out loss, too, if both are per token or per number."""
    names = [name for name in _names(runs) if name.startswith(("loss", "ce_"))]
    names = sorted(names, key=_place)
    panels = []
    for name in names:
        twin = f"held_out_{name}" if name not in ("loss", "loss_vlm", "loss_fast") else ""
        series = [
            line
            for run in runs
            for line in (*_line(run, runs, name, smooth=True), *(_line(run, runs, twin, dashed=True) if twin else ()))
        ]
        panels.append(_panel(series, TITLES.get(name, name), runs))
    note = "Bold: the mean of the steps around; faint: each logged step. Dashed: on held-out rows."
    return _section("Losses", note, panels)


def held_out_section(runs: Sequence[RunLog]) -> list[Markup]:
    """Returns the numbers on rows that the runs do not train on: curves, and the last errors of every dimension."""
    names = sorted((name for name in _names(runs) if name.startswith("held_out_")), key=lambda name: _place(name[9:]))
    if not names:
        how = "These runs have no held-out numbers; --held-out SHARDS of fasttok-train measures them while it trains."
        return [tag("h2", "Held-out numbers"), tag("p", how, class_="soft")]
    panels = []
    for name in names:
        if "/" in name and not name.startswith("held_out_nrmse/"):
            continue
        if name.startswith("held_out_nrmse"):
            robot = name.partition("/")[2]
            title = f"action error{f' of {robot}' if robot else ', mean over robots'} (1: predicting the mean)"
        else:
            title = f"held-out {TITLES.get(name[9:], name[9:])}"
        panels.append(_panel([line for run in runs for line in _line(run, runs, name)], title, runs, marks=True))
    if len(runs) == 1:
        panels += _dims(runs[0])
    note = (
        "Rows and noise are the same at every step, so points of a line, and runs on the same shards, can be compared."
    )
    return [*_section("Held-out numbers", note, panels), *_error_table(runs)]


def _dims(run: RunLog) -> list[Markup]:
    """Returns a panel per robot, with the action error of each dimension as a line, in normalised units."""
    robots = dict.fromkeys(
        name.split("/")[1] for name in run.names if name.startswith("held_out_error/") and name.count("/") > 1
    )
    panels = []
    for robot in robots:
        names = [name for name in run.names if name.startswith(f"held_out_error/{robot}/")]
        series = []
        for i, name in enumerate(names):
            steps, values = run.curve(name)
            series.append(
                Series(
                    name.split("/", 2)[2], steps, values, html.PALETTE[i % len(html.PALETTE)], i >= len(html.PALETTE)
                )
            )
        panels.append(_panel(series, f"action error of {robot} per dimension (normalised rmse)", [run]))
    return panels


def _error_table(runs: Sequence[RunLog]) -> list[Markup]:
    """Returns the table of the last error of every dimension, in the units of the data."""
    names = [name for name in _names(runs) if name.startswith("held_out_error_raw/") and name.count("/") > 1]
    if not names:
        return []
    rows = [[*name.split("/", 2)[1:], *(run.last(name) for run in runs)] for name in names]
    columns = ["robot", "dimension", *(run.name if len(runs) > 1 else "rmse in its own unit" for run in runs)]
    note = "Root mean squared error of sampled actions at the last measurement, in the units of the data."
    return [
        tag("h3", "Action error per dimension"),
        tag("p", note, class_="soft"),
        html.table(columns, rows),
    ]


def gradients_section(runs: Sequence[RunLog]) -> list[Markup]:
    """Returns plots of gradient norms per component, and for each loss alone if a run has measured them."""
    names = [name for name in _names(runs) if name.startswith("grad_norm_")]
    panels = [
        _panel(
            [s for run in runs for s in _line(run, runs, name, smooth=True)],
            _gradient(name),
            runs,
            log=True,
        )
        for name in names
    ]
    return _section("Gradients", "Norms before clipping. Some axes are logarithmic.", panels)


def rates_section(runs: Sequence[RunLog]) -> list[Markup]:
    """Returns plots of speed, waiting, learning rate, and whatever else was logged."""
    shown = ("loss", "ce_", "held_out_", "grad_norm_", "n_", "compile_seconds")
    names = [name for name in _names(runs) if not name.startswith(shown)]
    names = sorted(names, key=_place)
    panels = [
        _panel([s for run in runs for s in _line(run, runs, name)], TITLES.get(name, name), runs) for name in names
    ]
    return _section("Rates", "", panels)


def settings_section(runs: Sequence[RunLog]) -> list[Markup]:
    """Returns how each run was trained: differences between the runs and from their presets, commands, versions."""
    parts = [tag("h2", "Settings")]
    if len(runs) > 1:
        every = [settings(run.config) for run in runs]
        names = [name for name in every[0] if name != "out" and len({as_words(one[name]) for one in every}) > 1]
        rows = [[name, *(as_words(one[name]) for one in every)] for name in names]
        if rows:
            table = html.table(["setting", *(run.name for run in runs)], rows)
            parts += [tag("h3", "What differs between the runs"), table]
    for run in runs:
        parts += _settings_of(run, alone=len(runs) == 1)
    return parts


def _settings_of(run: RunLog, alone: bool) -> list[Markup]:
    config, last = run.config, run.sessions[-1] if run.sessions else None
    facts: dict[str, CellValue] = {
        "preset": config.preset,
        "size": config.size,
        "shards": str(config.shards),
        "held-out shards": None if config.held_out is None else str(config.held_out),
        "rows per step": config.batch_size,
        "devices": last.devices if last else None,
        "versions": ", ".join(f"{name} {number}" for name, number in last.versions.items()) if last else None,
    }
    parts = [] if alone else [tag("h3", run.name)]
    parts.append(html.facts(facts))
    own = [[name, *words] for name, words in run.own_settings().items()]
    if own:
        table = html.table(["differs from the preset", "here", "preset"], own)
        parts.append(table)
    for session in run.sessions:
        when = f"{session.date}, {f'after step {session.from_step:,}' if session.from_step else 'from the start'}"
        parts += [tag("p", when, class_="soft"), tag("pre", session.command)]
    return parts


def _section(title: str, note: str, panels: Iterable[Markup]) -> list[Markup]:
    """Returns a heading and its panels; nothing if there are no panels."""
    cards = [panel for panel in panels if panel]
    if not cards:
        return []
    head = [tag("h2", title), *([tag("p", note, class_="soft")] if note else [])]
    return [*head, tag("div", *cards, class_="cards")]


def _panel(
    series: Sequence[Series], title: str, runs: Sequence[RunLog], marks: bool = False, log: bool = False
) -> Markup:
    """Returns a plot in a card; "" if none of its lines has two points.

    Args:
        series: lines of the plot.
        title: what the y axis shows, with its unit.
        runs: runs of the report, which decide what the x axis shows.
        marks: whether to draw also plots with a single point, which becomes a line across.
        log: whether the y axis is logarithmic if the largest value is more than `STEEP` times the smallest.
    """
    most = max((len(s.x) for s in series), default=0)
    if most < (1 if marks else 2):
        return Markup("")
    values = np.concatenate([np.asarray(s.y, float) for s in series])
    steep = log and bool((values > 0).all()) and values.max() > STEEP * values.min()
    axes = Axes(_x_label(runs), f"{title}, log scale" if steep else title, zero=not steep, log_y=steep)
    return tag("div", html.plot(series, axes), class_="card")


def _by_rows(runs: Sequence[RunLog]) -> bool:
    """Returns whether to compare runs by rows seen, because a step of one run has more rows than a step of another."""
    return len({run.config.batch_size for run in runs}) > 1


def _x_label(runs: Sequence[RunLog]) -> str:
    return "rows seen (batches differ)" if _by_rows(runs) else "training step"


def _line(run: RunLog, runs: Sequence[RunLog], name: str, smooth: bool = False, dashed: bool = False) -> list[Series]:
    """Returns a number of a run as a line; a smoothed line has the unsmoothed values behind it."""
    steps, values = run.curve(name)
    if not len(steps):
        return []
    x = steps * run.config.batch_size if _by_rows(runs) else steps
    y = 100 * values if name in PERCENT else values
    x, y = _thinned(x), _thinned(y)
    colour = html.PALETTE[runs.index(run) % len(html.PALETTE)]
    legend = run.name if len(runs) > 1 and not dashed else ""
    dashed = dashed or runs.index(run) >= len(html.PALETTE)
    if len(x) == 1:  # a point is drawn as a short line
        x, y = np.array([0.0, x[0]]), np.array([y[0], y[0]])
    window = len(x) // SMOOTH
    if not smooth or window < 2:
        return [Series(legend, x, y, colour, dashed)]
    return [Series("", x, y, colour, faint=True), Series(legend, x, _averaged(y, window), colour, dashed)]


def _thinned(values: FloatArray) -> FloatArray:
    """Returns at most `POINTS` values, each the mean of equally many neighbours.

    >>> _thinned(np.arange(1000.0))[:2]
    array([1., 4.])
    """
    size = -(-len(values) // POINTS)
    if size < 2:
        return values
    starts = np.arange(0, len(values), size)
    return np.asarray(np.add.reduceat(values, starts) / np.diff([*starts, len(values)]), float)


def _averaged(values: FloatArray, window: int) -> FloatArray:
    """Returns for each value the mean of itself and `window` values on either side; fewer at the ends.

    >>> _averaged(np.array([0.0, 3.0, 0.0, 3.0]), 1)
    array([1.5, 1. , 2. , 1.5])
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(at - window, 0), np.minimum(at + window + 1, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low), float)


def _place(name: str) -> int:
    """Returns the place of a number among others: as in `TITLES`; those that are not in it come last, in their own order."""
    return list(TITLES).index(name) if name in TITLES else len(TITLES)


def _gradient(name: str) -> str:
    """Returns the title of a gradient norm's plot.

    >>> _gradient("grad_norm_backbone"), _gradient("grad_norm_flow_backbone")
    ('gradient norm of the backbone', "gradient norm of L_FLOW's share on the backbone")
    """
    loss, _, component = name.removeprefix("grad_norm_").rpartition("_")
    return (
        f"gradient norm of L_{loss.upper()}'s share on the {component}" if loss else f"gradient norm of the {component}"
    )


def _names(runs: Sequence[RunLog]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.names))


def _name(run: RunLog, runs: Sequence[RunLog]) -> Markup:
    return html.badge(run.name, html.PALETTE[runs.index(run) % len(html.PALETTE)])
