"""A drafted entry: what the files of a dataset say, what was assumed, and what only its owner knows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Draft:
    """A drafted entry.

    Attributes:
        text: YAML of the entry, without its guesses.
        assumed: what the files do not say, so that the draft decided it; the entry stores it as `guesses`.
        questions: questions to answer before the entry can be used.
    """

    text: str
    assumed: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
