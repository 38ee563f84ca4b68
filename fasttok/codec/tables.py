"""The look-up tables of encoding, in one NamedTuple for `fasttok.codec.merge`: numba takes it as one argument."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class EncodeTables(NamedTuple):
    """What `encode_rows` needs to know about a vocabulary.

    Attributes:
        classes: (codes,) class of each code, for a vocabulary whose fit cut rows into words; empty if each row is one word.
        one_word: a row whose codes are all in [one_word[0], one_word[1]) is one word.
        atoms: (3 * codes, 2 + most) row 3 * c + k says what code c begins as if k (AFTER_OTHER, AFTER_ZEROS or AFTER_ZERO) comes
            before it: the number of symbols (COUNT; 0 if the code has none), how many symbols before it they replace (BACK), and
            the symbols (from FIRST on).
        longest_atom: number of symbols in the longest atom.
        zero_runs: (runs, 2 + most) what a run of coefficients 0 begins as: the number of symbols (COUNT), what comes before the
            next code (CONTEXT), and the symbols (from FIRST on). With only one row, coefficients 0 begin as other codes do.
        symbols: number of symbols; the number itself is a symbol that no merge has.
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
