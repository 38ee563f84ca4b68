"""Counts the tokens that neighbouring steps share: what a model could copy from its chunk of one step before.

For the chunks at steps t and t + 1 of the same episode, it counts the ids that both begin with, and the ids of the later chunk
that are in the earlier one in the same order (their longest common subsequence). With small vocabularies, chunks agree by
chance, so the same is counted for chunks that have nothing to do with each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.embodiment_actions import EmbodimentActions
from fasttok.tokenizer import ActionTokenizer

PAIRS = 2_000  # maximum number of pairs that are compared


@dataclass(frozen=True)
class SharedTokens:
    """Means over pairs of neighbouring steps.

    Attributes:
        pairs: number of pairs.
        tokens: ids of the later chunk.
        beginning: ids that both begin with.
        in_order: ids of the later chunk that the earlier one has in the same order.
        unrelated: ids of a chunk that an unrelated one has in the same order.
        same: share of the pairs with equal ids.
    """

    pairs: int
    tokens: float
    beginning: float
    in_order: float
    unrelated: float
    same: float

    @property
    def share(self) -> float:
        """Share of a chunk's ids that the chunk before has in the same order.

        >>> SharedTokens(10, tokens=20.0, beginning=2.0, in_order=8.0, unrelated=5.0, same=0.1).share
        0.4
        """
        return self.in_order / self.tokens if self.tokens else 0.0

    def to_json(self) -> dict[str, float]:
        """Returns plain values, for JSON."""
        return vars(self) | {"share": self.share}


def shared_tokens(tok: ActionTokenizer, group: EmbodimentActions, name: str | None) -> SharedTokens | None:
    """Compares neighbouring steps of the held-out episodes; None if no two steps follow each other."""
    pairs = group.neighbours("held_out", PAIRS)
    if not pairs:
        return None
    before, after = (tok.encode_report(chunks, embodiment=name, reference=near).ids for chunks, near in pairs)
    return compare(before, after)


def compare(before: Sequence[NDArray[Any]], after: Sequence[NDArray[Any]]) -> SharedTokens:
    """Compares the ids of chunks with those of the chunks one step later.

    >>> found = compare([np.array([5, 6, 7, 8])], [np.array([5, 7, 8, 9])])
    >>> found.beginning, found.in_order, found.share
    (1.0, 3.0, 0.75)
    """
    away = len(after) // 2 or 1
    others = [*after[away:], *after[:away]]
    common = [(list(a), list(b)) for a, b in zip(before, after, strict=True)]
    return SharedTokens(
        pairs=len(common),
        tokens=float(np.mean([len(b) for _, b in common])),
        beginning=float(np.mean([_beginning(a, b) for a, b in common])),
        in_order=float(np.mean([in_order(a, b) for a, b in common])),
        unrelated=float(np.mean([in_order(list(a), list(b)) for a, b in zip(before, others, strict=True)])),
        same=float(np.mean([a == b for a, b in common])),
    )


def _beginning(one: list[int], other: list[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def in_order(one: Sequence[int], other: Sequence[int]) -> int:
    """Returns the length of the longest common subsequence, by the bits of one number per row (Hyyrö 2004).

    >>> in_order([1, 2, 3, 4], [2, 9, 4, 1]), in_order([], [1])
    (2, 0)
    """
    places: dict[int, int] = {}
    for place, number in enumerate(one):
        places[number] = places.get(number, 0) | 1 << place
    full = (1 << len(one)) - 1
    free = full
    for number in other:
        met = free & places.get(number, 0)
        free = ((free + met) | (free - met)) & full
    return len(one) - free.bit_count()
