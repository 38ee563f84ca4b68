"""The page of `fasttok-pipelines inspect SHARDS --html`: every shown row as a trainer gets it, and where it came from."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok import ActionTokenizer
from fasttok.common import html
from fasttok.common.html import CHANNEL_SWAP, PALETTE, Axes, Markup, Series, plot, tag
from fasttok.errors import InputError
from mixtures.spec import Resize
from pipelines.common.images import check_header, jpeg_size, png_size
from pipelines.look.page_parts import anchor, chunk_words, clip, encodings, kind_badge, mixture_section
from pipelines.look.ranges import Range, ranges
from pipelines.look.scan import held_tokenizer
from pipelines.shards import ShardReader
from pipelines.shards.manifest import ManifestSource
from pipelines.shards.records import IMAGE_COLUMNS

SHOWN_WIDTH = 220  # pixels: a smaller picture is enlarged to at most this, by a whole factor
WORDS_SHOWN = 400
BREAK = Markup("<br>")
LEGEND = (
    "Grey pieces are the prefix, which is given; coloured ones count in a loss: FAST ids (a pointer over one shows the "
    "coefficients it stands for) and the words of a target. Curves: the stored action chunk in the robot's units, and what the "
    "stored FAST ids decode to; a tinted part is padding after the episode's end (action_steps), which counts in no flow loss."
)


@dataclass
class Budget:
    """Bytes of pictures that the page may still take, and what it could not."""

    left: float
    dropped: int = 0
    dropped_bytes: int = 0

    def take(self, size: int) -> bool:
        """Whether a picture of so many bytes still fits."""
        if size * 4 / 3 <= self.left:
            self.left -= size * 4 / 3
            return True
        self.dropped, self.dropped_bytes = self.dropped + 1, self.dropped_bytes + size
        return False


def inspect_page(
    reader: ShardReader, rows: Sequence[tuple[int, dict[str, Any]]], chosen: str, max_mb: float = 32.0
) -> str:
    """One self-contained page.

    Args:
        rows: (number, `ShardReader.row`) of each row to show. chosen: how they were, in words.
        max_mb: most megabytes of pictures; the page says how many it lacks.
    """
    manifest = reader.manifest
    tok, problem = held_tokenizer(reader)
    budget = Budget(max_mb * 1e6)
    sections: list[Any] = []
    for name, source in manifest.sources.items():
        mine = [(number, row) for number, row in rows if row["source"] == name]
        if mine:
            head = tag("h2", name, Markup(" "), kind_badge(source.kind), id=anchor(manifest, name))
            cards = [row_card(number, row, source, tok, budget) for number, row in mine]
            wide = source.kind == "robot"  # the others are short, and stand side by side
            sections += [head, source_facts(source), *(cards if wide else [tag("div", *cards, class_="cards")])]
    name = str(manifest.mixture.get("name", "shards"))
    size = sum(shard.bytes for shard in manifest.shards)
    notes = [f"FAST ids are not decoded here: {problem}"] if problem else []
    if budget.dropped:
        notes.append(
            f"{budget.dropped} pictures ({budget.dropped_bytes / 1e6:,.1f} MB) are not on this page, which is limited to "
            f"{max_mb:g} MB of them: ask for fewer --rows, or a larger --max-mb."
        )
    return html.page(
        f"{name}: rows of the shards",
        CHANNEL_SWAP,
        tag("h1", f"{name}: rows of the shards"),
        tag("p", chosen, class_="soft"),
        *[tag("p", note, class_="warn") for note in notes],
        html.tiles({
            "rows": f"{reader.num_rows:,}", "sources": len(manifest.sources), "shards": len(manifest.shards),
            "MB": f"{size / 1e6:,.1f}", "rejected rows": f"{manifest.counts.rejected:,}",
        }),
        *mixture_section(manifest, {row["source"] for _, row in rows}),
        tag("p", LEGEND, class_="soft"),
        *sections,
    )  # fmt: skip


def source_facts(s: ManifestSource) -> Markup:
    """What the manifest says of a source."""
    represent = s.representation
    reversed_ = [slot for slot in s.bgr if slot in s.cameras]
    return html.facts({
        "dataset, split": f"{s.dataset}, {s.split}",
        "embodiment": s.embodiment,
        "control frequency, Hz": s.control_hz,
        "chunk, steps x dims": chunk_words(s),
        "action encoding": encodings(s.action_encoding),
        "actions represented": f"{represent.form}, {represent.rotation} rotations" if represent else None,
        "cameras": ", ".join(s.cameras) + (f" (stored blue first: {', '.join(reversed_)})" if reversed_ else ""),
        "images resized to": resized(s.resize),
        "questions asked": ", ".join(s.questions),
        "prompt templates": len(s.prompts) or None,
        "rows written of planned": f"{s.written:,} of {s.planned:,}",
        "rejected": s.rejected or None,
        "FAST ids a row": s.mean_action_tokens,
        "chunks with clamped coefficients": s.clamped_chunks or None,
        "licence": s.license or "not stated",
        "citation": s.citation,
        "homepage": s.homepage,
    })  # fmt: skip


def resized(resize: Resize | None) -> str | None:
    """What a source's images were resized to, if they were."""
    return ", ".join(f"{name} {value}" for name, value in asdict(resize).items()) if resize else None


def row_card(
    number: int, row: dict[str, Any], source: ManifestSource, tok: ActionTokenizer | None, budget: Budget
) -> Markup:
    """One row."""
    robot = row["kind"] == "robot"
    answers = list(row.get("answers") or [])
    parts: list[Any] = [
        tag("div", tag("span", clip(row["prompt"]) or "(no prompt)", class_="said"), class_="head"),
        cameras(row, source, budget),
    ]
    if row["target"]:
        parts += [tag("h3", "subtask" if robot else "target"), tag("div", clip(row["target"]), class_="said")]
    if answers:
        parts += [tag("h3", f"{len(answers)} answers"), tag("div", clip(", ".join(answers)))]
    pieces = [(word, False) for word in words(row["prompt"])]
    titles: list[str] = []
    if robot:
        values = row["action"].astype(np.float64)
        parts += state_part(row["state"], source, tok)
        if len(values) == source.horizon * source.action_dim > 0:
            parts += action_part(values.reshape(source.horizon, -1), row, source, tok)
        else:
            what = f"The action has {len(values)} values, its source {chunk_words(source)}; see lint."
            parts.append(tag("p", what, class_="warn"))
        pieces += [(f"state: {len(row['state'])} numbers", False)] if len(row["state"]) else []
        pieces += [(str(number), True) for number in row["action_tokens"].tolist()]
        titles = coefficient_titles(row["action_tokens"], source.action_dim, source, tok)
        loss = f"{len(row['action_tokens'])} FAST ids for {len(values)} values"
    else:
        answer = words(row["target"])
        pieces += [(word, True) for word in answer]
        loss = f"{len(answer)} word{'' if len(answer) == 1 else 's'} in the loss"
    parts += [tag("h3", f"tokens: {loss}"), html.tokens(pieces, titles)]
    where = f"{row['file']} · byte {row['offset']:,} · episode {row['episode']} · step {row['step']}"
    parts.append(tag("div", f"row {number:,} · {where}", BREAK, row["sample_id"], class_="soft mono"))
    return tag("article", *parts, class_="card row", id=f"row-{number}")


def words(text: str) -> list[str]:
    """Words with the blanks before them, at most `WORDS_SHOWN`."""
    found = re.findall(r"\s*\S+", text)
    more = len(found) - WORDS_SHOWN
    return found if more <= 0 else [*found[:WORDS_SHOWN], f" … {more:,} more words"]


def cameras(row: dict[str, Any], source: ManifestSource, budget: Budget) -> Markup:
    """Every camera that the row has, or that its source should have."""
    figures = []
    for column in (name for name in row if name in IMAGE_COLUMNS or name.startswith("image/")):
        slot, data = column.removeprefix("image/"), row[column]
        if not data:
            if slot in source.cameras:
                figures.append(tag("figure", tag("div", "absent", class_="none"), tag("figcaption", slot)))
            continue
        wrong = check_header(data)
        width, height = (png_size if html.image_kind(data) == "png" else jpeg_size)(data) if not wrong else (0, 0)
        swapped = slot in source.bgr
        size = f"{width} x {height} {html.image_kind(data).upper()}, {len(data) / 1000:,.1f} kB"
        notes = [slot, BREAK, f"not a picture: {wrong}" if wrong else size]
        if swapped:
            notes += [BREAK, "stored blue first, shown right"]
        if wrong:
            picture = tag("div", "broken", class_="none")
        elif budget.take(len(data)):
            shown = width * max(1, SHOWN_WIDTH // max(width, 1)) if width <= SHOWN_WIDTH else SHOWN_WIDTH
            picture = html.image(data, shown, slot, swapped)
        else:
            picture = tag("div", "left out", class_="none")
        figures.append(
            tag("figure", picture, tag("figcaption", *notes), class_="photo" if width > SHOWN_WIDTH else None)
        )
    return tag("div", *figures, class_="cameras")


def state_part(state: NDArray, source: ManifestSource, tok: ActionTokenizer | None) -> list[Markup]:
    """The state's values, each on a line from q01 to q99 where the tokenizer holds its statistics."""
    if not len(state):
        return []
    limits = ranges(tok, source.embodiment).get("state", [])
    names = source.state_names
    cells = []
    for d, value in enumerate(np.asarray(state, np.float64).tolist()):
        name = names[d] if d < len(names) else f"state[{d}]"
        within = limits[d] if len(limits) == len(state) else None
        cells.append(
            tag("div", tag("dt", name), tag("dd", html.number(value)), gauge(value, within) if within else Markup(""))
        )
    known = any("gauge" in cell for cell in cells)
    return [
        tag("h3", f"state, raw units{'; the line is the normaliser’s range' if known else ''}"),
        tag("dl", *cells, class_="facts state"),
    ]


def gauge(value: float, within: Range) -> Markup:
    """Where a value stands in a range."""
    low, high, _ = within
    place = (value - low) / (high - low) if high > low else 0.5
    outside = not 0 <= place <= 1
    shown = 100 * min(max(place, 0), 1) if np.isfinite(place) else 50
    mark = tag("i", style=f"left:{shown:.1f}%", class_="outside" if outside else None)
    return tag("div", mark, class_="gauge", title=f"{within[2]}: {low:.4g} to {high:.4g}")


def action_part(
    chunk: NDArray, row: dict[str, Any], source: ManifestSource, tok: ActionTokenizer | None
) -> list[Markup]:
    """Raw against decoded actions, a small plot a dimension."""
    horizon, dim = chunk.shape
    decoded, problem = None, ""
    if tok is not None:
        try:
            name = tok.held_name(source.embodiment or "")
            back = tok.decode([row["action_tokens"]], horizon=horizon, action_dim=dim, embodiment=name, on_error="mask")
            decoded, problem = (back.actions[0], "") if back.ok[0] else (None, back.errors[0])
        except InputError as error:
            problem = str(error)
    limits = ranges(tok, source.embodiment).get("action", [])
    limits = limits if len(limits) == dim else [None] * dim
    hz = source.control_hz
    x = np.arange(horizon) / (hz or 1.0)
    real = int(row["action_steps"])
    shade = (x[max(real - 1, 0)], x[-1]) if real < horizon else None
    names = source.action_names
    plots, worst = [], (0.0, "")
    for d in range(dim):
        title = names[d] if d < len(names) else f"action[{d}]"
        lines, note = [Series("raw", *steps(x, chunk[:, d]), PALETTE[0])], ""
        if decoded is not None and np.isfinite(decoded[:, d]).all():
            lines.append(Series("decoded", *steps(x, decoded[:, d]), PALETTE[1], dashed=True))
            off = float(np.abs(decoded[:, d] - chunk[:, d]).max())
            note = f"error up to {off:.2g}"
            within = limits[d]
            if within is not None and within[1] > within[0]:
                share = off / (within[1] - within[0])
                note += f" ({share:.1%} of range)"
                worst = max(worst, (share, title))
        elif decoded is not None:
            note = "not tokenised"
        within = limits[d]
        least = 0.2 * (within[1] - within[0]) if within else 0.0
        figure = plot(lines, Axes(least=least), width=230, height=120, title=title, legend=False, shade=shade)
        plots.append(tag("div", figure, tag("div", note, class_="soft")))
    padded = f"{real} of {horizon} steps are real" + (", the rest is padding" if real < horizon else "")
    unit = "seconds" if hz else "steps"
    words = f"actions, raw units, over {unit}; {padded}"
    if worst[1]:
        words += f"; largest error {worst[0]:.1%} of the normaliser's range, in {worst[1]}"
    keys = [
        tag("span", tag("i", style=f"border-top:3px solid {PALETTE[0]}"), "raw"),
        tag("span", tag("i", style=f"border-top:3px dashed {PALETTE[1]}"), "decoded from the FAST ids"),
        tag("span", tag("i", class_="box shade"), "padding") if real < horizon else Markup(""),
    ]
    warn = [tag("p", f"The FAST ids do not decode: {problem}", class_="warn")] if problem else []
    return [tag("h3", words), tag("div", *keys, class_="legend"), *warn, tag("div", *plots, class_="plots")]


def steps(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """The points of a line; a single one is drawn as a short level line."""
    return (x, y) if len(x) > 1 else (np.array([x[0], x[0] + 1]), np.repeat(y, 2))


def coefficient_titles(ids: NDArray, dim: int, source: ManifestSource, tok: ActionTokenizer | None) -> list[str]:
    """For each FAST id, the coefficients it stands for, by frequency and dimension; none where it cannot be said."""
    if tok is None or not len(ids) or ids.min() < 0 or ids.max() >= tok.vocab_size:
        return []
    try:
        width = tok.channels(tok.held_name(source.embodiment or "")).count(dim)
    except InputError:
        return []
    found = []
    for first, stop in tok.bpe.spans(ids):
        last = max(stop - 1, first)
        count = f"{last - first + 1} coefficients, " if last > first else ""
        found.append(f"{count}frequency {first // width} dim {first % width}"
                     + (f" to frequency {last // width} dim {last % width}" if last > first else ""))  # fmt: skip
    return found
