"""Measures how many questions of a VQA dataset a trained run answers correctly."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import yaml

from fasttok.common.console import track
from fasttok.common.locations import has_locations
from fasttok.common.names import relative_path
from fasttok.common.yaml_once import load_once
from fasttok.errors import InputError
from train.given_paths import check_questions
from train.judging.measurements import VqaResult
from train.player import ANSWER_TOKENS, Player


@dataclass(frozen=True)
class _Question:
    """A question: its image file, its prompt, the right answer, and its kind ("" if it has none)."""

    image: Path
    prompt: str
    target: str
    kind: str


def answer_questions(player: Player, folder: Path, most: int) -> VqaResult:
    """Measures exact-match accuracy on a VQA dataset's val split, and that of always giving the most common answer of a kind.

    Args:
        player: run that answers.
        folder: folder of the dataset.
        most: how many questions to ask, at least 1, from the first on.

    Raises:
        InputError: `folder` is not a VQA dataset of JSON lines, or has no questions in a val split.
    """
    check_questions(folder)
    items = _questions(folder, folder / "dataset.yaml", most)
    # One more token than the longest target has, so that a longer answer is not cut to a right one.
    longest = max(len(player.encoder.answer(item.target)) for item in items)
    most_tokens = max(ANSWER_TOKENS, longest)
    right: list[int] = []
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for start in track(range(0, len(items), player.batch), "answering", unit="batches"):
        asked = items[start : start + player.batch]
        answers = player.answer(
            [item.prompt for item in asked],
            [item.image.read_bytes() for item in asked],
            most_tokens,
            [has_locations(item.prompt, item.target) for item in asked],
        )
        for item, answer in zip(asked, answers, strict=True):
            right.append(int(answer == item.target))
            kinds[item.kind][item.target] += 1
    common = sum(counts.most_common(1)[0][1] for counts in kinds.values())
    return VqaResult(len(items), sum(right) / len(items), common / len(items), tuple(right))


def _questions(folder: Path, entry_file: Path, most: int) -> list[_Question]:
    """Reads the first questions of a dataset, as `fasttok-pipelines index` reads those of JSON lines.

    Raises:
        InputError: the entry is not that of a VQA dataset of JSON lines with a val split, a line lacks a value that the entry
            names, or there are no questions.
    """
    try:
        entry = load_once(entry_file.read_text(encoding="utf-8"), str(entry_file))
        splits, form = entry.get("splits") or {}, entry.get("format", "jsonl")
        if entry.get("kind") != "vqa" or "val" not in splits:
            raise InputError(f"{entry_file}: expected kind vqa and a val split, got {entry.get('kind')} with {splits}")
        if form != "jsonl":
            raise InputError(
                f"{entry_file}: format is {form}; the questions to answer must be JSON lines (format: jsonl)"
            )
        file = folder / relative_path(splits["val"], str(entry_file))
        fixed = None if "prompt" in entry else entry["fixed_prompt"].strip()
        keys = [entry.get("image", "image"), entry["target"], *([] if fixed else [entry["prompt"]])]
        images = relative_path(entry.get("images", "images").replace("{split}", "val"), str(entry_file))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{entry_file} is not the entry of a VQA dataset: {error!r}") from None
    items: list[_Question] = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if len(items) == most:
            break
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            if not all(isinstance(item[key], str) for key in keys):
                raise TypeError(f"expected texts under {', '.join(keys)}")
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise InputError(f"{file}: line {number} is no question of {entry_file.name}: {error!r}") from None
        image, target, *prompt = (item[key] for key in keys)
        place = folder / relative_path(f"{images}/{image}", str(entry_file))
        items.append(_Question(place, fixed or prompt[0], target.strip(), str(item.get("kind", ""))))
    if not items:
        raise InputError(f"{file} contains no questions; expected JSON lines with {', '.join(keys)}")
    return items
