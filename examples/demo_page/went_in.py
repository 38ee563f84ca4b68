"""Three parts of the demo's page: what goes in, what the tokens of the actions are, and what the shards contain."""

from pathlib import Path
from typing import Any

import numpy as np

from examples.demo_page.headings import heading
from fasttok import ActionTokenizer
from fasttok.common import html
from fasttok.common.html import Markup, tag
from fasttok.evaluation.inspect_page import ShownChunk, chunk_section
from pipelines.shards import ShardReader
from pipelines.shards.manifest import Manifest, ManifestSource
from train.tokens import TextTokenizer, robot_prompt, state_text

SAMPLES_PER_SOURCE = 2
Row = dict[str, Any]  # a row of the shards


def samples(reader: ShardReader) -> dict[str, list[Row]]:
    """Returns the first rows of each source, as they are in the shards."""
    chosen: dict[str, list[Row]] = {name: [] for name in reader.manifest.sources}
    for index in range(reader.num_rows):
        row = reader.row(index)
        if len(chosen[row["source"]]) < SAMPLES_PER_SOURCE:
            chosen[row["source"]].append(row)
        if all(len(rows) >= SAMPLES_PER_SOURCE for rows in chosen.values()):
            break
    return chosen


def inputs(manifest: Manifest, chosen: dict[str, list[Row]], tok: ActionTokenizer, text: TextTokenizer) -> list[Markup]:
    """Shows two rows of each source as a trainer sees them."""
    cards = [card(row, manifest.sources[name], tok, text) for name, rows in chosen.items() for row in rows]
    return [
        heading("inputs"),
        tag("p", "Demonstrations of two robots, questions and captions, all drawn by the tabletop world. These are the first two "
                 "samples of each source, as they are in the shards. Grey tokens are given; coloured ones are what the model "
                 "learns to say. The state is written out here; this model takes it as one token of numbers.", class_="soft"),
        tag("div", *cards, class_="cards"),
    ]  # fmt: skip


def card(row: Row, source: ManifestSource, tok: ActionTokenizer, text: TextTokenizer) -> Markup:
    """Shows a row: its images, the prefix in grey, and what the model predicts in colour."""
    images = [tag("figure", html.image(row[key], 128, key), tag("figcaption", key.removeprefix("image/")), style="margin:0")
              for key in sorted(row) if key.startswith("image/") and row[key]]  # fmt: skip
    head = [html.badge(row["kind"], html.KIND_COLOURS[row["kind"]]), Markup(" "), tag("b", row["prompt"])]
    if row["kind"] == "robot":
        ids = np.asarray(row["action_tokens"]).tolist()
        state = tok.state_stats[source.embodiment or ""].normalize(row["state"])
        pieces = [(piece, False) for piece in text.pieces(robot_prompt(row["prompt"], state_text(state)))]
        pieces += [(str(number), True) for number in ids]
        stand = "id stands" if len(ids) == 1 else "ids stand"
        loss = f"{len(ids)} FAST {stand} for {source.horizon * source.action_dim} numbers: {chunk_words(source)}"
    else:
        pieces = [(p, False) for p in text.pieces(row["prompt"])] + [(p, True) for p in text.pieces(row["target"])]
        loss = "the loss is on the answer"
    where = f"{row['source']} · {Path(row['file']).name} · episode {row['episode']} · step {row['step']}"
    return tag("div", tag("div", *head), tag("div", *images, class_="images"), html.tokens(pieces),
               tag("div", loss, class_="soft"), tag("div", where, class_="soft mono"), class_="card")  # fmt: skip


def chunk_words(source: ManifestSource) -> str:
    """Describes a source's chunk for people."""
    seconds = f", {source.horizon / source.control_hz:g} s" if source.control_hz else ""
    return f"{source.horizon} steps of {source.action_dim} dims{seconds}"


def tokens_section(manifest: Manifest, chosen: dict[str, list[Row]], tok: ActionTokenizer) -> list[Markup]:
    """Shows one chunk of each robot: its curves, its coefficients and its tokens."""
    out = [
        heading("tokens"),
        tag("p", "FAST turns each dim of a chunk of actions into frequencies, rounds them, and merges frequent runs of the "
                 "rounded numbers into tokens. Smooth motion needs few. Point at a token, or choose one with the arrow keys, to "
                 "see its coefficients marked.", class_="soft"),
    ]  # fmt: skip
    for name, rows in chosen.items():
        source = manifest.sources[name]
        if source.kind != "robot" or not rows:
            continue
        chunk = np.asarray(rows[0]["action"], float).reshape(source.horizon, source.action_dim)
        embodiment = tok.embodiment_argument(source.embodiment or "")
        shown = ShownChunk(name, embodiment, chunk, None, tuple(source.action_names), source.control_hz)
        head = tag("h3", f"{name}: “{rows[0]['prompt']}”, {chunk_words(source)}")
        out.append(tag("section", head, *chunk_section(tok, shown), class_="linked small"))
    return out


def shards_section(manifest: Manifest) -> list[Markup]:
    """Returns a table of what was planned and what was written of each source."""
    total = sum(source.written for source in manifest.sources.values())
    rows = []
    for name, source in manifest.sources.items():
        share = source.written / max(total, 1)
        colour = html.KIND_COLOURS[source.kind]
        counts = [source.planned, source.written, source.rejected, html.percent(share, 2)]
        size = [source.control_hz, source.horizon or None, source.action_dim or None]
        rows.append([name, html.badge(source.kind, colour), *size, *counts, html.bar(share, colour)])
    columns = ["source", "kind", "Hz", "steps per chunk", "dims", "planned", "written", "rejected", "share", ""]
    return [
        heading("shards"),
        tag("p", f"Shares are quotas, not chances: each source has exactly the planned number of the {total:,} samples, and "
                 "planned = written + rejected.", class_="soft"),
        html.table(columns, rows),
    ]  # fmt: skip
