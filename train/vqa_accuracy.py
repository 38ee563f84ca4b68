"""How many questions of a VQA dataset a trained run answers rightly."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import yaml

from fasttok.common.console import track
from fasttok.errors import InputError
from train.measurements import VqaResult
from train.player import Player


def answer_questions(player: Player, folder: Path, most: int) -> VqaResult:
    """Exact-match accuracy on a VQA dataset's val split, beside always giving the most common answer of a question's kind.

    Args:
        player: answers.
        folder: of the dataset.
        most: questions to ask, the first ones.

    Raises:
        InputError: not a VQA dataset, or it has no val split.
    """
    entry_file = folder / "dataset.yaml"
    if not entry_file.is_file():
        raise InputError(
            f"{folder} has no dataset.yaml; expected a VQA dataset such as `fasttok-pipelines index` takes"
        )
    entry = yaml.safe_load(entry_file.read_text(encoding="utf-8"))
    if entry.get("kind") != "vqa" or "val" not in entry.get("splits", {}):
        raise InputError(
            f"{entry_file}: expected kind vqa and a val split, got {entry.get('kind')} with {entry.get('splits')}"
        )
    lines = (folder / entry["splits"]["val"]).read_text(encoding="utf-8").splitlines()[:most]
    items = [json.loads(line) for line in lines]
    right: list[int] = []
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for start in track(range(0, len(items), player.batch), "answering", unit="batches"):
        asked = items[start : start + player.batch]
        images = [(folder / entry["images"] / item[entry["image"]]).read_bytes() for item in asked]
        answers = player.answer([item[entry["prompt"]] for item in asked], images)
        for item, answer in zip(asked, answers, strict=True):
            right.append(int(answer == item[entry["target"]].strip()))
            kinds[item.get("kind", "")][item[entry["target"]].strip()] += 1
    common = sum(counts.most_common(1)[0][1] for counts in kinds.values())
    total = max(len(items), 1)
    return VqaResult(len(items), sum(right) / total, common / total, tuple(right))
