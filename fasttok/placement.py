"""Where FAST ids sit in a language model's vocabulary, and rows of them as rectangular batches with an end and padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError


@dataclass(frozen=True)
class Placement:
    """The last ids of a language model's vocabulary stand for actions: id -> vocab_size - 1 - skip - id.

    So does pi0-FAST with PaliGemma (openpi: vocab_size 257152, skip 128, since the last 128 are special); arXiv 2501.09747.

    Attributes:
        vocab_size: of the language model. skip: ids at its end that stay as they are. action_vocab: number of FAST ids.

    >>> lm = Placement(257_152, skip=128, action_vocab=2048)
    >>> lm.place([0, 5]), lm.ids_of([257023, 257018])
    (array([257023, 257018]), array([0, 5]))
    """

    vocab_size: int
    skip: int = 128
    action_vocab: int = 1024

    def __post_init__(self) -> None:
        if self.skip < 0 or self.action_vocab < 1 or self.skip + self.action_vocab > self.vocab_size:
            raise InputError(
                f"{self.action_vocab} action ids and {self.skip} skipped ones do not fit into a vocabulary of {self.vocab_size}"
            )

    def place(self, ids: Sequence[int] | NDArray) -> NDArray[np.int64]:
        """FAST ids -> language-model ids.

        Raises:
            InputError: an id outside [0, action_vocab).
        """
        array = np.asarray(ids, np.int64)
        self._check(array, array, "FAST id")
        return self.vocab_size - 1 - self.skip - array

    def ids_of(self, tokens: Sequence[int] | NDArray) -> NDArray[np.int64]:
        """The inverse.

        Raises:
            InputError: a token that stands for no action.
        """
        array = np.asarray(tokens, np.int64)
        ids = self.vocab_size - 1 - self.skip - array
        self._check(ids, array, "token")
        return ids

    def is_action(self, tokens: Sequence[int] | NDArray) -> NDArray[np.bool_]:
        """Which tokens stand for FAST ids."""
        ids = self.vocab_size - 1 - self.skip - np.asarray(tokens, np.int64)
        return (ids >= 0) & (ids < self.action_vocab)

    def _check(self, ids: NDArray, shown: NDArray, what: str) -> None:
        bad = np.flatnonzero((ids < 0) | (ids >= self.action_vocab))
        if len(bad):
            raise InputError(
                f"{what} {shown.reshape(-1)[bad[0]]} at position {bad[0]} is none of {self.action_vocab} actions"
            )


def pad(
    rows: Sequence[Sequence[int] | NDArray], length: int, *, pad_id: int, eos_id: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of ids as one array.

    Args:
        length: of every row. eos_id: put after each row's ids.

    Returns:
        (ids (rows, length), which of them are no padding).

    Raises:
        InputError: a row does not fit; nothing is cut.

    >>> pad([[7, 8], [9]], 4, pad_id=0, eos_id=1)[0]
    array([[7, 8, 1, 0],
           [9, 1, 0, 0]])
    """
    out = np.full((len(rows), length), pad_id, np.int64)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        full = [*row] if eos_id is None else [*row, eos_id]
        if len(full) > length:
            raise InputError(f"row {i} has {len(full)} ids with its end, more than {length}; make length larger")
        out[i, : len(full)], mask[i, : len(full)] = full, True
    return out, mask


def unpad(batch: NDArray, *, pad_id: int, eos_id: int | None = None) -> list[NDArray[np.int64]]:
    """The inverse of `pad`: each row up to its first end, or without the padding behind it.

    >>> unpad(np.array([[7, 8, 1, 0], [9, 1, 0, 0]]), pad_id=0, eos_id=1)
    [array([7, 8]), array([9])]
    """
    rows = []
    for row in np.asarray(batch, np.int64):
        if eos_id is not None and (row == eos_id).any():
            rows.append(row[: int((row == eos_id).argmax())])
        else:
            real = np.flatnonzero(row != pad_id)
            rows.append(row[: real[-1] + 1 if len(real) else 0])
    return rows
