"""Byte-pair encoding over codes (rounded coefficients minus `min_token`).

Two alphabets, chosen at fit time and told apart when loading:

- `published`: as the FAST code does it. A chunk is a string of `chr(code)`, BPE runs on its UTF-8 bytes after the GPT-2
  regex. Files and tokens are identical to the published ones, and so is its flaw: bytes that the fit did not see have no
  token. `encode` notices and refuses; the published code drops them.
- `native`: BPE on the characters themselves, no regex, every code of the saved range in the alphabet. Nothing can be lost.

Both directions are compiled: `fasttok.codec.merge` and `fasttok.codec.expand`, imported when first needed.
"""

import itertools
import json
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
MAX_CODE = 0xD7FF  # the codes above are surrogates, which no string can hold
FIRST_AFTER_SURROGATES, MAX_UNICODE = 0xE000, 0x10FFFF
FIRST_TABLE = 1024  # codes that the tables of a published vocabulary cover before a batch asks for more
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
    """GPT-2's printable stand-in for each byte: character -> byte.

    >>> byte_alphabet()["A"], byte_alphabet()["Ġ"]
    (65, 32)
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


class NotFiniteError(Exception):
    """A coefficient that no code could stand for."""


@dataclass(frozen=True, eq=False)
class Bpe:
    """A learned vocabulary: codes to ids and back. Stateless but for caches, so threads may share it.

    Attributes:
        spec: the tokenizer.json.
        mode: the alphabet.
        tokens: by id.
        merges: (m, 3) ids of left, right and merged token, in order of rank.
        words: whether the GPT-2 pattern cuts a row into words that are encoded apart.
    """

    spec: str
    mode: Mode
    tokens: tuple[str, ...]
    merges: NDArray[np.int32]
    words: bool

    @classmethod
    def from_json(cls, text: str, where: str) -> "Bpe":
        """A tokenizer.json; the mode is read off its pre-tokenizer.

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
        """What a fit of a smaller vocabulary on the same data would have learned: the first merges only.

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
        """The same vocabulary, its file as a fit writes it; programs that save it again indent it, and add what is empty."""
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
        """The tokenizer.json, byte for byte what was read or learned."""
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
        """What merging begins with for a code; None if the vocabulary has no symbol for one of its bytes, or for it."""
        units = [code] if self.mode == "native" else list(chr(code).encode())
        symbols = [self._base.get(unit, -1) for unit in units]
        return None if -1 in symbols else symbols

    def encode(
        self, coefs: NDArray[np.float64], min_token: int, max_token: int | None, first: int = 0
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], int]:
        """Rounded coefficients (batch, n) to ids.

        Args:
            coefs: C-contiguous whole numbers.
            min_token: smallest coefficient that has a code; smaller ones are moved to it.
            max_token: largest coefficient that has a code, larger ones are moved to it; None for no limit.
            first: number of the first row, for messages.

        Returns:
            (ids of all rows joined, (batch,) how many each row has, (batch,) how many coefficients were moved,
            how many in all).

        Raises:
            InputError: a code has no token (only possible in a `published` vocabulary), naming row and code.
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
        """Tables that cover `highest`, kept for the next call; two threads may both build them, either result serves."""
        tables = self._widest_tables.get(zero)
        if tables is None or tables.codes <= highest:
            least = FIRST_TABLE if self.mode == "published" else max(self._base, default=0) + 1
            tables = self._build(min(max(least, highest + 1), MAX_UNICODE + 2), zero)
            self._widest_tables[zero] = tables
        return tables

    @cached_property
    def _widest_tables(self) -> dict[int, EncodeTables]:
        """Code of coefficient 0 -> the tables that cover most codes so far."""
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
        """Ids to coefficients.

        Args:
            ids: ids of all rows, joined.
            lengths: (batch,) how many ids each row has.
            size: number of coefficients of a whole row.
            min_token: coefficient of code 0.
            max_token: largest coefficient allowed, None for no limit.
            partial: whether a row of fewer coefficients is fine.

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
        """For each id of a row, the places of the first coefficient it takes part in, and of the first after it."""
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
    """The rows of a joined array, as views.

    >>> split(np.array([7, 8, 9]), np.array([2, 1]))
    [array([7, 8]), array([9])]
    """
    if len(lengths) == 1:
        return [flat]
    ends = np.cumsum(lengths).tolist()
    return [flat[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def join(rows: Sequence[Sequence[int] | NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of ids as one array and their lengths.

    Raises:
        InputError: an id is not a whole number.

    >>> join([[7, 8], [9]])
    (array([7, 8, 9]), array([2, 1]))
    """
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    try:
        if len(rows) == 1 and isinstance(rows[0], np.ndarray):  # a robot's call
            return rows[0].astype(np.int64, casting="same_kind", copy=False), lengths
        if rows and isinstance(rows[0], np.ndarray):
            return np.concatenate(rows, dtype=np.int64, casting="same_kind"), lengths
        return np.fromiter(itertools.chain.from_iterable(rows), np.int64, int(lengths.sum())), lengths
    except (TypeError, ValueError) as error:
        raise InputError(f"ids must be whole numbers, one sequence a row: {error}") from None
