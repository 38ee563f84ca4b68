"""One self-contained page over a finished demo: the mixture, samples from the shards, loss curves, a rollout, numbers.

python -m examples.report --demo demo
"""

import json
import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from fasttok import ActionTokenizer
from fasttok._version import DISTRIBUTION
from fasttok.common import html
from fasttok.common.console import log, run, write_text
from fasttok.common.html import Axes, Markup, Series, tag
from fasttok.common.output_file import check_output_file
from fasttok.errors import InputError
from pipelines.shards import ShardReader
from pipelines.shards.manifest import ManifestSource
from train.judging import rollout_videos, wilson
from train.tokens import TextTokenizer, robot_prompt, state_text

LOSSES = {"ce_vlm": "L_VLM", "ce_fast": "L_FAST", "loss_flow": "L_FLOW"}  # each per token or element of its own
SAMPLES_PER_SOURCE = 2
FILM_FRAMES = 9
VERSIONS = (DISTRIBUTION, "numpy", "tokenizers", "pyarrow", "apache-beam", "tensorflow", "tensorflow-datasets", "jax")


@dataclass(frozen=True)
class ReportConfig:
    """Writes report.html into the folder of a finished demo.

    Example: python -m examples.report --demo demo
    """

    demo: Path = Path("demo")
    """Folder that `python -m examples.demo` made."""
    overwrite: bool = False
    """Replace its report.html."""


def read_json(path: Path) -> Any:
    """A JSON file of the demo.

    Raises:
        InputError: it is not there, so the demo did not get that far.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: the demo did not finish; run: make demo")
    return json.loads(path.read_text(encoding="utf-8"))


def read_log(path: Path) -> dict[str, np.ndarray]:
    """A metrics.jsonl as columns; NaN where a line lacks a value."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    names = sorted({name for row in rows for name, value in row.items() if isinstance(value, int | float)})
    return {name: np.array([row.get(name, np.nan) for row in rows], float) for name in names}


def mixture_section(manifest: Any) -> list[Markup]:
    """What was asked for, what was planned, what was written."""
    total = sum(source.written for source in manifest.sources.values())
    rows = []
    for name, source in manifest.sources.items():
        share = source.written / max(total, 1)
        rows.append([name, html.badge(source.kind, html.KIND_COLOURS[source.kind]), source.control_hz,
                     source.horizon or None, source.action_dim or None, source.planned, source.written,
                     source.rejected, f"{100 * share:.2f} %", html.bar(share, html.KIND_COLOURS[source.kind])])  # fmt: skip
    columns = ["source", "kind", "Hz", "horizon", "action dim", "planned", "written", "rejected", "share", ""]
    return [
        tag("h2", "The mixture"),
        tag("p", "Quotas are exact (largest remainder), so each source has the planned count to the sample; "
                 "planned = written + rejected.", class_="soft"),
        html.table(columns, rows),
    ]  # fmt: skip


def sample_card(row: dict[str, Any], source: ManifestSource, tok: ActionTokenizer, text: TextTokenizer) -> Markup:
    """One shard row as a trainer sees it: images, the prefix in grey, what is predicted in colour, the chunk as curves."""
    images = [tag("figure", html.image(row[key], 128, key), tag("figcaption", key.removeprefix("image/")), style="margin:0")
              for key in sorted(row) if key.startswith("image/") and row[key]]  # fmt: skip
    head = [html.badge(row["kind"], html.KIND_COLOURS[row["kind"]]), Markup(" "), tag("b", row["prompt"])]
    where = f"{row['source']} · {Path(row['file']).name} · episode {row['episode']} · step {row['step']}"
    if row["kind"] != "robot":
        pieces = [(p, False) for p in text.pieces(row["prompt"])] + [(p, True) for p in text.pieces(row["target"])]
        loss = "L_VLM on the answer"
        curves = Markup("")
    else:
        ids = np.asarray(row["action_tokens"])
        prompt = robot_prompt(
            row["prompt"], state_text(tok.state_stats[source.embodiment or ""].normalize(row["state"]))
        )
        pieces = [(p, False) for p in text.pieces(prompt)] + [(str(i), True) for i in ids]
        loss = (
            f"L_FAST on {len(ids)} FAST ids (naive binning: {source.horizon * source.action_dim}), L_FLOW on the chunk"
        )
        curves = chunk_curves(row, source, tok)
    return tag("div", tag("div", *head), tag("div", *images, class_="images"), html.tokens(pieces),
               tag("div", loss, class_="soft"), curves, tag("div", where, class_="soft mono"),
               class_="card wide" if row["kind"] == "robot" else "card")  # fmt: skip


def chunk_curves(row: dict[str, Any], source: ManifestSource, tok: ActionTokenizer) -> Markup:
    """Raw against decoded actions, a small plot a dimension; its axis spans at least a fifth of the dimension's usual range."""
    horizon, dim = source.horizon, source.action_dim
    raw = np.asarray(row["action"], float).reshape(horizon, dim)
    ids = [np.asarray(row["action_tokens"])]
    decoded = tok.decode(ids, horizon=horizon, action_dim=dim, embodiment=source.embodiment).actions[0]
    names = source.action_names or [f"action[{d}]" for d in range(dim)]
    stats = tok.stats[source.embodiment or ""]
    usual = np.asarray(stats.q99) - np.asarray(stats.q01)
    plots = []
    for d in range(dim):
        steps = np.arange(horizon) / (source.control_hz or 1.0)
        lines = [Series("raw", steps, raw[:, d], html.PALETTE[0]),
                 Series("decoded", steps, decoded[:, d], html.PALETTE[1], dashed=True)]  # fmt: skip
        plots.append(html.plot(lines, Axes("s", least=0.2 * float(usual[d])), width=220, height=130, title=names[d],
                               legend=d == 0))  # fmt: skip
    return tag("div", *plots, style="display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:12px")


def samples_section(reader: ShardReader, tok: ActionTokenizer, text: TextTokenizer) -> list[Markup]:
    """The first rows of each source, as they stand in the shards."""
    chosen: dict[str, list[Markup]] = {name: [] for name in reader.manifest.sources}
    for index in range(reader.num_rows):
        row = reader.row(index)
        cards = chosen[row["source"]]
        if len(cards) < SAMPLES_PER_SOURCE:
            cards.append(sample_card(row, reader.manifest.sources[row["source"]], tok, text))
        if all(len(c) >= SAMPLES_PER_SOURCE for c in chosen.values()):
            break
    cards = [card for cards in chosen.values() for card in cards]
    return [
        tag("h2", "Samples from the shards"),
        tag("p", "Grey tokens are the prefix; coloured ones are predicted and count in the cross-entropy. Curves: the raw "
                 "action chunk and what its FAST ids decode to, in the robot's units.", class_="soft"),
        tag("div", *cards, class_="cards"),
    ]  # fmt: skip


def loss_section(runs: dict[str, dict[str, np.ndarray]]) -> list[Markup]:
    """The three losses of each run, raw (faint) and smoothed."""
    plots = []
    for (key, name), colour in zip(LOSSES.items(), html.PALETTE, strict=False):
        lines = []
        for (title, log_), dashed in zip(runs.items(), (True, False), strict=False):
            if key not in log_ or not np.nan_to_num(log_[key]).any():
                continue
            keep = np.isfinite(log_[key])
            x, y = log_["step"][keep], log_[key][keep]
            lines += [Series("", x, y, colour, faint=True), Series(title, x, smooth(y), colour, dashed=dashed)]
        plots.append(tag("div", html.plot(lines, Axes("step", zero=True), title=name), class_="card"))
    return [
        tag("h2", "Training"),
        tag("p", "Each loss per token or chunk element of its own. Dashed: the VLM's pretraining on VQA and captions; solid: "
                 "the insulated training that starts from it.", class_="soft"),
        tag("div", *plots, class_="cards", style="grid-template-columns:repeat(auto-fit,minmax(280px,1fr))"),
    ]  # fmt: skip


def smooth(y: np.ndarray, share: float = 0.08) -> np.ndarray:
    """Exponential moving average over about `share` of the points, without the bias of its start."""
    decay = 1 - 1 / max(2.0, share * len(y))
    mean, weight, out = 0.0, 0.0, np.empty(len(y))
    for i, value in enumerate(y):
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
        out[i] = mean / weight
    return out


def films_section(path: Path) -> list[Markup]:
    """A filmstrip a rollout, evenly spaced frames from first to last."""
    if not path.is_file():
        raise InputError(f"{path} is missing: the demo did not finish; run: make demo")
    strips = [
        tag("div", *rollout_videos.strip(film, rollout_videos.place(where), FILM_FRAMES), class_="card wide")
        for where, shown in rollout_videos.load(path).items()
        for film in shown
    ]
    return [
        tag("h2", "Rollouts"),
        tag("p", "The first two episodes of each embodiment and split, acted by flow sampling. Held out: colour and shape pairs, "
                 "and sentences, that no demonstration shows.", class_="soft"),
        tag("div", *strips, class_="cards"),
    ]  # fmt: skip


def numbers_section(results: dict[str, Any], played: list[dict[str, Any]]) -> list[Markup]:
    """Success, language following and VQA accuracy with 95 % intervals.

    Args:
        results: of the policy, and its answers.
        played: of the expert and of one that acts blindly, in the same episodes.
    """
    rows = [
        ["the robot", w["embodiment"], w["split"].replace("_", " "), w["episodes"],
         *[percent(w[name], w["episodes"]) for name in ("success", "followed")], round(w["ms_per_prediction"], 1)]
        for w in results["world"]
    ]  # fmt: skip
    rows += [
        [w["policy"], w["embodiment"], w["split"], w["episodes"],
         *[percent(w[name], w["episodes"]) for name in ("success", "followed")], None]
        for w in played
    ]  # fmt: skip
    out = [
        tag("h2", "Evaluation"),
        tag("p", "Success: the task is done and stays done for 0.3 s. Followed: the first block that the robot "
                 "did something with is the one that the instruction names, done or not. A prediction is one chunk for "
                 f"{results['world'][0]['batch']} episodes side by side. The blind one replays demonstrations of other scenes. "
                 "Brackets: 95 % Wilson intervals.", class_="soft"),
        html.table(["who", "embodiment", "split", "episodes", "success", "followed", "ms per prediction"], rows),
    ]  # fmt: skip
    vqa = results["vqa"]
    if vqa:
        columns = ["questions", "exact match", "always the most common answer of the question's kind"]
        n = vqa["questions"]
        out.append(html.table(columns, [[n, percent(vqa["accuracy"], n), percent(vqa["baseline"], n)]]))
    return out


def percent(share: float, n: int) -> str:
    """A share of n trials with its 95 % interval.

    >>> percent(0.5, 40)
    '50 % [35, 65]'
    """
    return wilson.percent(round(share * n), n)


def steps_section(steps: list[dict[str, Any]]) -> list[Markup]:
    """The commands of the demo, with the time each took here."""
    rows = [[i, s["title"], tag("code", s["command"]), s["seconds"]] for i, s in enumerate(steps, 1)]
    found = {name: version(name) for name in VERSIONS}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return [
        tag("h2", "How this page was made"),
        html.table(["", "step", "command", "seconds"], rows),
        tag("p", f"{machine} · " + " · ".join(f"{k} {v}" for k, v in found.items()), class_="soft"),
    ]


def compression(reader: ShardReader) -> tuple[int, int]:
    """Action values and FAST ids over the robot rows of the shards."""
    naive = fast = 0
    for shard in range(len(reader.manifest.shards)):
        for batch in reader.record_batches(shard):
            naive += len(batch.column("action").flatten())
            fast += len(batch.column("action_tokens").flatten())
    return naive, fast


def headline(reader: ShardReader, results: dict[str, Any], steps: list[dict[str, Any]]) -> Markup:
    """The few numbers a reader wants first."""
    seen = [w for w in results["world"] if w["split"] == "seen"]
    naive, fast = compression(reader)
    values = {f"success, {w['embodiment']}, seen tasks": f"{100 * w['success']:.0f} %" for w in seen}
    values |= {f"language followed, {w['embodiment']}": f"{100 * w['followed']:.0f} %" for w in seen}
    if results["vqa"]:
        values["VQA exact match"] = f"{100 * results['vqa']['accuracy']:.0f} %"
    values["actions to FAST ids"] = f"{naive / fast:.1f} : 1"
    values["samples in the shards"] = f"{reader.num_rows:,}"
    values["seconds for everything"] = f"{sum(s['seconds'] for s in steps):.0f}"
    return html.tiles(values)


def main(config: ReportConfig) -> None:
    """Writes report.html.

    Raises:
        InputError: a part of the demo is missing.
    """
    demo = config.demo
    out = demo / "report.html"
    check_output_file(out, overwrite=config.overwrite, flag="--demo")
    reader = ShardReader(str(demo / "shards"))
    tok = ActionTokenizer.load(reader.tokenizer_folder)
    text = TextTokenizer.load(demo / "ki" / "text_tokenizer.json")
    results, played, steps = (read_json(demo / f"{name}.json") for name in ("eval", "baselines", "steps"))
    runs = {
        "VLM pretraining": read_log(demo / "vlm" / "metrics.jsonl"),
        "insulated": read_log(demo / "ki" / "metrics.jsonl"),
    }
    document = html.page(
        "fasttok: the whole chain",
        tag("h1", "The whole chain, on two robots and two kinds of web data"),
        tag("p", "Episodes, questions and captions become FAST tokens and interleaved shards; a small VLA model "
                 "learns from them with L_VLM + L_FAST + L_FLOW, its backbone insulated from the flow loss; and acts.",
            class_="soft"),
        headline(reader, results, steps),
        *films_section(demo / "rollouts.npz"),
        *numbers_section(results, played),
        *loss_section(runs),
        *mixture_section(reader.manifest),
        *samples_section(reader, tok, text),
        *steps_section(steps),
    )  # fmt: skip
    write_text(out, document)
    log(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB, no network needed)")


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(ReportConfig, prog="python -m examples.report"))))
