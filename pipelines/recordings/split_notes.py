"""Says what is in no split, or in several, of the splits that somebody declared."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fasttok.episodes.lerobot import few


def split_notes(of: Mapping[Any, Sequence[str]], what: str, by: str, most: int = 8) -> Iterator[str]:
    """Yields a line for what is in no split, and one for what is in several.

    Args:
        of: file or number of each thing -> the splits that it is in.
        what: what is divided, such as "episodes".
        by: what declares the splits.
        most: maximum number of things that a line names.

    >>> list(split_notes({1: ["train"], 2: [], 3: ["train", "val"]}, "episodes", "info.json"))
    ['1 episodes are in no split of info.json and are left out: 2', '1 episodes are in several splits (train, val): 3']
    """
    outside = [one for one, splits in of.items() if not splits]
    if outside:
        yield f"{len(outside)} {what} are in no split of {by} and are left out: {few(outside, most)}"
    twice = [one for one, splits in of.items() if len(splits) > 1]
    if twice:
        yield f"{len(twice)} {what} are in several splits ({', '.join(of[twice[0]])}): {few(twice, most)}"
