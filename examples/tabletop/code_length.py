"""How many bits token sequences take for a reader who has seen others like them: an upper bound of their entropy.

A reader predicts each token from the tokens before it, as often as it has seen it follow them; where it has seen little, it
falls back on what it has seen at this place, then anywhere, then on every token alike (interpolated Witten-Bell smoothing: Witten
and Bell 1991, method C). No code is shorter on average than the entropy, so this is never too low.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

END = -1  # the token after the last
Context = tuple[str, tuple[int, ...]]


def contexts(before: tuple[int, ...]) -> tuple[Context, ...]:
    """What a token is predicted from, the most telling last: anything, its place, all tokens before it."""
    return ("any", ()), ("place", (len(before),)), ("after", before)


@dataclass
class Reader:
    """Counts of what followed what.

    Attributes:
        counts: context -> token -> how often it was seen.
    """

    counts: dict[Context, Counter[int]] = field(default_factory=dict)

    def add(self, sequence: Sequence[int], times: int = 1) -> None:
        """Sees a sequence; with -1 forgets it again."""
        whole = (*sequence, END)
        for i, token in enumerate(whole):
            for context in contexts(whole[:i]):
                seen = self.counts.setdefault(context, Counter())
                seen[token] += times
                if not seen[token]:
                    del seen[token]

    def refine(self, chance: float, token: int, before: tuple[int, ...]) -> float:
        """A token's probability, once what this reader has seen is added to what was believed before.

        Args:
            chance: that was believed.
            token: that follows.
            before: all tokens before it.
        """
        for context in contexts(before):
            seen = self.counts.get(context)
            if seen:
                kinds = len(seen)
                chance = (seen[token] + kinds * chance) / (seen.total() + kinds)
        return chance


def bits(sequence: Sequence[int], readers: Sequence[Reader], vocabulary: int) -> float:
    """Bits that a sequence takes, its end included.

    Args:
        sequence: ids in [0, vocabulary).
        readers: who predict, the one that knows most last.
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
    """Entropy in bits of the sequences as often as they were seen: of few it is too low, and never above log2 of their number.

    >>> plug_in([(1, 2), (1, 2), (3,), (4,)])
    1.5
    """
    total = len(sequences)
    return -sum(n / total * math.log2(n / total) for n in Counter(sequences).values())
