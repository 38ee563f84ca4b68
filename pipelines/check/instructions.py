"""Reads the instruction of an episode, from the feature that the entry names or from one with a usual name."""

from typing import Any

import numpy as np

from fasttok.episodes import Episode
from fasttok.episodes.dataset_entry import DatasetEntry
from pipelines.datasets.filters import only_value

USUAL = (
    "language_instruction", "natural_language_instruction", "observation/natural_language_instruction", "task", "language",
    "instruction", "observation/language_instruction", "episode_metadata/language_instruction", "prompt",
)  # fmt: skip


def instructions(entry: DatasetEntry | None, episode: Episode) -> tuple[str | None, bool]:
    """Returns the instruction that `index` takes, and whether later steps have another one.

    The instruction is "" if it is empty, None if the episode has no feature for it.
    """
    name = entry.language if entry is not None else _usual(episode)
    if name is None:
        return None, False
    codepoints = entry is not None and entry.language_format == "codepoints"
    if name not in episode.steps:
        return _text(episode.metadata.get(name), codepoints), False
    first = entry.drop_first if entry is not None and entry.drop_first < episode.length else 0
    values = episode.steps[name][first:]
    text = _text(values[0], codepoints)
    changes = isinstance(values, list) and any(value != values[0] for value in values)
    return text, changes and bool({_text(value, codepoints) for value in values} - {text, None, ""})


def _usual(episode: Episode) -> str | None:
    return next((name for name in USUAL if name in episode.steps or name in episode.metadata), None)


def _text(value: Any, codepoints: bool) -> str | None:
    if value is None:
        return None
    if codepoints:
        numbers = [int(number) for number in np.asarray(value).ravel().tolist()]
        return "".join(chr(n) for n in numbers[: numbers.index(0) if 0 in numbers else None] if 0 < n < 0x110000)
    value = only_value(value)
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    return " ".join(text.split())
