"""The arrays that encoding looks things up in, bundled for `fasttok.codec.merge`; numba takes a NamedTuple whole."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class EncodeTables(NamedTuple):
    """What `encode_rows` needs to know of a vocabulary.

    Attributes:
        classes: (codes,) class of each code, for a vocabulary whose fit cut rows into words; empty: a row is one word.
        atom_starts: (3 * codes + 1,) code c begins as atoms[atom_starts[3 * c + k]:atom_starts[3 * c + k + 1]], where k says
            what comes before it: AFTER_OTHER, AFTER_ZEROS or AFTER_ZERO.
        atoms: symbols of all atoms, joined.
        absorbed: (codes,) for each code after AFTER_ZERO, what that coefficient 0 becomes, or -1.
        longest_atom: number of symbols in the longest atom.
        ladder: a run of 2**k coefficients 0 begins as ladder[k]; empty: it begins as any other codes.
        base: (symbols + 1,) see `pair_table`.
        pairs: see `pair_table`.
        made: (merges,) the new symbol of each rank.
    """

    classes: NDArray[np.uint8]
    atom_starts: NDArray[np.int32]
    atoms: NDArray[np.int32]
    absorbed: NDArray[np.int32]
    longest_atom: int
    ladder: NDArray[np.int32]
    base: NDArray[np.int64]
    pairs: NDArray[np.int64]
    made: NDArray[np.int32]

    @property
    def codes(self) -> int:
        """How many codes the tables cover."""
        return len(self.absorbed)
