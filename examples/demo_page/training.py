"""The losses of a demo's two runs, beside the losses of a model that guesses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from examples.demo_page.headings import heading
from fasttok import ActionTokenizer
from fasttok.common import html
from fasttok.common.html import Axes, Markup, Series, tag
from pipelines.shards.manifest import Manifest
from train.tokens import TextTokenizer

Log = Mapping[str, np.ndarray]  # the columns of a metrics.jsonl


@dataclass(frozen=True)
class LossPanel:
    """A loss and its baseline.

    Attributes:
        key: key of the loss in the log.
        name: name for people.
        unit: unit of the loss.
        guess: loss of a model that has learned nothing.
        guessing: what that model does.
    """

    key: str
    name: str
    unit: str
    guess: float
    guessing: str


def panels(tok: ActionTokenizer, text: TextTokenizer, square: float) -> list[LossPanel]:
    """Returns the panels of the three losses.

    Args:
        tok: the FAST tokenizer.
        text: the text tokenizer.
        square: mean square of the normalised actions.
    """
    return [
        LossPanel("ce_vlm", "L_VLM", "nats per word piece", math.log(text.size), "all word pieces alike"),
        LossPanel("ce_fast", "L_FAST", "nats per FAST id", math.log(tok.vocab_size), "all ids alike"),
        LossPanel("loss_flow", "L_FLOW", "squared error per number", 1 + square, "never moving: velocity 0"),
    ]


def mean_square(manifest: Manifest, rows: Mapping[str, Sequence[Mapping[str, object]]], tok: ActionTokenizer) -> float:
    """Returns the mean square of the normalised actions of some rows; 0 if none of them is a robot row."""
    found = []
    for name, some in rows.items():
        source = manifest.sources[name]
        if source.kind == "robot":
            stats = tok.stats[source.embodiment or ""]
            chunks = [np.asarray(row["action"], float).reshape(source.horizon, source.action_dim) for row in some]
            found += [float(np.square(stats.normalize(chunk)).mean()) for chunk in chunks]
    return float(np.mean(found)) if found else 0.0


def section(runs: Mapping[str, Log], shown: Sequence[LossPanel]) -> list[Markup]:
    """Returns plots of the three losses of each run, as logged (faint) and smoothed, and a table of their last values."""
    plots, rows = [], []
    for panel in shown:
        lines = []
        for (title, log), dashed in zip(runs.items(), (True, False), strict=False):
            if panel.key not in log or not np.nan_to_num(log[panel.key]).any():
                continue
            counted = log.get(f"n_{panel.key.partition('_')[2]}", np.ones(len(log["step"])))
            keep = np.isfinite(log[panel.key]) & (counted != 0)  # a batch without such targets has logged 0
            x, y = log["step"][keep], log[panel.key][keep]
            even = smooth(y)
            lines += [Series("", x, y, html.COMPUTED, faint=True), Series(title, x, even, html.COMPUTED, dashed=dashed)]
            rows.append([panel.name, title, float(even[-1]), panel.guess, panel.guessing])
        if lines:
            ends = [min(float(line.x[0]) for line in lines), max(float(line.x[-1]) for line in lines)]
            lines.append(Series(f"guessing: {panel.guessing}", ends, [panel.guess] * 2, html.NEUTRAL, dashed=True))
        axes = Axes("training step", f"{panel.name} ({panel.unit})", zero=True)
        plots.append(tag("div", html.plot(lines, axes, title=panel.name), class_="card"))
    return [
        heading("training"),
        tag("p", "Dashed blue: the vision-language model alone, on questions and captions. Solid blue: insulated training that "
                 "starts from it, with all three losses. Grey: what a model that has learned nothing would have.", class_="soft"),
        tag("div", *plots, class_="cards"),
        html.table(["loss", "run", "at the end, smoothed", "guessing", "what guessing does"], rows),
    ]  # fmt: skip


def smooth(y: np.ndarray, share: float = 0.08) -> np.ndarray:
    """Returns an exponential moving average over about `share` of the points, corrected for the bias at its start."""
    decay = 1 - 1 / max(2.0, share * len(y))
    mean, weight, out = 0.0, 0.0, np.empty(len(y))
    for i, value in enumerate(y):
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
        out[i] = mean / weight
    return out
