"""A row on the page of `inspect`: its pictures, texts, tokens, curves and where it came from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fasttok import ActionTokenizer
from fasttok.common import html
from fasttok.common.html import Markup, tag
from pipelines.common.image_headers import check_header, image_size
from pipelines.look.row_curves import action_section, coefficient_meanings, state_section
from pipelines.look.shared_sections import chunk_words, clip
from pipelines.look.stored_row import StoredRow
from pipelines.shards.manifest import ManifestSource

SHOWN_WIDTH = 220  # pixels: a smaller picture is enlarged to at most this, by a whole factor
WORDS_SHOWN = 400
BREAK = Markup("<br>")


@dataclass
class PictureAllowance:
    """Counts the bytes that pictures may still take on a page, and the pictures that did not fit.

    Attributes:
        left: bytes that are left, counted as base64.
        dropped: number of pictures that did not fit.
        dropped_bytes: bytes of those pictures.
        whole: bytes at the beginning; by default `left`.
    """

    left: float
    dropped: int = 0
    dropped_bytes: int = 0
    whole: float = 0.0

    def __post_init__(self) -> None:
        self.whole = self.whole or self.left

    def take(self, size: int) -> bool:
        """Takes a picture of `size` bytes if it still fits, and returns whether it does.

        >>> PictureAllowance(100.0).take(80)
        False
        """
        if size * 4 / 3 <= self.left:
            self.left -= size * 4 / 3
            return True
        self.dropped, self.dropped_bytes = self.dropped + 1, self.dropped_bytes + size
        return False

    def spare(self, size: int) -> bool:
        """Takes a picture that the page can do without, if half of the allowance then remains; returns whether it does.

        >>> PictureAllowance(100.0).spare(30), PictureAllowance(100.0).spare(60)
        (True, False)
        """
        return self.left - size * 4 / 3 >= self.whole / 2 and self.take(size)


def row_card(
    row: StoredRow,
    source: ManifestSource,
    tok: ActionTokenizer | None,
    allowance: PictureAllowance,
    later: Sequence[StoredRow] = (),
) -> Markup:
    """Returns one row as HTML: pictures, texts, state, actions, tokens and where it came from.

    Args:
        row: row to show.
        source: source that it belongs to.
        tok: tokenizer of the shards, None if there is none.
        allowance: what the page may still show.
        later: rows of the same episode at steps inside the row's chunk.
    """
    robot, answers = row.kind == "robot", row.answers
    timed = robot and len(row.action) == source.horizon * source.action_dim > 0 and source.horizon > 1
    head = tag("div", tag("span", clip(row.prompt) or "(no prompt)", class_="said"), class_="head")
    sections = [cameras(row, source, allowance, later if timed else ())]
    if timed:
        sections.append(html.cursor(source.horizon - 1, source.control_hz, "time after the picture"))
    if row.target:
        sections += [tag("h3", "subtask" if robot else "target"), tag("div", clip(row.target), class_="said")]
    if answers:
        sections += [tag("h3", f"{len(answers)} answers"), tag("div", clip(", ".join(answers)))]
    pieces = [(word, False) for word in words(row.prompt)]
    meanings: list[str] = []
    if robot:
        values = row.action.astype(np.float64)
        sections += state_section(row.state, source, tok)
        if len(values) == source.horizon * source.action_dim > 0:
            sections += action_section(values.reshape(source.horizon, -1), row, source, tok)
        else:
            what = f"The action has {len(values)} values, its source {chunk_words(source)}; see lint."
            sections.append(tag("p", what, class_="warn"))
        pieces += [(f"state: {len(row.state)} numbers", False)] if len(row.state) else []
        pieces += [(str(number), True) for number in row.action_tokens.tolist()]
        meanings = coefficient_meanings(row.action_tokens, source.action_dim, source, tok)
        loss = f"{len(row.action_tokens)} FAST ids for {len(values)} values"
    else:
        answer = words(row.target)
        pieces += [(word, True) for word in answer]
        loss = f"{len(answer)} word{'' if len(answer) == 1 else 's'} in the loss"
    sections = [head, html.timeline(*sections) if timed else Markup("".join(sections))]
    sections += [tag("h3", f"tokens: {loss}"), html.tokens(pieces, meanings)]
    at = f" · byte {row.offset:,}" if row.offset >= 0 else ""
    where = f"{row.file}{at} · episode {row.episode} · step {row.step}"
    sections.append(tag("div", f"row {row.number:,} · {where}", BREAK, row.sample_id, class_="soft mono"))
    return tag("article", *sections, class_="card row", id=f"row-{row.number}")


def words(text: str) -> list[str]:
    """Splits a text into words with the blanks before them, at most `WORDS_SHOWN`.

    >>> words("push  it")
    ['push', '  it']
    """
    all_words: list[str] = re.findall(r"\s*\S+", text)
    more = len(all_words) - WORDS_SHOWN
    return all_words if more <= 0 else [*all_words[:WORDS_SHOWN], f" … {more:,} more words"]


def cameras(
    row: StoredRow, source: ManifestSource, allowance: PictureAllowance, later: Sequence[StoredRow] = ()
) -> Markup:
    """Returns every camera that the row has, or that its source should have, with its pictures at later steps.

    Args:
        row: row to show.
        source: source that it belongs to.
        allowance: what the page may still show.
        later: rows of the same episode at steps inside the row's chunk.
    """
    figures = []
    for slot, data in row.images.items():
        if not data:
            if slot in source.cameras:
                figures.append(tag("figure", tag("div", "absent", class_="none"), tag("figcaption", slot)))
            continue
        wrong = check_header(data, webp=True)
        width, height = image_size(data) if not wrong else (0, 0)
        swapped = slot in source.bgr
        size = f"{width} x {height} {html.image_kind(data).upper()}, {len(data) / 1000:,.1f} kB"
        notes = [slot, BREAK, f"not a picture: {wrong}" if wrong else size]
        if swapped:
            notes += [BREAK, "stored blue first, shown right"]
        if wrong:
            picture = tag("div", "broken", class_="none")
        elif allowance.take(len(data)):
            shown = width * max(1, SHOWN_WIDTH // max(width, 1)) if width <= SHOWN_WIDTH else SHOWN_WIDTH
            picture = html.image(data, shown, slot, swapped)
        else:
            picture = tag("div", "left out", class_="none")
        moments: list[tuple[int, Markup, object]] = [(0, picture, tag("span", *notes))]
        moments += _later(row, slot, source, allowance, later)
        if len(moments) > 1:
            figures.append(html.moments(moments, pixels=width <= SHOWN_WIDTH))
        else:
            figures.append(
                tag("figure", picture, tag("figcaption", *notes), class_="photo" if width > SHOWN_WIDTH else None)
            )
    return tag("div", *figures, class_="cameras")


def _later(
    row: StoredRow, slot: str, source: ManifestSource, allowance: PictureAllowance, later: Sequence[StoredRow]
) -> list[tuple[int, Markup, object]]:
    """Returns a camera's pictures at later steps, each as (how many steps later, picture, that time in words)."""
    shown: list[tuple[int, Markup, object]] = []
    for one in later:
        data, after = one.images.get(slot), one.step - row.step
        if data and not check_header(data, webp=True) and allowance.spare(len(data)):
            when = f"{after / source.control_hz:.2f} s later" if source.control_hz else f"{after} steps later"
            shown.append((after, html.image(data, SHOWN_WIDTH, f"{slot}, {when}", slot in source.bgr), when))
    return shown
