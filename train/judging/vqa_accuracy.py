"""Measures how many questions of a VQA dataset a trained run answers correctly."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import yaml

from fasttok.common.console import track
from fasttok.common.names import relative_path
from fasttok.errors import InputError
from train.given_paths import check_questions
from train.judging.measurements import VqaResult
from train.player import ANSWER_TOKENS, Player


def answer_questions(player: Player, folder: Path, most: int) -> VqaResult:
    """Measures exact-match accuracy on a VQA dataset's val split, and that of always giving the most common answer of a kind.

    Args:
        player: run that answers.
        folder: folder of the dataset.
        most: how many questions to ask, at least 1, from the first on.

    Raises:
        InputError: `folder` is not a VQA dataset, or has no val split.
    """
    entry_file = folder / "dataset.yaml"
    check_questions(folder)
    entry, items = _questions(folder, entry_file, most)
    # One more token than the longest target has, so that a longer answer is not cut to a right one.
    longest = max((len(player.encoder.answer(item[entry["target"]].strip())) for item in items), default=0)
    most_tokens = max(ANSWER_TOKENS, longest)
    right: list[int] = []
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for start in track(range(0, len(items), player.batch), "answering", unit="batches"):
        asked = items[start : start + player.batch]
        images = [
            (folder / relative_path(f"{entry['images']}/{item[entry['image']]}", str(entry_file))).read_bytes()
            for item in asked
        ]
        answers = player.answer([item[entry["prompt"]] for item in asked], images, most_tokens)
        for item, answer in zip(asked, answers, strict=True):
            right.append(int(answer == item[entry["target"]].strip()))
            kinds[item.get("kind", "")][item[entry["target"]].strip()] += 1
    common = sum(counts.most_common(1)[0][1] for counts in kinds.values())
    total = max(len(items), 1)
    return VqaResult(len(items), sum(right) / total, common / total, tuple(right))


def _questions(folder: Path, entry_file: Path, most: int) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Reads the entry of a dataset, and its first questions.

    Raises:
        InputError: the entry is not that of a VQA dataset with a val split, or a line lacks a value that the entry names.
    """
    try:
        entry = yaml.safe_load(entry_file.read_text(encoding="utf-8"))
        splits = entry.get("splits") or {}
        if entry.get("kind") != "vqa" or "val" not in splits:
            raise InputError(f"{entry_file}: expected kind vqa and a val split, got {entry.get('kind')} with {splits}")
        file = folder / relative_path(splits["val"], str(entry_file))
        keys = [entry[key] for key in ("image", "prompt", "target")]
        relative_path(entry["images"], str(entry_file))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{entry_file} is not the entry of a VQA dataset: {error!r}") from None
    items = []
    for number, line in enumerate(file.read_bytes().splitlines()[:most], 1):
        try:
            item = json.loads(line)
            if not all(isinstance(item[key], str) for key in keys):
                raise TypeError(f"expected texts under {', '.join(keys)}")
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise InputError(f"{file}: line {number} is no question of {entry_file.name}: {error!r}") from None
        items.append(item)
    return entry, items
