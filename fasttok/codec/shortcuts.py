"""Finds the merges of a vocabulary that can be done in advance without changing a single token, for `fasttok.codec.merge`.

BPE always merges the pair of lowest rank. A pair (a, b) of rank r is therefore safe to merge in advance on two conditions. First,
nothing can take a or b away before r: every merge (t, a), for any t that can get before a, and every merge (b, t) has a rank
above r. Second, every merge of the symbol that it makes has a rank above r. What can get before a depends on what comes before
the code that a begins; there are three cases.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, normalizers

from fasttok.codec.merge import (
    AFTER_OTHER,
    AFTER_ZERO,
    AFTER_ZEROS,
    BACK,
    BLANK,
    CONTEXT,
    COUNT,
    FIRST,
    LETTER,
    NUMBER,
    OTHER,
    SPACE,
)

NEVER = 2**31 - 1
LONGEST_LADDER = 8  # runs of fewer than 2**8 coefficients 0 are looked up whole


@dataclass(frozen=True)
class Atom:
    """The symbols that a code begins as.

    Attributes:
        symbols: these symbols.
        absorb: symbol that first replaces the symbol before the code; -1 for none.
    """

    symbols: list[int]
    absorb: int = -1


class Shortcuts:
    """Finds the merges of a vocabulary that are safe to do in advance."""

    def __init__(self, merges: NDArray[np.int32], pieces: Sequence[Any], zero: Sequence[int]) -> None:
        """Makes tables of the lowest ranks.

        Args:
            merges: (m, 3) left, right and new symbol, in order of rank.
            pieces: what each symbol stands for, bytes or characters.
            zero: the symbols of coefficient 0.
        """
        self.pieces = pieces
        self.rank: dict[tuple[int, int], int] = {}
        self.new = merges[:, 2].tolist()
        size = len(pieces)
        self.as_left = [NEVER] * size  # lowest rank of a merge (s, t), any t
        self.as_right = [NEVER] * size  # lowest rank of a merge (t, s), any t
        self.with_other = [NEVER] * size  # lowest rank of a merge of s with anything but s
        self.after_other = [NEVER] * size  # lowest rank of a merge (t, s), any t that does not end in a coefficient 0
        self.after_zeros = [NEVER] * size  # lowest rank of a merge (t, s), any t that ends in two of them
        self.begun: dict[int, list[tuple[int, int]]] = {}  # s -> (rank, t) of merges (s, t)
        end = pieces[0][:0].join(pieces[i] for i in zero)
        for rank, (left, right) in enumerate(merges[:, :2].tolist()):
            self.rank[left, right] = rank  # if a pair is listed twice, the library keeps the later rank
            self.begun.setdefault(left, []).append((rank, right))
            tables = [(self.as_left, left), (self.as_right, right)]
            if left != right:
                tables += [(self.with_other, left), (self.with_other, right)]
            if not zero or not pieces[left].endswith(end):
                tables.append((self.after_other, right))
            elif pieces[left].endswith(end + end):
                tables.append((self.after_zeros, right))
            for table, symbol in tables:
                table[symbol] = min(table[symbol], rank)
        self.ladder = self._ladder(zero) if zero else []
        self.before_zero = self._before(self.ladder[0]) if self.ladder else NEVER

    def atom(self, symbols: Sequence[int], after: int) -> Atom:
        """Returns what a code of these symbols begins as; `after` (AFTER_OTHER, AFTER_ZEROS, AFTER_ZERO) is what is before it."""
        symbols = list(symbols)
        if after == AFTER_ZERO and len(self.ladder) > 1:
            rank = self.rank.get((self.ladder[0], symbols[0]), NEVER)
            if rank != NEVER and rank < min(self.before_zero, self._within(symbols), self._due(rank)):
                return Atom(symbols[1:], self.new[rank])
        before = {AFTER_OTHER: self.after_other, AFTER_ZEROS: self.after_zeros, AFTER_ZERO: self.as_right}[after]
        return Atom(self._safe(symbols, before)[0])

    def atom_table(self, codes: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], int]:
        """Returns `EncodeTables.atoms` and `longest_atom` for codes of these symbols; a code without symbols has no atom."""
        contexts = (AFTER_OTHER, AFTER_ZEROS, AFTER_ZERO)
        atoms = [self.atom(symbols, after) if symbols else Atom([]) for symbols in codes for after in contexts]
        longest = max((len(atom.symbols) for atom in atoms), default=1)
        table = np.zeros((len(atoms), FIRST + 1 + longest), np.int32)
        for row, atom in zip(table, atoms, strict=True):
            put = [atom.absorb] * (atom.absorb >= 0) + atom.symbols
            row[COUNT], row[BACK], row[FIRST : FIRST + len(put)] = len(put), atom.absorb >= 0, put
        return table, max(1, longest)

    def zero_runs(self) -> NDArray[np.int32]:
        """Returns `EncodeTables.zero_runs`: a run begins as the powers of two that make up its length, the largest first."""
        levels = range(len(self.ladder))
        table = np.zeros((1 << len(levels), FIRST + len(levels)), np.int32)
        for run, row in enumerate(table):
            put = [self.ladder[level] for level in reversed(levels) if run >> level & 1]
            row[COUNT], row[FIRST : FIRST + len(put)] = len(put), put
            row[CONTEXT] = AFTER_OTHER if not run else AFTER_ZERO if run & 1 else AFTER_ZEROS
        return table

    def _due(self, rank: int) -> int:
        """Returns the lowest rank of a merge of the symbol that the merge of this rank makes."""
        return min(self.as_left[self.new[rank]], self.as_right[self.new[rank]]) if rank != NEVER else NEVER

    def _before(self, symbol: int) -> int:
        """Returns the lowest rank of a merge (t, symbol) in which t is not the symbol itself."""
        return min((rank for (a, b), rank in self.rank.items() if b == symbol and a != symbol), default=NEVER)

    def _within(self, symbols: Sequence[int]) -> int:
        """Returns the lowest rank at which the first symbol of a code can merge with what follows it."""
        if len(symbols) == 1:
            return self.as_left[symbols[0]]
        second = self.pieces[symbols[1]]
        merges = self.begun.get(symbols[0], [])
        return min((rank for rank, t in merges if self.pieces[t].startswith(second)), default=NEVER)

    def _safe(self, symbols: Sequence[int], before: Sequence[int]) -> tuple[list[int], int]:
        """Returns (`symbols` after their safe merges, the highest rank that was used, -1 for none).

        `before` has, for each symbol, the lowest rank at which what comes before can merge with it.
        """
        symbols, highest = list(symbols), -1
        while len(symbols) > 1:
            pairs = enumerate(itertools.pairwise(symbols))
            rank, i = min((self.rank.get(pair, NEVER), i) for i, pair in pairs)
            least = min((before if i == 0 else self.as_right)[symbols[i]], self.as_left[symbols[i + 1]])
            if rank == NEVER or min(least, self._due(rank)) <= max(highest, rank):
                break
            symbols[i : i + 2] = [self.new[rank]]
            highest = max(highest, rank)
        return symbols, highest

    def _ladder(self, zero: Sequence[int]) -> list[int]:
        """Returns the symbols for 1, 2, 4, ... coefficients 0 in a row, as far as no other merge can come in between.

        A step (s, s) of rank r is safe if r is above the ranks of the steps before it, and below those of all merges of a symbol
        so far with another symbol, and of all merges of what the step makes.
        """
        (first, *rest), highest = self._safe(zero, self.as_right)
        if rest:
            return []
        steps, others = [first], self.with_other[first]
        while True:
            rank = self.rank.get((steps[-1], steps[-1]), NEVER)
            if len(steps) == LONGEST_LADDER or rank == NEVER or not highest < rank < min(others, self._due(rank)):
                return steps
            steps.append(self.new[rank])
            highest, others = rank, min(others, self.with_other[steps[-1]])


def character_classes(count: int) -> NDArray[np.uint8]:
    """Returns the class of each code below `count` in GPT-2's pattern, by the library that the published code uses.

    >>> character_classes(128)[[ord("a"), ord("7"), ord(" ")]].tolist() == [LETTER, NUMBER, BLANK]
    True
    """
    # Surrogates and codes beyond Unicode are not characters; a row with such a code is refused.
    text = "".join(chr(c) if not 0xD800 <= c < 0xE000 and c <= 0x10FFFF else "x" for c in range(count))
    classes = np.full(count, OTHER, np.uint8)
    for pattern, kind in ((r"\p{L}", LETTER), (r"\p{N}", NUMBER), (r"\s", SPACE)):
        marked = normalizers.Replace(Regex(pattern), "\x00").normalize_str(text)
        hit = np.array([b == "\x00" and a != "\x00" for a, b in zip(text, marked, strict=True)])
        classes[hit] = kind
    classes[ord(" ") : ord(" ") + 1] = BLANK
    return classes


def one_word(classes: NDArray[np.uint8], code: int) -> tuple[int, int]:
    """Returns (start, stop) of the codes around `code` that make one word in any order; (0, 0) if there are none.

    >>> one_word(character_classes(128), ord("c")), one_word(character_classes(128), ord("'"))
    ((97, 123), (0, 0))
    """
    if not 0 <= code < len(classes) or classes[code] not in (LETTER, NUMBER):
        return 0, 0
    others = np.flatnonzero(classes != classes[code])
    at = int(np.searchsorted(others, code))
    return int(others[at - 1]) + 1 if at else 0, int(others[at]) if at < len(others) else len(classes)
