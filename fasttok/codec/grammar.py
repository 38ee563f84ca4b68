"""Says which ids may follow a prefix, so that every sampled sequence decodes to exactly the wanted number of coefficients.

A native id stands for whole codes. A published id stands for bytes and may end inside a UTF-8 character; the state is then the
unfinished character. A vocabulary has few such states, so what each id would do in each state is computed once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.codec.bpe import Bpe
from fasttok.common.whole_numbers import whole_numbers
from fasttok.errors import InputError

NEVER = np.int64(2**40)


class Grammar:
    """Finds continuations in a vocabulary whose codes are in [0, top]; a `top` of None is no limit."""

    def __init__(self, bpe: Bpe, top: int | None) -> None:
        self.bpe, self.top = bpe, top
        self._needs: dict[bytes, NDArray[np.int64]] = {}
        self._finishes: dict[bytes, bool] = {}
        if bpe.mode == "native":
            fits = [top is None or all(ord(c) <= top for c in piece) for piece in bpe.pieces]
            self._needs[b""] = np.where(fits, [len(piece) for piece in bpe.pieces], NEVER)

    def allowed(self, prefix: Sequence[int] | NDArray[Any], size: int) -> NDArray[np.int32]:
        """Returns the sorted ids that may follow `prefix` in a sequence of `size` codes; none if it is complete.

        Raises:
            InputError: the prefix cannot be completed.
        """
        done, pending = self._read(whole_numbers(prefix, "allowed_next: ids").reshape(-1))
        left = size - done
        if left < bool(pending):
            raise InputError(
                f"allowed_next: the prefix contains {done + bool(pending)} coefficients, expected at most {size}"
            )
        return np.flatnonzero(self._need(pending) <= left).astype(np.int32)

    def begins(self, prefix: Sequence[int] | NDArray[Any], size: int) -> bool:
        """Whether ids, complete or not, may begin a sequence of `size` codes."""
        try:
            done, pending = self._read(whole_numbers(prefix, "allowed_next: ids").reshape(-1))
        except InputError:
            return False
        return done + bool(pending) <= size

    def _read(self, prefix: NDArray[np.int64]) -> tuple[int, bytes]:
        """Returns (number of whole codes, bytes of an unfinished one)."""
        bad = np.flatnonzero((prefix < 0) | (prefix >= self.bpe.size))
        if len(bad):
            raise InputError(
                f"allowed_next: id {prefix[bad[0]]} at position {bad[0]} is outside the vocabulary of {self.bpe.size}"
            )
        if self.bpe.mode == "native":
            used = self._needs[b""][prefix]
            if (used == NEVER).any():
                raise InputError(f"allowed_next: id {prefix[int(used.argmax())]} contains a coefficient out of range")
            return int(used.sum()), b""
        raw = b"".join(self.bpe.pieces[i] for i in prefix)
        read = split_utf8(raw, self.top)
        if read is None or not self._finishable(read[1]):
            raise InputError("allowed_next: the prefix's bytes are no coefficients of the tokenizer's range")
        return read

    def _need(self, pending: bytes) -> NDArray[np.int64]:
        """Returns how many codes each id fills after `pending`, an unfinished last one included; NEVER if it is not allowed."""
        if pending not in self._needs:
            out = np.full(self.bpe.size, NEVER)
            for number, piece in enumerate(self.bpe.pieces):
                read = split_utf8(pending + piece, self.top) if piece else None
                if read is not None and self._finishable(read[1]):
                    out[number] = read[0] + bool(read[1])
            self._needs[pending] = out
        return self._needs[pending]

    def _finishable(self, pending: bytes) -> bool:
        """Whether ids of this vocabulary can finish the unfinished code, and nothing more."""
        if not pending:
            return True
        if pending not in self._finishes:
            ends = False
            for piece in self.bpe.pieces:
                read = split_utf8(pending + piece, self.top) if 0 < len(piece) <= 3 else None
                if read is None or read[0] + bool(read[1]) != 1:
                    continue
                if not read[1] or self._finishable(read[1]):
                    ends = True
                    break
            self._finishes[pending] = ends
        return self._finishes[pending]


def split_utf8(raw: bytes, top: int | None) -> tuple[int, bytes] | None:
    r"""Returns (number of whole characters, bytes of an unfinished last one); None if not UTF-8, or if a code exceeds `top`.

    >>> split_utf8("aé".encode()[:-1], None), split_utf8(b"ab", ord("a"))
    ((1, b'\xc3'), None)
    """
    pending = b""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return None
        pending = raw[error.start :]
        text = raw[: error.start].decode()
    if top is not None and text and ord(max(text)) > top:
        return None
    return len(text), pending
