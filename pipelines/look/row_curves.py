"""A row's state and actions on the page of `inspect`: gauges, curves, and what its FAST ids stand for."""

import numpy as np
from numpy.typing import NDArray

from fasttok import ActionTokenizer
from fasttok.common import html
from fasttok.common.html import COMPUTED, RECORDED, Axes, Markup, Series, percent, plot, tag
from fasttok.errors import InputError
from pipelines.look.ranges import Range, ranges
from pipelines.look.stored_row import StoredRow
from pipelines.shards.manifest import ManifestSource

FloatArray = NDArray[np.float64]


def state_section(state: NDArray[np.float32], source: ManifestSource, tok: ActionTokenizer | None) -> list[Markup]:
    """Returns the state's values, each with a line for the normaliser's range if the tokenizer has its statistics."""
    if not len(state):
        return []
    limits = ranges(tok, source.embodiment).get("state", [])
    names = source.state_names
    cells = []
    for d, value in enumerate(np.asarray(state, np.float64).tolist()):
        name = names[d] if d < len(names) else f"state[{d}]"
        within = limits[d] if len(limits) == len(state) else None
        outside = within is not None and not 0 <= place_in(value, within) <= 1
        said = tag("dd", html.number(value), tag("small", " outside", class_="soft") if outside else "")
        cells.append(tag("div", tag("dt", name), said, gauge(value, within) if within else ""))
    kinds = dict.fromkeys(limit[2] for limit in limits if limit) if len(limits) == len(state) else {}
    line = f"; the line is the normaliser's range ({', '.join(kinds)})" if kinds else ""
    return [
        tag("h3", f"state, raw units{line}"),
        tag("dl", *cells, class_="facts state"),
    ]


def gauge(value: float, within: Range) -> Markup:
    """Draws where a value is in a range.

    >>> "left:25.0%" in gauge(1.0, (0.0, 4.0, "q01..q99"))
    True
    """
    place = place_in(value, within)
    shown = 100 * min(max(place, 0), 1) if np.isfinite(place) else 50
    mark = tag("i", style=f"left:{shown:.1f}%", class_=None if 0 <= place <= 1 else "outside")
    ends = tag("small", f"{within[0]:.3g} to {within[1]:.3g}", class_="soft")
    return Markup(tag("div", mark, class_="gauge") + ends)


def place_in(value: float, within: Range) -> float:
    """Returns where a value is in a range: 0 at its lower end, 1 at its upper one, 0.5 if it has no width.

    >>> place_in(3.0, (2.0, 4.0, "q01..q99")), place_in(3.0, (2.0, 2.0, "constant"))
    (0.5, 0.5)
    """
    low, high, _ = within
    return (value - low) / (high - low) if high > low else 0.5


def action_section(
    chunk: FloatArray, row: StoredRow, source: ManifestSource, tok: ActionTokenizer | None
) -> list[Markup]:
    """Draws the recorded and the decoded actions, in a small plot for each dimension."""
    horizon, dim = chunk.shape
    decoded, problem = None, ""
    if tok is not None:
        try:
            name = tok.embodiment_argument(source.embodiment or "")
            back = tok.decode([row.action_tokens], horizon=horizon, action_dim=dim, embodiment=name, on_error="mask")
            decoded, problem = (back.actions[0], "") if back.ok[0] else (None, back.errors[0])
        except InputError as error:
            problem = str(error)
    limits = ranges(tok, source.embodiment).get("action", [])
    limits = limits if len(limits) == dim else [None] * dim
    hz = source.control_hz
    x = np.arange(horizon) / (hz or 1.0)
    real = row.action_steps
    shade = (x[max(real - 1, 0)], x[-1]) if real < horizon else None
    names = source.action_names
    plots, worst = [], (0.0, "")
    for d in range(dim):
        title = names[d] if d < len(names) else f"action[{d}]"
        lines, note = [Series("recorded", *steps(x, chunk[:, d]), RECORDED)], ""
        if decoded is not None and np.isfinite(decoded[:, d]).all():
            lines.append(Series("decoded", *steps(x, decoded[:, d]), COMPUTED, dashed=True))
            off = float(np.abs(decoded[:, d] - chunk[:, d]).max())
            note = f"error up to {off:.2g}"
            within = limits[d]
            if within is not None and within[1] > within[0]:
                share = off / (within[1] - within[0])
                note += f" ({percent(share)} of range)"
                worst = max(worst, (share, title))
        elif decoded is not None:
            note = "not tokenised"
        within = limits[d]
        least = 0.2 * (within[1] - within[0]) if within else 0.0
        axes = Axes("time after the picture (s)" if hz else "step after the picture", title, least=least, told=True)
        figure = plot(lines, axes, width=280, height=150, legend=False, shade=shade)
        plots.append(tag("div", figure, tag("div", note, class_="soft")))
    padded = f"{real} of {horizon} steps are real" + (", the rest is padding" if real < horizon else "")
    words = f"actions in the robot's units; {padded}"
    if worst[1]:
        words += f"; largest error {percent(worst[0])} of the normaliser's range, in {worst[1]}"
    keys = [
        tag("span", tag("i", style=f"border-top:3px solid {RECORDED}"), "recorded"),
        tag("span", tag("i", style=f"border-top:3px dashed {COMPUTED}"), "decoded from the FAST ids"),
        tag("span", tag("i", class_="box shade"), "padding") if real < horizon else Markup(""),
    ]
    warn = [tag("p", f"The FAST ids do not decode: {problem}", class_="warn")] if problem else []
    return [tag("h3", words), tag("div", *keys, class_="legend"), *warn, tag("div", *plots, class_="plots timed")]


def steps(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns the points of a line; a single point becomes a short level line.

    >>> steps(np.array([2.0]), np.array([0.5]))[1].tolist()
    [0.5, 0.5]
    """
    return (x, y) if len(x) > 1 else (np.array([x[0], x[0] + 1]), np.repeat(y, 2))


def coefficient_meanings(
    ids: NDArray[np.int32], dim: int, source: ManifestSource, tok: ActionTokenizer | None
) -> list[str]:
    """Returns for each FAST id the coefficients that it stands for, by frequency and named dimension.

    Coefficients of other transforms than the DCT are given by their numbers. Returns [] if the meaning is not known.
    """
    if tok is None or not len(ids) or ids.min() < 0 or ids.max() >= tok.vocab_size:
        return []
    try:
        width = tok.channels(tok.embodiment_argument(source.embodiment or "")).count(dim)
    except InputError:
        return []
    names = source.action_names

    def at(place: int) -> str:
        d = place % width
        return f"frequency {place // width} of {names[d] if len(names) == width else f'dim {d}'}"

    meanings = []
    for first, stop in tok.bpe.spans(ids):
        last = max(stop - 1, first)
        count = f"{last - first + 1} coefficients, " if last > first else ""
        if tok.transforms:
            meanings.append(f"{count}number {first}" + (f" to {last}" if last > first else ""))
            continue
        meanings.append(count + at(first) + (f" to {at(last)}" if last > first else ""))
    return meanings
