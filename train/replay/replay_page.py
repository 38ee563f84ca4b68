"""Makes the page of a replay: recorded curves with the predicted chunks over them, errors, grippers, and pictures with a cursor.

The script fasttok/common/html/scripts/cursor.js, which other pages use, too, moves the cursor. Without it, and on paper, the page
shows every picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttok.common import html
from fasttok.common.html import Axes, CellValue, Markup, Series, tag
from pipelines.stored_episode import StoredEpisode
from train.judging.sprite import smallest_webp
from train.replay.compared import Errors, GripperEvent, GripperTrace
from train.replay.predicted import Predicted

RECORDED, FIRST, SECOND = html.RECORDED, html.COMPUTED, html.COMPUTED_NEXT
MOST_EVENTS = 40  # rows of a gripper's table
MOST_TOLD = 1000  # the cursor shows values for episodes of at most this many steps


@dataclass(frozen=True)
class ReplayFacts:
    """How the predictions were made.

    Attributes:
        policy: the run or the server.
        step: step of the checkpoint; None if not known.
        embodiment: embodiment that acts.
        decode: how actions were predicted.
        every: steps between two predictions.
        prompt: instruction.
        masked: cameras that the policy sees and the episode lacks.
        command: command line that made the page; "" if there was none.
    """

    policy: str
    step: int | None
    embodiment: str
    decode: str
    every: int
    prompt: str
    masked: tuple[str, ...]
    command: str


def document(
    episode: StoredEpisode, predicted: Predicted, off: Errors, traces: Sequence[GripperTrace], about: ReplayFacts
) -> str:
    """Returns the whole page: one file that needs no network.

    Args:
        episode: recorded episode.
        predicted: predictions along the episode.
        off: errors of the predictions.
        traces: what the grippers do.
        about: how the predictions were made.
    """
    times, unit = _times(episode)
    title = f"Replay of {episode.dataset}, {episode.split}, episode {episode.number}"
    step = "" if about.step is None else f", step {about.step:,}"
    return html.page(
        title,
        tag("h1", title),
        tag("p", about.prompt, class_="said"),
        tag("p", f"{about.policy}{step}.", class_="soft"),
        _tiles(episode, off, traces),
        _facts(episode, predicted, about),
        *_masked(about),
        html.timeline(
            *_moments(predicted, times, unit),
            *_curves(episode, predicted, times, unit),
            *_errors(episode, off, times, unit),
        ),
        *_grippers(traces, times, unit),
        command=about.command,
    )


def _times(episode: StoredEpisode) -> tuple[NDArray[np.float64], str]:
    """Returns the time of each step, and its unit: "s", or "step" if the control frequency is not known."""
    rate = episode.control_hz
    return np.arange(len(episode.action)) / (rate or 1.0), "s" if rate else "step"


def _along(unit: str) -> str:
    """Returns the label of an axis along the episode."""
    return "time in the episode (s)" if unit == "s" else "step of the episode"


def _at(time: float, unit: str) -> str:
    return f"{time:.2f} s" if unit == "s" else f"step {time:.0f}"


def _tiles(episode: StoredEpisode, off: Errors, traces: Sequence[GripperTrace]) -> Markup:
    total = "nothing moves" if math.isnan(off.total) else f"{off.total:.2f}"
    values: dict[str, CellValue] = {"error against the spread; 1: always the mean": total}
    for trace in traces:
        values[f"{trace.name} open or closed as recorded"] = f"{100 * trace.agrees:.0f} %"
    values["steps"] = len(episode.action)
    if episode.control_hz:
        values["seconds"] = f"{len(episode.action) / episode.control_hz:.1f}"
    return html.tiles(values)


def _facts(episode: StoredEpisode, predicted: Predicted, about: ReplayFacts) -> Markup:
    rate = episode.control_hz
    return html.facts(
        {
            "embodiment": about.embodiment,
            "rate": f"{rate:g} Hz" if rate else "not known",
            "acts by": about.decode,
            "asked": f"at {len(predicted.steps)} steps, {about.every} apart",
            "a chunk": f"{predicted.chunks.shape[1]} steps",
            "record": f"{episode.where.file}, number {episode.where.number}",
        }
    )


def _masked(about: ReplayFacts) -> list[Markup]:
    if not about.masked:
        return []
    said = f"The episode lacks the cameras {', '.join(about.masked)}; the policy was told that there is no such image."
    return [tag("p", said, class_="warn")]


def _moments(predicted: Predicted, times: NDArray[np.float64], unit: str) -> list[Markup]:
    """Returns the cursor, and the pictures of each camera."""
    last = len(times) - 1
    cursor = html.cursor(last, 1 / times[1] if unit == "s" and last else None, "time in the episode")
    shown = [
        tag("div", tag("h3", slot), _pictures(slot, found, times, unit)) for slot, found in predicted.pictures.items()
    ]
    if not shown:
        return [cursor]
    return [tag("h2", "What the policy saw"), cursor, tag("div", *shown, class_="seen")]


def _pictures(slot: str, found: dict[int, NDArray[np.uint8]], times: NDArray[np.float64], unit: str) -> Markup:
    """Returns the pictures of a camera, in order."""
    shown = []
    for step, picture in found.items():
        when = _at(float(times[step]), unit)
        shown.append((step, html.image(smallest_webp(picture), picture.shape[1], f"{slot} at {when}"), when))
    small = max((picture.shape[0] for picture in found.values()), default=0) < 100
    return html.moments(shown, pixels=small)


def _curves(episode: StoredEpisode, predicted: Predicted, times: NDArray[np.float64], unit: str) -> list[Markup]:
    """Returns a plot for each column."""
    length, horizon = len(times), predicted.chunks.shape[1]
    plots = []
    for column, name in enumerate(episode.action_names):
        lines = [Series("recorded", times, episode.action[:, column], RECORDED)]
        for start, colour in ((0, FIRST), (1, SECOND)):
            xs: list[NDArray[np.float64]] = []
            ys: list[NDArray[np.float64]] = []
            for step, chunk in list(zip(predicted.steps.tolist(), predicted.chunks, strict=True))[start::2]:
                part = chunk[: min(horizon, length - step), column]
                xs += [times[step : step + len(part)], times[step : step + 1]]
                ys += [part, np.full(1, np.nan)]  # NaN: no line from one chunk to the next
            if xs:
                named = "predicted chunks, in turn" if start == 0 else ""
                lines.append(Series(named, np.concatenate(xs), np.concatenate(ys), colour))
        encoding = episode.action_encoding[column]
        axes = Axes(
            _along(unit), name if name == encoding else f"{name}, {encoding}", least=1e-6, told=len(times) <= MOST_TOLD
        )
        plots.append(html.plot(lines, axes, legend=column == 0))
    return [
        tag("h2", "Actions, recorded and predicted"),
        tag(
            "p",
            "Each blue or violet piece is one predicted chunk; it begins where the policy was asked. Values are in the units of "
            "the recordings; a gripper is 1 when open.",
            class_="soft",
        ),
        tag("div", *plots, class_="plots timed"),
    ]


def _errors(episode: StoredEpisode, off: Errors, times: NDArray[np.float64], unit: str) -> list[Markup]:
    """Returns the table of columns, and plots of the error along the episode and along a chunk."""
    rows = []
    for i, name in enumerate(episode.action_names):
        moves = off.spread[i] > 1e-9
        against = float(off.rmse[i] / off.spread[i]) if moves else None
        rows.append([name, float(off.rmse[i]), float(off.spread[i]), against, float(off.mae[i]), float(off.bias[i])])
    columns = ["column", "rmse", "spread", "rmse / spread", "mean absolute error", "predicted minus recorded"]
    label = "error against the spread (1: always the mean)"
    along = html.plot(
        [Series("", times, off.along_episode, FIRST)], Axes(_along(unit), label, zero=True), title="Along the episode"
    )
    place = np.arange(len(off.along_chunk)) / (episode.control_hz or 1.0)
    within = "time in the chunk (s)" if unit == "s" else "step of the chunk"
    chunk = html.plot(
        [Series("", place, off.along_chunk, FIRST)], Axes(within, label, zero=True), title="Along a chunk"
    )
    return [
        tag("h2", "Errors"),
        tag(
            "p",
            "Spread is the standard deviation of what was recorded in this episode: always predicting its mean gives an error of "
            "1. What people do is one of many things that could have been done, so that a good policy stays above 0, too.",
            class_="soft",
        ),
        html.table(columns, rows),
        tag("div", tag("div", along, class_="timed"), chunk, class_="plots wide-plots"),
    ]


def _grippers(traces: Sequence[GripperTrace], times: NDArray[np.float64], unit: str) -> list[Markup]:
    """Returns tables of when grippers open and close."""
    if not traces:
        return []
    parts = [
        tag("h2", "Grippers"),
        tag("p", "What the chunk that is being executed would do. Above 0.5 is open.", class_="soft"),
    ]
    for trace in traces:
        parts.append(tag("h3", trace.name))
        if not trace.events:
            parts.append(tag("p", "It neither opens nor closes, as recorded and as predicted.", class_="soft"))
            continue
        rows = [_event(event, times, unit) for event in trace.events[:MOST_EVENTS]]
        parts.append(html.table(["it", "recorded", "predicted", "difference"], rows))
        if len(trace.events) > MOST_EVENTS:
            parts.append(tag("p", f"And {len(trace.events) - MOST_EVENTS} more.", class_="soft"))
    return parts


def _event(event: GripperEvent, times: NDArray[np.float64], unit: str) -> list[str]:
    whens = ["never" if step is None else _at(float(times[step]), unit) for step in (event.recorded, event.predicted)]
    if event.recorded is None:
        said = "not in the recording"
    elif event.predicted is None:
        said = "missed"
    else:
        off = event.predicted - event.recorded
        late = f"{abs(off)} step{'s' if abs(off) > 1 else ''} {'late' if off > 0 else 'early'}"
        said = late if off else "at the same step"
    return ["opens" if event.opens else "closes", *whens, said]
