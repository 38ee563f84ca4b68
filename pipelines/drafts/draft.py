"""A first entry for a dataset: what its files say, what was assumed, and what only its owner knows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Draft:
    """A drafted entry.

    Attributes:
        text: YAML of the entry, without its guesses.
        assumed: what the files do not say and was decided from them; the entry stores it as `guesses`.
        questions: what must be answered before the entry can be used.
    """

    text: str
    assumed: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
