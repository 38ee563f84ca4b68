"""Drafts the instruction of recordings: a text with a usual name."""

from collections.abc import Iterator, Sequence

import numpy as np

from fasttok.episodes import Episode
from pipelines.drafts.lines import flow

LANGUAGE = ("task", "language_instruction", "instruction", "language", "prompt", "task_description")


def language_lines(episodes: Sequence[Episode], assumed: list[str]) -> list[str]:
    """Returns the YAML lines of the instruction, and adds to `assumed` which text it is.

    Args:
        episodes: some episodes; one that has the text is enough, because others may lack an instruction.
        assumed: what the draft assumed so far.
    """
    texts = {name for episode in episodes for name in _texts(episode)}
    chosen = next((name for name in LANGUAGE if name in texts), "")
    if chosen:
        assumed.append(f"language: {chosen}, by its name")
        return [flow("language", chosen)]
    assumed.append(
        f"language: none, so prompts are empty; no text is called {', '.join(LANGUAGE[:-1])} or {LANGUAGE[-1]}"
    )
    return ["language: null", "filters: {language: false}"]


def _texts(episode: Episode) -> Iterator[str]:
    """Yields the names of the columns and values of an episode that contain text."""
    for name, values in {**episode.metadata, **episode.steps}.items():
        if isinstance(values, np.ndarray):
            values = values.tolist() if values.dtype.kind in "SU" else []
        if isinstance(values, str | bytes):
            values = [values]
        if isinstance(values, list) and any(isinstance(value, str | bytes) and value.strip() for value in values):
            yield name
