"""The arrays that encoding looks things up in, bundled for `fasttok.codec.merge`; numba takes a NamedTuple whole."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class EncodeTables(NamedTuple):
    """What `encode_rows` needs to know of a vocabulary.

    Attributes:
        classes: (codes,) class of each code, for a vocabulary whose fit cut rows into words; empty: a row is one word.
        one_word: a row whose codes are all in [one_word[0], one_word[1]) is one word.
        atoms: (3 * codes, 2 + most) row 3 * c + k: what code c begins as, where k says what comes before it, AFTER_OTHER,
            AFTER_ZEROS or AFTER_ZERO: how many symbols (COUNT; 0: there is none), how many symbols before it they replace
            (BACK), and the symbols (FIRST).
        longest_atom: number of symbols in the longest atom.
        zero_runs: (runs, 2 + most) what a run of coefficients 0 begins as: how many symbols (COUNT), what comes before the next
            code (CONTEXT), and the symbols (FIRST). One row: coefficients 0 begin as any other codes.
        symbols: how many symbols there are; that number itself is one that no merge has.
        pairs: see `pair_table`.
        made: (merges,) the new symbol of each rank.
    """

    classes: NDArray[np.uint8]
    one_word: tuple[int, int]
    atoms: NDArray[np.int32]
    longest_atom: int
    zero_runs: NDArray[np.int32]
    symbols: int
    pairs: NDArray[np.int64]
    made: NDArray[np.int32]

    @property
    def codes(self) -> int:
        """How many codes the tables cover."""
        return len(self.atoms) // 3
