"""A row on the page of `inspect`: its pictures, texts, tokens, curves and where it came from."""

import re
from dataclasses import dataclass

import numpy as np

from fasttok import ActionTokenizer
from fasttok.common import html
from fasttok.common.html import Markup, tag
from pipelines.common.image_headers import check_header, image_size
from pipelines.look.row_curves import action_section, coefficient_titles, state_section
from pipelines.look.shared_sections import chunk_words, clip
from pipelines.look.stored_row import StoredRow
from pipelines.shards.manifest import ManifestSource

SHOWN_WIDTH = 220  # pixels: a smaller picture is enlarged to at most this, by a whole factor
WORDS_SHOWN = 400
BREAK = Markup("<br>")


@dataclass
class PictureAllowance:
    """How many bytes of pictures a page may still take, and what it could not.

    Attributes:
        left: bytes, as base64 writes them.
        dropped: pictures that did not fit.
        dropped_bytes: bytes of those pictures.
    """

    left: float
    dropped: int = 0
    dropped_bytes: int = 0

    def take(self, size: int) -> bool:
        """Whether a picture of so many bytes still fits; if so, the page takes it.

        >>> PictureAllowance(100.0).take(80)
        False
        """
        if size * 4 / 3 <= self.left:
            self.left -= size * 4 / 3
            return True
        self.dropped, self.dropped_bytes = self.dropped + 1, self.dropped_bytes + size
        return False


def row_card(
    row: StoredRow, source: ManifestSource, tok: ActionTokenizer | None, allowance: PictureAllowance
) -> Markup:
    """One row: pictures, texts, state, actions, tokens and where it came from."""
    robot, answers = row.kind == "robot", row.answers
    sections = [
        tag("div", tag("span", clip(row.prompt) or "(no prompt)", class_="said"), class_="head"),
        cameras(row, source, allowance),
    ]
    if row.target:
        sections += [tag("h3", "subtask" if robot else "target"), tag("div", clip(row.target), class_="said")]
    if answers:
        sections += [tag("h3", f"{len(answers)} answers"), tag("div", clip(", ".join(answers)))]
    pieces = [(word, False) for word in words(row.prompt)]
    titles: list[str] = []
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
        titles = coefficient_titles(row.action_tokens, source.action_dim, source, tok)
        loss = f"{len(row.action_tokens)} FAST ids for {len(values)} values"
    else:
        answer = words(row.target)
        pieces += [(word, True) for word in answer]
        loss = f"{len(answer)} word{'' if len(answer) == 1 else 's'} in the loss"
    sections += [tag("h3", f"tokens: {loss}"), html.tokens(pieces, titles)]
    at = f" · byte {row.offset:,}" if row.offset >= 0 else ""
    where = f"{row.file}{at} · episode {row.episode} · step {row.step}"
    sections.append(tag("div", f"row {row.number:,} · {where}", BREAK, row.sample_id, class_="soft mono"))
    return tag("article", *sections, class_="card row", id=f"row-{row.number}")


def words(text: str) -> list[str]:
    """Words with the blanks before them, at most `WORDS_SHOWN`.

    >>> words("push  it")
    ['push', '  it']
    """
    all_words: list[str] = re.findall(r"\s*\S+", text)
    more = len(all_words) - WORDS_SHOWN
    return all_words if more <= 0 else [*all_words[:WORDS_SHOWN], f" … {more:,} more words"]


def cameras(row: StoredRow, source: ManifestSource, allowance: PictureAllowance) -> Markup:
    """Every camera that the row has, or that its source should have."""
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
        figures.append(
            tag("figure", picture, tag("figcaption", *notes), class_="photo" if width > SHOWN_WIDTH else None)
        )
    return tag("div", *figures, class_="cameras")
