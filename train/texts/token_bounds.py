"""Bounds the tokens of texts without encoding them. What a tokenizer's own file does not guarantee is not assumed."""

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.tokens import BINS, TextTokenizer, robot_prompt

SPACES = " \u2581\u0120"  # a space, as SentencePiece and as byte-level BPE write it
STRADDLES = re.compile(f"[:0-9][{SPACES}]|[0-9];")  # tokens that cross the space before a bin or the end of a state
AROUND_STATES = frozenset(" -0123456789:;\nStateAcion\u2581\u0120")


@dataclass(frozen=True)
class TokenBound:
    """The most tokens that a text can have: a token stands for at least one byte of the normalized text.

    Attributes:
        per_byte: most tokens per UTF-8 byte of the text.
        more: most additional tokens per text.
    """

    per_byte: int
    more: int

    def of(self, size: NDArray[np.float64], texts: int) -> NDArray[np.float64]:
        """Returns the most tokens that several texts can have together, if they have `size` bytes in all."""
        return np.asarray(self.per_byte * size + texts * self.more, np.float64)


# Most UTF-8 bytes that a normal form makes of one byte (the Unicode Consortium's FAQ on normalization). Lower case: from 2 to 3.
NORMAL_FORMS = {
    "NFC": 3,
    "NFD": 3,
    "NFKC": 11,
    "NFKD": 11,
    "Lowercase": 2,
    "ByteLevel": 1,
    "StripAccents": 1,
    "Strip": 1,
}


def token_bound(text: TextTokenizer) -> TokenBound | None:
    """Returns the bound on a text's tokens from its bytes; None if the tokenizer may do something that we do not know."""
    written = json.loads(text.tokenizer.to_str())
    bound = _growth(written["normalizer"], text)
    return bound if _splits_only(written["pre_tokenizer"]) else None


def _growth(normalizer: Any, text: TextTokenizer) -> TokenBound | None:
    """Returns the bound for a normalizer. 2 tokens per text are for the spaces that pre-tokenizers may put around it."""
    match normalizer:
        case None:
            return TokenBound(1, 2)
        case {"type": str(form)} if form in NORMAL_FORMS:
            return TokenBound(NORMAL_FORMS[form], 2)
        case {"type": "Replace", "pattern": {"String": old}, "content": new}:
            known = text.tokenizer.token_to_id(new) is not None
            return TokenBound(1, 2) if len(new.encode()) <= len(old.encode()) or (known and old) else None
        case {"type": "Prepend", "prepend": new}:
            return TokenBound(1, 2 + len(new.encode()))
        case {"type": "Sequence", "normalizers": parts}:
            whole = TokenBound(1, 2)
            for part in parts:
                if (grown := _growth(part, text)) is None:
                    return None
                whole = TokenBound(whole.per_byte * grown.per_byte, whole.more * grown.per_byte + grown.more)
            return whole
    return None


def _splits_only(pre_tokenizer: Any) -> bool:
    """Returns whether a pre-tokenizer only cuts texts, and writes spaces in one of the ways that we know."""
    match pre_tokenizer:
        case {"type": "Sequence", "pretokenizers": parts}:
            return all(map(_splits_only, parts))
        case {"type": "Metaspace", "replacement": space}:
            return bool(space in SPACES)
    return True


def costs_of_bins(text: TextTokenizer) -> NDArray[np.int64] | None:
    """Returns how many tokens each bin has more than bin 0 in the text of a state; None if that depends on the text around it.

    If no token of the vocabulary crosses the space before a bin, or the ";" after the last one, BPE and unigram models cut there
    whatever the text is, and the counts add up. If that is not so, or not known, texts must be encoded one by one.

    Returns:
        (257,) for bins -1 .. 255.
    """
    tokenizer = text.tokenizer
    plain = tokenizer.get_vocab(with_added_tokens=False)
    added = tokenizer.get_added_tokens_decoder().values()
    reaching = [token for token in added if set(token.content) <= AROUND_STATES]
    if token_bound(text) is None or reaching or any(map(STRADDLES.search, plain)):
        return None
    numbers = [str(b) for b in range(-1, BINS)]
    found = []
    for around in ("{}", "{} 0", "0 {}", "0 {} 128", "7 31 {} 255 -1"):
        prompts = [robot_prompt("x", around.format(number)) for number in numbers]
        found.append([len(ids) for ids in text.encode(prompts)])
    costs = np.array(found) - np.array(found)[:, 1:2]
    return costs[0] if (costs == costs[0]).all() else None
