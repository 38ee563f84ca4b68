"""Byte-pair encoding over codes (rounded coefficients minus `min_token`), on the `tokenizers` library.

Two alphabets, chosen at fit time and told apart when loading:

- `published`: as the FAST code does it. A chunk is a string of `chr(code)`, BPE runs on its UTF-8 bytes after the GPT-2
  regex. Files and tokens are identical to the published ones, and so is its flaw: bytes that the fit did not see have no
  token. `encode` notices and refuses; the published code drops them.
- `native`: BPE on the characters themselves, no regex, every code of the saved range in the alphabet. Nothing can be lost.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from fasttok.errors import InputError

Mode = Literal["native", "published"]
MODES: tuple[str, ...] = get_args(Mode)
MAX_CODE = 0xD7FF  # the codes above are surrogates, which no string can hold
FIRST_AFTER_SURROGATES, MAX_UNICODE = 0xE000, 0x10FFFF
MAX_TOKEN_LENGTH = 10_000
MIN_FREQUENCY = 2


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte: character -> byte.

    >>> byte_alphabet()["A"], byte_alphabet()["Ġ"]
    (65, 32)
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


def train(codes: Iterable[str], mode: Mode, vocab_size: int, top_code: int) -> Tokenizer:
    """Learns merges.

    Args:
        codes: one string of `chr(code)` per chunk.
        top_code: the largest code of the saved range; the alphabet is 0..top_code.

    Raises:
        InputError: the alphabet alone is larger than `vocab_size`.
    """
    if top_code > MAX_CODE:
        raise InputError(
            f"the coefficients span {top_code + 1} codes, more than the {MAX_CODE + 1} that tokens can hold; "
            "normalise the actions (--normalize quantile) or lower --scale"
        )
    if vocab_size <= top_code:
        raise InputError(
            f"vocab size {vocab_size} is smaller than the {top_code + 1} codes of the coefficient range; "
            f"raise --vocab-size above {top_code + 1}, lower --scale, or normalise away outliers"
        )
    tokenizer = Tokenizer(models.BPE())
    if mode == "published":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.decoder = decoders.Fuse()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=[chr(code) for code in range(top_code + 1)],
        max_token_length=MAX_TOKEN_LENGTH,
    )
    tokenizer.train_from_iterator(codes, trainer=trainer)
    return tokenizer


@dataclass(frozen=True, eq=False)
class Bpe:
    """A learned vocabulary: codes to ids and back. Stateless, so it may be shared between threads."""

    tokenizer: Tokenizer
    mode: Mode

    @classmethod
    def from_json(cls, text: str, where: str) -> "Bpe":
        """A tokenizer.json; the mode is read off its pre-tokenizer.

        Raises:
            InputError: it is not a BPE tokenizer this package can decode.
        """
        try:
            spec = json.loads(text)
            kind, pre = spec["model"]["type"], (spec.get("pre_tokenizer") or {}).get("type")
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception
            raise InputError(f"{where} is not a tokenizer.json: {error}") from None
        if kind != "BPE" or pre not in (None, "ByteLevel"):
            raise InputError(
                f"{where}: model {kind} with pre-tokenizer {pre}; expected BPE, byte-level or plain characters"
            )
        return cls(tokenizer, "published" if pre == "ByteLevel" else "native")

    @property
    def size(self) -> int:
        """Number of ids."""
        return self.tokenizer.get_vocab_size()

    def to_json(self) -> str:
        """The tokenizer.json, byte for byte what the published code would save for the same fit."""
        return self.tokenizer.to_str()

    @cached_property
    def pieces(self) -> list[bytes] | list[str]:
        """What each id stands for: UTF-8 bytes (published) or characters, one a code (native)."""
        tokens = [self.tokenizer.id_to_token(i) or "" for i in range(self.size)]
        if self.mode == "native":
            return tokens
        alphabet = byte_alphabet()
        return [
            bytes(alphabet[c] for c in token) if all(c in alphabet for c in token) else token.encode()
            for token in tokens
        ]

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each piece: bytes (published) or codes (native)."""
        return np.array([len(piece) for piece in self.pieces])

    def encode(self, codes: NDArray) -> list[NDArray[np.int32]]:
        """Codes (batch, n) to one id array a row.

        Raises:
            InputError: a code has no token (only possible in a `published` vocabulary), naming row and code.
        """
        impossible = np.argwhere(((codes > MAX_CODE) & (codes < FIRST_AFTER_SURROGATES)) | (codes > MAX_UNICODE))
        if len(impossible):
            row, place = impossible[0]
            raise InputError(
                f"row {row}: coefficient {place} has code {codes[row, place]}, which no token string can hold; are the "
                "actions normalised?"
            )
        strings = [to_string(row) for row in codes]
        encoded = self.tokenizer.encode_batch_fast(strings, add_special_tokens=False)
        out = [np.array(e.ids, np.int32) for e in encoded]
        for row, (ids, string) in enumerate(zip(out, strings, strict=True)):
            expected = len(string.encode()) if self.mode == "published" else len(string)
            if self.lengths[ids].sum() != expected:
                raise InputError(
                    f"row {row}: this vocabulary has no token for {self._missing(string)}, which its fit never saw (the "
                    "published code would drop it silently); refit with mode 'native', or on more data"
                )
        return out

    def _missing(self, string: str) -> str:
        for char in dict.fromkeys(string):
            ids = self.tokenizer.encode(char, add_special_tokens=False).ids
            if self.lengths[ids].sum() != (len(char.encode()) if self.mode == "published" else 1):
                return f"code {ord(char)}"
        return "a byte of it"

    def decode(self, ids: Sequence[int] | NDArray) -> tuple[NDArray[np.int64], str]:
        """Ids to codes.

        Returns:
            (codes of the longest readable beginning, error or "").
        """
        ids = np.asarray(ids, np.int64).reshape(-1)
        bad = np.flatnonzero((ids < 0) | (ids >= self.size))
        error = ""
        if len(bad):
            error = f"id {ids[bad[0]]} at position {bad[0]} is outside the vocabulary of {self.size}"
            ids = ids[: bad[0]]
        pieces = self.pieces
        if self.mode == "native":
            string = "".join(pieces[i] for i in ids)
        else:
            raw = b"".join(pieces[i] for i in ids)
            try:
                string = raw.decode()
            except UnicodeDecodeError as problem:
                error = error or f"the tokens' bytes are not UTF-8 at byte {problem.start}"
                string = raw[: problem.start].decode()
        return np.frombuffer(string.encode("utf-32-le"), np.uint32).astype(np.int64), error


def to_string(codes: NDArray) -> str:
    """Codes (n,) as a string of one character each."""
    return codes.astype("<u4").tobytes().decode("utf-32-le")
