"""Tables of how few tokens can complete an action chunk, by its unfinished character and the number of codes that are left.

A token of a published vocabulary is a piece of UTF-8 and may end inside a character; a native token never does. Unfinished
characters that the same bytes can finish count as one state, so there are few states. For each state, the tables say what every
id would do and, for each number of codes that are left, how few tokens can fill them. With the tables, a decoder that has a
limit on tokens stays on a path that ends in time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttok.codec.bpe import Bpe
from fasttok.codec.grammar import split_utf8
from fasttok.errors import InputError

NEVER = 2**30
PARTICULAR = (b"\xe0", b"\xed", b"\xf0", b"\xf4")  # only some bytes of 0x80 to 0xBF may follow (RFC 3629, section 4)
ANY_BYTES = (
    b"",
    b"\xc2",
    b"\xe1",
    b"\xf1",
)  # by the number of missing bytes: the smallest beginning that any bytes of 0x80 to 0xBF finish


@dataclass(frozen=True, eq=False)
class Completions:
    """How sequences of ids can fill exactly `size` codes.

    There are V ids and P states; in the first state, no character is unfinished.

    Attributes:
        size: number of codes of a chunk.
        whole: (P, V) int32: number of codes that an id completes.
        after: (P, V) int32: the state after an id; P if the id is not allowed.
        fewest: (P + 1, size + 1) int32: smallest number of ids that fill so many codes from a state; NEVER if none do.
        most: largest number of ids in a chunk.
    """

    size: int
    whole: NDArray[np.int32]
    after: NDArray[np.int32]
    fewest: NDArray[np.int32]
    most: int

    @classmethod
    def of(cls, bpe: Bpe, top: int | None, size: int) -> "Completions":
        """Makes the tables of a vocabulary.

        Args:
            bpe: the vocabulary.
            top: largest code; None for no limit.
            size: number of codes of a chunk, at least 1.

        Raises:
            InputError: no sequence of ids has `size` codes.
        """
        whole, after, missing = _steps(bpe, top)
        fewest, most = _counts(whole, after, missing, size)
        if fewest[0, size] >= NEVER:
            raise InputError(f"no sequence of this vocabulary's ids stands for exactly {size} coefficients")
        return cls(size, whole, after, fewest, most)

    def possible(self, pending: int, left: int) -> bool:
        """Whether there are ids that finish the character of the state `pending` and complete `left` codes in all."""
        return bool(self.fewest[pending, left] < NEVER)

    def allowed(self, pending: int, left: int, budget: int) -> NDArray[np.bool_]:
        """Returns which ids may come next.

        Args:
            pending: the state.
            left: number of codes that are not complete yet.
            budget: number of tokens that remain, this one included.

        Returns:
            (V,) bool.
        """
        rest = left - self.whole[pending]
        fits = self.fewest[self.after[pending], np.maximum(rest, 0)] < budget
        return np.asarray(fits & (rest >= 0), np.bool_)


def _steps(bpe: Bpe, top: int | None) -> tuple[NDArray[np.int32], NDArray[np.int32], list[int]]:
    """Returns `whole`, `after`, and how many bytes the unfinished character of each state lacks."""
    pieces = [piece if isinstance(piece, bytes) else piece.encode() for piece in bpe.pieces]
    continues = [number for number, piece in enumerate(pieces) if piece and piece[0] & 0xC0 == 0x80]
    begins = [number for number, piece in enumerate(pieces) if piece and piece[0] & 0xC0 != 0x80]
    known = {b"": 0}
    waiting, rows = [b""], []
    while waiting:
        pending = waiting.pop(0)
        ends = {}
        for number in continues if pending else begins:
            read = split_utf8(pending + pieces[number], top)
            state = None if read is None else _state(read[1], top)
            if read is not None and state is not None:
                ends[number] = (read[0], state)
                if state not in known:
                    known[state] = len(known)
                    waiting.append(state)
        rows.append(ends)
    whole = np.zeros((len(known), len(pieces)), np.int32)
    after = np.full((len(known), len(pieces)), len(known), np.int32)
    for row, ends in enumerate(rows):
        for number, (count, left) in ends.items():
            whole[row, number], after[row, number] = count, known[left]
    return whole, after, [_missing(pending) for pending in known]


def _state(pending: bytes, top: int | None) -> bytes | None:
    r"""Returns the beginning that stands for all that the same bytes finish; None if every code that it begins exceeds `top`.

    >>> _state(b"\xc3", None), _state(b"\xe1\x80", None), _state(b"\xc3", 0xC1), _state(b"\xc3", 0x90)
    (b'\xc2', b'\xc2', b'\xc3', None)
    """
    if not pending:
        return pending
    missing = _missing(pending)
    code = pending[0] & (0x7F >> (len(pending) + missing))
    for byte in pending[1:]:
        code = code << 6 | byte & 0x3F
    first = code << 6 * missing
    if top is not None and first > top:
        return None
    if (top is not None and first + (1 << 6 * missing) - 1 > top) or pending in PARTICULAR:
        return pending
    return ANY_BYTES[missing]


def _missing(pending: bytes) -> int:
    """Returns how many bytes an unfinished character lacks."""
    if not pending:
        return 0
    return (2 if pending[0] < 0xE0 else 3 if pending[0] < 0xF0 else 4) - len(pending)


def _counts(
    whole: NDArray[np.int32], after: NDArray[np.int32], missing: list[int], size: int
) -> tuple[NDArray[np.int32], int]:
    """Returns `fewest` and `most`. Computes them for each number of codes that are left, from 0 upwards."""
    kinds = [
        np.unique(np.stack([after[row], whole[row]], 1)[after[row] < len(whole)], axis=0) for row in range(len(whole))
    ]
    fewest = np.full((len(whole) + 1, size + 1), NEVER, np.int32)
    most = np.full((len(whole) + 1, size + 1), -NEVER, np.int32)
    fewest[0, 0] = most[0, 0] = 0
    order = sorted(
        range(len(whole)), key=lambda row: missing[row] or 9
    )  # an id that completes no code leads to a state that is earlier in this order
    for left in range(size + 1):
        for row in order:
            to, ended = kinds[row].T
            fits = ended <= left
            if (row, left) == (0, 0) or not fits.any():
                continue
            fewest[row, left] = min(NEVER, 1 + fewest[to[fits], left - ended[fits]].min())
            most[row, left] = max(-NEVER, 1 + most[to[fits], left - ended[fits]].max())
    return fewest, int(most[0, size])
