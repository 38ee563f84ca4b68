"""Places FAST ids in a language model's vocabulary, and makes rectangular batches of rows of ids, with an end and padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.whole_numbers import whole_numbers
from fasttok.errors import InputError

Ids = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Placement:
    """Which tokens of a language model stand for actions, and which ones after them for states.

    FAST ids replace the last tokens of a pretrained vocabulary: id -> vocab_size - 1 - skip - id. pi0-FAST does so with PaliGemma
    (openpi: vocab_size 257152, skip 128, since the last 128 are special); see arXiv 2501.09747. With `skip=None`, they are new
    rows after the vocabulary instead: id -> vocab_size + id.

    Attributes:
        vocab_size: number of tokens of the language model.
        skip: number of tokens at the end of the vocabulary that are not replaced; None appends rows instead.
        action_vocab: number of FAST ids.
        state_vocab: number of state ids, for models that read the robot's state as tokens; they follow the FAST ids.

    >>> lm = Placement(257_152, skip=128, action_vocab=2048)
    >>> lm.place([0, 5]), lm.ids_of([257023, 257018]), lm.size
    (array([257023, 257018]), array([0, 5]), 257152)
    >>> own = Placement(600, skip=None, action_vocab=512, state_vocab=256)
    >>> own.place([0, 511]), own.place_state([0, 255]), own.size
    (array([ 600, 1111]), array([1112, 1367]), 1368)
    """

    vocab_size: int
    skip: int | None = 128
    action_vocab: int = 1024
    state_vocab: int = 0

    def __post_init__(self) -> None:
        skip, ids = self.skip or 0, self.action_vocab + self.state_vocab
        if min(skip, self.action_vocab, self.state_vocab) < 0 or (
            self.skip is not None and skip + ids > self.vocab_size
        ):
            states = f", {self.state_vocab} state ids" if self.state_vocab else ""
            raise InputError(
                f"{self.action_vocab} action ids{states} and {skip} skipped ones do not fit into a vocabulary of "
                f"{self.vocab_size}"
            )

    @property
    def size(self) -> int:
        """Number of rows that the model's embedding needs."""
        return self.vocab_size + (self.action_vocab + self.state_vocab if self.skip is None else 0)

    def place(self, ids: Ids) -> NDArray[np.int64]:
        """Converts FAST ids to language-model ids, of the same shape.

        Raises:
            InputError: an id is no whole number, or outside [0, action_vocab).
        """
        array = whole_numbers(ids, "FAST ids")
        _check(array, array, self.action_vocab, "FAST id", "actions")
        return self._token(array)

    def place_state(self, ids: Ids) -> NDArray[np.int64]:
        """Converts state ids to language-model ids, of the same shape.

        Raises:
            InputError: an id is no whole number, or outside [0, state_vocab).
        """
        array = whole_numbers(ids, "state ids")
        _check(array, array, self.state_vocab, "state id", "states")
        return self._token(self.action_vocab + array)

    def ids_of(self, tokens: Ids, *, check: bool = True) -> NDArray[np.int64]:
        """Converts language-model ids back to FAST ids; the inverse of `place`.

        Args:
            tokens: language-model ids.
            check: False accepts tokens that stand for no action; their ids are negative, or `action_vocab` and more.

        Raises:
            InputError: a token is no whole number, or stands for no action.
        """
        array = whole_numbers(tokens, "tokens")
        ids = array - self.vocab_size if self.skip is None else self.vocab_size - 1 - self.skip - array
        if check:
            _check(ids, array, self.action_vocab, "token", "actions")
        return ids

    def is_action(self, tokens: Ids) -> NDArray[np.bool_]:
        """Returns for each token whether it stands for a FAST id."""
        ids = self.ids_of(tokens, check=False)
        return (ids >= 0) & (ids < self.action_vocab)

    def is_text(self, tokens: Ids) -> NDArray[np.bool_]:
        """Returns for each token whether it is in the language model's vocabulary and stands for no action and no state."""
        array = whole_numbers(tokens, "tokens")
        ids = self.ids_of(array, check=False)
        ours = (ids >= 0) & (ids < self.action_vocab + self.state_vocab)
        return (array >= 0) & (array < self.vocab_size) & ~ours

    def _token(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.vocab_size + ids if self.skip is None else self.vocab_size - 1 - self.skip - ids


def _check(ids: NDArray[np.int64], shown: NDArray[np.int64], count: int, what: str, whole: str) -> None:
    bad = np.flatnonzero((ids < 0) | (ids >= count))
    if len(bad):
        raise InputError(f"{what} {shown.reshape(-1)[bad[0]]} at position {bad[0]} is none of {count} {whole}")


def pad(
    rows: Sequence[Ids], length: int, *, pad_id: int, eos_id: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pads rows of ids to one array.

    Args:
        rows: ids of each row.
        length: columns of the array.
        pad_id: id that fills the rest of a row.
        eos_id: id to put after the ids of each row; None for none.

    Returns:
        (rows, length) ids, and (rows, length) bool, False for padding.

    Raises:
        InputError: a row is longer than `length`, as rows are never cut; or an id is no whole number.

    >>> pad([[7, 8], [9]], 4, pad_id=0, eos_id=1)[0]
    array([[7, 8, 1, 0],
           [9, 1, 0, 0]])
    """
    out = np.full((len(rows), length), pad_id, np.int64)
    mask = np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        count = len(row) + (eos_id is not None)
        if count > length:
            raise InputError(f"row {i} has {count} ids with its end, more than {length}; make length larger")
        out[i, : len(row)], mask[i, :count] = whole_numbers(row, f"ids of row {i}"), True
        if eos_id is not None:
            out[i, len(row)] = eos_id
    return out, mask


def unpad(batch: NDArray[np.integer[Any]], *, pad_id: int, eos_id: int | None = None) -> list[NDArray[np.int64]]:
    """Undoes `pad`: returns each row up to its first `eos_id` or, if it has none, without the padding at its end.

    >>> unpad(np.array([[7, 8, 1, 0], [9, 1, 0, 0]]), pad_id=0, eos_id=1)
    [array([7, 8]), array([9])]
    """
    rows = []
    for row in whole_numbers(batch, "ids"):
        if eos_id is not None and (row == eos_id).any():
            rows.append(row[: int((row == eos_id).argmax())])
        else:
            real = np.flatnonzero(row != pad_id)
            rows.append(row[: real[-1] + 1 if len(real) else 0])
    return rows
