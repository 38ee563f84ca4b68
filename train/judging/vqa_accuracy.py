"""Measures how many questions of a VQA dataset a trained run answers correctly."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from fasttok.common.console import track
from fasttok.common.locations import has_locations
from fasttok.episodes import BadRecord
from fasttok.errors import InputError
from mixtures.spec import Resize
from pipelines.stored_questions import VlmRecord, stored_questions
from train.acting.observations import resized_as_built
from train.acting.robots import QuestionForm, worded
from train.given_paths import check_questions
from train.judging.measurements import VqaResult
from train.player import ANSWER_TOKENS, Player

logger = logging.getLogger(__name__)
SPLIT = "val"


def answer_questions(player: Player, folder: Path, most: int) -> VqaResult:
    """Measures exact-match accuracy on a VQA dataset's val split, and that of always giving the most common answer of a kind.

    Args:
        player: run that answers.
        folder: folder of the dataset, in any format of docs/vlm.md.
        most: how many questions to ask, at least 1, from the first on.

    Raises:
        InputError: `folder` is not a VQA dataset, or has no usable questions in a val split.
    """
    check_questions(folder)
    questions = stored_questions(str(folder), SPLIT)
    items = _usable(questions.records, folder, most)
    changed = player.encoder.robots.asked.get(
        questions.name, QuestionForm()
    )  # as the mixture changed them for training
    items = [replace(item, prompt=worded(item.prompt, changed.prompts)) for item in items]
    # One more token than the longest target has, so that a longer answer is not cut to a right one.
    longest = max(len(player.encoder.answer(item.target)) for item in items)
    most_tokens = max(ANSWER_TOKENS, longest)
    right: list[int] = []
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for start in track(range(0, len(items), player.batch), "answering", unit="batches"):
        asked = items[start : start + player.batch]
        located = [has_locations(item.prompt, item.target) for item in asked]
        images = [
            _as_built(questions.image(item), changed.resize, place) for item, place in zip(asked, located, strict=True)
        ]
        answers = player.answer([item.prompt for item in asked], images, most_tokens, located)
        for item, answer in zip(asked, answers, strict=True):
            right.append(int(answer == item.target))
            kinds[item.topic][item.target] += 1
    common = sum(counts.most_common(1)[0][1] for counts in kinds.values())
    return VqaResult(len(items), sum(right) / len(items), common / len(items), tuple(right))


def _usable(records: Iterable[VlmRecord | BadRecord], folder: Path, most: int) -> list[VlmRecord]:
    """Returns the first questions that can be used, without their images. Those that cannot are counted, and a warning says it.

    Raises:
        InputError: there are none.
    """
    items: list[VlmRecord] = []
    bad: list[BadRecord] = []
    for record in records:
        if isinstance(record, BadRecord):
            bad.append(record)
            continue
        items.append(replace(record, data=b""))
        if len(items) == most:
            break
    lost = sum(record.records for record in bad)
    first = f"; the first is {bad[0].where.file}, record {bad[0].where.number}: {bad[0].detail}" if bad else ""
    if not items:
        raise InputError(f"{folder}: split {SPLIT} has no question that can be asked, and {lost} that cannot{first}")
    if bad:
        logger.warning(f"warning: {folder}: {lost} questions cannot be asked and do not count{first}")
    return items


def _as_built(image: bytes, to: Resize | None, located: bool) -> bytes:
    """Returns an encoded image in the size that a build gave those of training; one whose places a text names is stretched."""
    if to is None:
        return image
    return resized_as_built(image, to.without_edges if located else to)
