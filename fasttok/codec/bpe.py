"""Byte-pair encoding over codes (rounded coefficients minus `min_token`).

There are two alphabets. A fit chooses one, and the tokenizer.json shows which:

- `published`: as in the FAST code. A chunk is a string of `chr(code)`, and BPE runs on its UTF-8 bytes after the GPT-2 regex.
  Files and tokens are identical to the published ones, and so is the flaw: bytes that the fit did not see have no token. `encode`
  raises an error for them; the published code drops them.
- `native`: BPE on the characters themselves, without a regex. Every code of the saved range is in the alphabet, so nothing can
  be lost.

Encoding and decoding are compiled: `fasttok.codec.merge` and `fasttok.codec.expand` are imported when first needed.
"""

import itertools
import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from fasttok.codec.tables import EncodeTables
from fasttok.common.choices import Mode
from fasttok.common.lfs_pointer import refuse_pointer
from fasttok.errors import InputError

if TYPE_CHECKING:
    from fasttok.codec.expand import Pieces

MODES: tuple[str, ...] = get_args(Mode)
MAX_CODE = 0xD7FF  # the codes above are surrogates, which no string can contain
FIRST_AFTER_SURROGATES, MAX_UNICODE = 0xE000, 0x10FFFF
FIRST_TABLE = 1024  # codes that the tables of a published vocabulary cover until a batch needs more
MAX_IDS = 2**20 - 2  # ranks and a place within a block share the 32 bits of a key in fasttok.codec.merge
UNSUPPORTED = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
    "ignore_merges",
)


def byte_alphabet() -> dict[str, int]:
    """Returns GPT-2's printable stand-ins for bytes: character -> byte.

    >>> byte_alphabet()["A"], byte_alphabet()["Ġ"]
    (65, 32)
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


class NotFiniteError(Exception):
    """A coefficient is NaN, or so far out of range that no code could stand for it."""


@dataclass(frozen=True, eq=False)
class Bpe:
    """A learned vocabulary, which turns codes into ids and back. It has no state except caches, so threads may share it.

    Attributes:
        spec: text of the tokenizer.json.
        mode: the alphabet.
        tokens: token of each id.
        merges: (m, 3) ids of left, right and merged token, in order of rank.
        words: whether the GPT-2 pattern cuts a row into words that are encoded separately.
    """

    spec: str
    mode: Mode
    tokens: tuple[str, ...]
    merges: NDArray[np.int32]
    words: bool

    @classmethod
    def from_json(cls, text: str, where: str) -> "Bpe":
        """Reads a tokenizer.json. Its pre-tokenizer decides the mode.

        Raises:
            InputError: it is not a BPE tokenizer whose tokens this package can repeat exactly.
        """
        try:
            spec = json.loads(text)
            model, pre = spec["model"], spec.get("pre_tokenizer") or {}
            kind, vocab = model["type"], dict(model["vocab"])
            pairs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
            merges = [(vocab[a], vocab[b], vocab[a + b]) for a, b in pairs]
            tokens = [""] * (max(vocab.values(), default=-1) + 1)
            for token, number in vocab.items():
                tokens[number] = token
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
            refuse_pointer(text, where)
            raise InputError(f"{where} is not a BPE tokenizer.json: {error!r}") from None
        if kind != "BPE" or pre.get("type") not in (None, "ByteLevel") or pre.get("add_prefix_space"):
            raise InputError(
                f"{where}: model {kind} with pre-tokenizer {pre}; expected BPE, byte-level without prefix space or plain "
                "characters"
            )
        strange = [key for key in UNSUPPORTED if model.get(key)] + (["normalizer"] if spec.get("normalizer") else [])
        if strange or len(tokens) > MAX_IDS:
            raise InputError(
                f"{where}: {', '.join(strange) or f'{len(tokens)} ids'} not supported; no FAST vocabulary has that"
            )
        mode: Mode = "published" if pre else "native"
        if mode == "native" and any(len(t) == 0 for t in tokens):
            raise InputError(f"{where}: ids without a token; a native vocabulary numbers its tokens without gaps")
        array = np.array(merges, np.int32).reshape(-1, 3)
        return cls(text, mode, tuple(tokens), array, bool(pre) and pre.get("use_regex", True))

    def truncated(self, size: int) -> "Bpe":
        """Returns the smaller vocabulary that a fit on the same data would have learned: it has only the first merges.

        Raises:
            InputError: `size` is smaller than the alphabet, or merges create a token twice.
        """
        alphabet = self.size - len(self.merges)
        if not alphabet <= size or len(set(self.merges[:, 2].tolist())) != len(self.merges):
            raise InputError(
                f"cannot cut a vocabulary of {alphabet} symbols and {len(self.merges)} merges to {size} ids"
            )
        spec = json.loads(self.spec)
        spec["model"]["merges"] = spec["model"]["merges"][: size - alphabet]
        spec["model"]["vocab"] = {token: i for i, token in enumerate(self.tokens) if i < size}
        return Bpe.from_json(json.dumps(spec, ensure_ascii=False), "the cut vocabulary")

    def as_fitted(self) -> "Bpe":
        """Returns the same vocabulary, with its file as a fit writes it. Other programs indent the file and add empty fields."""
        spec = json.loads(self.spec)
        if self.mode == "native":
            spec["post_processor"] = None
        return Bpe.from_json(json.dumps(spec, separators=(",", ":"), ensure_ascii=False), "the vocabulary")

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self.tokens)

    def same_ids(self, other: "Bpe") -> bool:
        """Whether two vocabularies give the same ids for everything, however their files are written."""
        return (
            (self.mode, self.words, self.tokens) == (other.mode, other.words, other.tokens)
            and self.merges.shape == other.merges.shape
            and bool((self.merges == other.merges).all())
        )

    def to_json(self) -> str:
        """Returns the text of the tokenizer.json, byte for byte as it was read or learned."""
        return self.spec

    @cached_property
    def pieces(self) -> list[Any]:
        """What each id stands for: UTF-8 bytes (published) or characters, one per code (native)."""
        if self.mode == "native":
            return list(self.tokens)
        alphabet = byte_alphabet()
        return [
            bytes(alphabet[c] for c in token) if all(c in alphabet for c in token) else token.encode()
            for token in self.tokens
        ]

    @cached_property
    def _base(self) -> dict[Any, int]:
        """Symbols that merging begins with: byte (published) or code (native) -> id."""
        ids = {token: number for number, token in enumerate(self.tokens)}
        if self.mode == "native":
            return {ord(token): number for token, number in ids.items() if len(token) == 1}
        return {byte: ids[char] for char, byte in byte_alphabet().items() if char in ids}

    def symbols(self, code: int) -> list[int] | None:
        """Returns the symbols that merging begins with for a code; None if the vocabulary has none for it or one of its bytes."""
        units = [code] if self.mode == "native" else list(chr(code).encode())
        symbols = [self._base.get(unit, -1) for unit in units]
        return None if -1 in symbols else symbols

    def encode(
        self, coefs: NDArray[np.float64], min_token: int, max_token: int | None, first: int = 0
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], int]:
        """Encodes rounded coefficients (batch, n) to ids.

        Args:
            coefs: C-contiguous whole numbers.
            min_token: smallest coefficient that has a code; smaller ones are moved to it.
            max_token: largest coefficient that has a code, larger ones are moved to it; None for no limit.
            first: number of the first row, for messages.

        Returns:
            (ids of all rows joined, (batch,) number of ids of each row, (batch,) number of coefficients of each row that were
            moved, their number in all rows).

        Raises:
            InputError: a code has no token (only possible in a `published` vocabulary); the message names row and code.
            NotFiniteError: a coefficient is NaN or far out of any range.
        """
        from fasttok.codec import merge

        top = MAX_UNICODE + 1 if max_token is None else max_token - min_token
        tables = self._widest_tables.get(-min_token) or self._tables(0, -min_token)
        while True:
            lengths, clamped = np.empty(len(coefs), np.int64), np.empty(len(coefs), np.int64)
            out = np.empty(coefs.size * tables.longest_atom, np.int32)
            what, total, moved = merge.encode_rows(coefs, min_token, top + min_token, tables, out, lengths, clamped)
            if what == merge.DONE:
                return out[:total].copy(), lengths, clamped, moved
            row, place = total, moved
            if what == merge.NOT_FINITE:
                raise NotFiniteError(f"row {first + row}, place {place}")
            code = int(coefs[row, place]) - min_token
            if what == merge.NO_SYMBOL:
                self._refuse(first + row, code)
            tables = self._tables(min(max(code, 0), top), -min_token)

    def _refuse(self, row: int, code: int) -> None:
        if MAX_CODE < code < FIRST_AFTER_SURROGATES or code > MAX_UNICODE:
            raise InputError(f"row {row}: code {code}, which no token string can contain; are the actions normalised?")
        raise InputError(
            f"row {row}: this vocabulary has no token for code {code}, which its fit never saw (the published code would "
            "drop it silently); refit with mode 'native', or on more data"
        )

    def _tables(self, highest: int, zero: int) -> EncodeTables:
        """Returns tables that cover `highest`, and keeps them for the next call. If two threads build them, either will do."""
        tables = self._widest_tables.get(zero)
        if tables is None or tables.codes <= highest:
            least = FIRST_TABLE if self.mode == "published" else max(self._base, default=0) + 1
            tables = self._build(min(max(least, highest + 1), MAX_UNICODE + 2), zero)
            self._widest_tables[zero] = tables
        return tables

    @cached_property
    def _widest_tables(self) -> dict[int, EncodeTables]:
        """Code of coefficient 0 -> the tables that cover the most codes so far."""
        return {}

    def _build(self, count: int, zero: int) -> EncodeTables:
        from fasttok.codec import merge
        from fasttok.codec.shortcuts import Shortcuts, character_classes, one_word

        codes: list[list[int]] = [
            [] if MAX_CODE < code < FIRST_AFTER_SURROGATES or code > MAX_UNICODE else self.symbols(code) or []
            for code in range(count)
        ]
        shortcuts = Shortcuts(self.merges, self.pieces, codes[zero] if 0 <= zero < count else [])
        classes = character_classes(count) if self.words else np.zeros(0, np.uint8)
        return EncodeTables(
            classes,
            one_word(classes, zero),
            *shortcuts.atom_table(codes),
            shortcuts.zero_runs(),
            self.size,
            merge.pair_table(self.merges, self.size),
            np.ascontiguousarray(self.merges[:, 2]),
        )

    def decode(
        self,
        ids: NDArray[np.int64],
        lengths: NDArray[np.int64],
        size: int,
        min_token: int,
        max_token: int | None,
        partial: bool = False,
    ) -> tuple[NDArray[np.float64], dict[int, str]]:
        """Decodes ids to coefficients.

        Args:
            ids: ids of all rows, joined.
            lengths: (batch,) number of ids of each row.
            size: number of coefficients of a whole row.
            min_token: coefficient of code 0.
            max_token: largest coefficient allowed, None for no limit.
            partial: whether a row may have fewer coefficients.

        Returns:
            ((batch, size) float64: the longest readable beginning of each row, then 0; row -> what is wrong with it).
        """
        from fasttok.codec import expand

        memory = np.empty(len(lengths) * size + expand.SLACK)
        ends = lengths if len(lengths) == 1 else np.cumsum(lengths)
        out = memory[: len(lengths) * size].reshape(len(lengths), size)
        top = MAX_UNICODE if max_token is None else max_token - min_token
        values = self._values.get(min_token)
        if values is None:
            values = self._values[min_token] = self._expansions.values(min_token)
        if expand.expand_rows(ids, ends, self._expansions, top, values, min_token, memory):
            return out, {}
        found = np.empty((len(lengths), 3), np.int64)
        expand.find_faults(ids, ends, self._expansions, top, min_token, out, found)
        counts, faults = found[:, 0], found[:, 1:]
        says = {
            expand.OUTSIDE: f"the id at position {{}} is outside the vocabulary of {self.size}",
            expand.NOT_UTF8: "the tokens' bytes are not UTF-8 at id {}",
            expand.TOO_HIGH: f"the coefficient at place {{}} exceeds {max_token}",
        }
        wrong = {row: says[int(faults[row, 0])].format(faults[row, 1]) for row in np.flatnonzero(faults[:, 0]).tolist()}
        for row in np.flatnonzero(counts > size if partial else counts != size).tolist():
            wrong.setdefault(row, f"{counts[row]} coefficients, expected {'at most ' * partial}{size}")
        return out, wrong

    @cached_property
    def _expansions(self) -> "Pieces":
        from fasttok.codec.expand import pieces_of

        return pieces_of(self.pieces)

    @cached_property
    def _values(self) -> dict[int, NDArray[np.float64]]:
        """Coefficient of code 0 -> `Pieces.values`."""
        return {}

    def spans(self, ids: NDArray[Any]) -> list[tuple[int, int]]:
        """Returns (start, stop) for each id of a row: the places of the coefficients that it stands for, in whole or in part."""
        out, units = [], 0
        joined = b"".join(p if isinstance(p, bytes) else p.encode() for p in (self.pieces[i] for i in ids))
        begins = np.cumsum([byte & 0xC0 != 0x80 for byte in joined])  # characters begun up to each byte
        for number in ids:
            piece = self.pieces[number]
            taken = len(piece) if isinstance(piece, bytes) else len(piece.encode())
            out.append((int(begins[units]) - 1, int(begins[units + taken - 1])))
            units += taken
        return out


def split(flat: NDArray[Any], lengths: NDArray[Any]) -> list[NDArray[Any]]:
    """Returns the rows of a joined array, as views.

    >>> split(np.array([7, 8, 9]), np.array([2, 1]))
    [array([7, 8]), array([9])]
    >>> split(np.array([], int), np.array([], int))
    []
    """
    if len(lengths) == 1:
        return [flat]
    return [flat[start:end] for start, end in itertools.pairwise([0, *np.cumsum(lengths).tolist()])]


def join(rows: Sequence[Sequence[int] | NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Joins rows of ids; returns one array and the lengths of the rows.

    Raises:
        InputError: an id is not a whole number.

    >>> join([[7, 8], [9]])
    (array([7, 8, 9]), array([2, 1]))
    """
    if any(isinstance(row, np.ndarray) and not row.size for row in rows):  # NumPy makes floats of an empty list
        rows = [row if len(row) else np.empty(0, np.int64) for row in rows]
    try:
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        if len(rows) == 1 and isinstance(rows[0], np.ndarray):  # a robot's call: one row, not copied
            return rows[0].astype(np.int64, casting="same_kind", copy=False), lengths
        if rows and isinstance(rows[0], np.ndarray):
            return np.concatenate(rows, dtype=np.int64, casting="same_kind"), lengths
        numbers = map(operator.index, itertools.chain.from_iterable(rows))  # fromiter alone would cut 38.9 to 38
        return np.fromiter(numbers, np.int64, int(lengths.sum())), lengths
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"ids must be whole numbers, one sequence per row: {error}") from None
