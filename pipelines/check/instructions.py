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


def instruction(entry: DatasetEntry | None, episode: Episode) -> str | None:
    """Returns the instruction; "" if it is empty, None if the episode has no feature for it."""
    if entry is not None:
        return None if entry.language is None else _text(entry.language, episode, entry.language_format == "codepoints")
    for name in USUAL:
        if name in episode.steps or name in episode.metadata:
            return _text(name, episode, False)
    return None


def _text(name: str, episode: Episode, codepoints: bool) -> str | None:
    value: Any = episode.steps[name][0] if name in episode.steps else episode.metadata.get(name)
    if value is None:
        return None
    if codepoints:
        numbers = [int(number) for number in np.asarray(value).ravel().tolist()]
        return "".join(chr(n) for n in numbers[: numbers.index(0) if 0 in numbers else None] if 0 < n < 0x110000)
    value = only_value(value)
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    return " ".join(text.split())
