"""What can be said of a tokenizer's counts without encoding every text: read from its own file, or not said at all."""

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.tokens import BINS, TextTokenizer, robot_prompt

SPACES = " \u2581\u0120"  # a space, as SentencePiece and as byte-level BPE write it
STRADDLES = re.compile(f"[:0-9][{SPACES}]|[0-9];")  # where the bins of a state begin, and where the last one ends
AROUND_STATES = frozenset(" -0123456789:;\nStateAcion\u2581\u0120")


@dataclass(frozen=True)
class TokenBound:
    """What no text has more tokens than: a token stands for a byte at least, of what the normalizer makes of the text.

    Attributes:
        per_byte: of UTF-8.
        more: besides, of each text.
    """

    per_byte: int
    more: int

    def of(self, size: NDArray[np.float64], texts: int) -> NDArray[np.float64]:
        """Tokens at most of several texts that have `size` bytes in all."""
        return np.asarray(self.per_byte * size + texts * self.more, np.float64)


# UTF-8 bytes that a normal form may make of one: the Unicode Consortium's FAQ on normalization; lower case, 2 to 3 bytes.
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
    """What bounds the tokens of a text by its bytes; None if its tokenizer may do something else than we know."""
    written = json.loads(text.tokenizer.to_str())
    bound = _growth(written["normalizer"], text)
    return bound if _splits_only(written["pre_tokenizer"]) else None


def _growth(normalizer: Any, text: TextTokenizer) -> TokenBound | None:
    """What a normalizer may make of a byte; 2 are for the space that pre-tokenizers may put before and after a text."""
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
    """Whether it cuts texts, and writes spaces in one of the ways that we know."""
    match pre_tokenizer:
        case {"type": "Sequence", "pretokenizers": parts}:
            return all(map(_splits_only, parts))
        case {"type": "Metaspace", "replacement": space}:
            return bool(space in SPACES)
    return True


def costs_of_bins(text: TextTokenizer) -> NDArray[np.int64] | None:
    """Tokens of each bin in the text of a state, above those of bin 0; None where they depend on what stands around.

    No token of the vocabulary reaches over the space before a bin, or to the ";" after the last one, so byte-pair encoding
    and unigram models cut there whatever the text is, and the counts add up. Where that is not so, or not known, texts must be
    encoded one by one.

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
