"""Computes how many bits token sequences need for a reader who has seen similar ones: an upper bound on their entropy.

A reader predicts each token from all tokens before it, by how often it has seen it follow them. If it has seen little, it falls
back on what it has seen at this position, then at any position, then on all tokens being equally likely (interpolated Witten-Bell
smoothing: Witten and Bell 1991, method C). No code is shorter on average than the entropy, so the result is never too low.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

END = -1  # stands for the end of a sequence
Context = tuple[str, tuple[int, ...]]


def contexts(before: tuple[int, ...]) -> tuple[Context, ...]:
    """Returns the contexts that predict a token, the most specific last: none, its position, and all tokens before it."""
    return ("any", ()), ("place", (len(before),)), ("after", before)


@dataclass
class Reader:
    """Counts which tokens followed which contexts.

    Attributes:
        counts: for each context, how often each token was seen in it.
    """

    counts: dict[Context, Counter[int]] = field(default_factory=dict)

    def add(self, sequence: Sequence[int], times: int = 1) -> None:
        """Counts a sequence `times` times; -1 takes it out again."""
        whole = (*sequence, END)
        for i, token in enumerate(whole):
            for context in contexts(whole[:i]):
                seen = self.counts.setdefault(context, Counter())
                seen[token] += times
                if not seen[token]:
                    del seen[token]

    def refine(self, chance: float, token: int, before: tuple[int, ...]) -> float:
        """Returns a token's probability, after this reader's counts have refined an earlier estimate.

        Args:
            chance: the earlier estimate, in [0, 1].
            token: the token that follows.
            before: all tokens before it.
        """
        for context in contexts(before):
            seen = self.counts.get(context)
            if seen:
                kinds = len(seen)
                chance = (seen[token] + kinds * chance) / (seen.total() + kinds)
        return chance


def bits(sequence: Sequence[int], readers: Sequence[Reader], vocabulary: int) -> float:
    """Returns the bits that a sequence needs, including its end.

    Args:
        sequence: ids in [0, vocabulary).
        readers: the readers that predict; the one that knows most comes last.
        vocabulary: number of ids.

    >>> reader = Reader()
    >>> bits([0], [reader], 3)
    4.0
    >>> for _ in range(1000):
    ...     reader.add([0])
    >>> bits([0], [reader], 3) < 0.01
    True
    """
    whole, total = (*sequence, END), 0.0
    for i, token in enumerate(whole):
        chance = 1.0 / (vocabulary + 1)
        for reader in readers:
            chance = reader.refine(chance, token, whole[:i])
        total -= math.log2(chance)
    return total


def plug_in(sequences: Sequence[tuple[int, ...]]) -> float:
    """Returns the entropy in bits of the sequences' frequencies. It is too low for few sequences: at most log2 of their number.

    >>> plug_in([(1, 2), (1, 2), (3,), (4,)])
    1.5
    """
    total = len(sequences)
    return -sum(n / total * math.log2(n / total) for n in Counter(sequences).values())
