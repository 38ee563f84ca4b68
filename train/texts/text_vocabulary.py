"""Decides which rows of the embedding are text and which are actions, whatever others added to a pretrained tokenizer."""

import json

from tokenizers import Tokenizer

from fasttok.errors import InputError
from fasttok.placement import Placement
from train.tokens import TextTokenizer

PALIGEMMA = 257_152  # tokens of PaliGemma's vocabulary, of which the last 1,152 are <loc> and <seg>
PALIGEMMA_SKIP = 1152
LOCATIONS = ((256_000, "<loc0000>"), (PALIGEMMA - 1, "<seg127>"))  # ids of the first and the last one (big_vision)
SPARE_ROWS = 64  # transformers pads PaliGemma's table from 257,152 to 257,216 rows


def arranged(
    text: TextTokenizer, skip: int | None, actions: int, states: int, rows: int = 0
) -> tuple[TextTokenizer, Placement]:
    """Returns the text tokenizer to use, and the placement of action and state ids beside its tokens.

    Args:
        text: the text tokenizer as given.
        skip: value of `DataConfig.action_skip`.
        actions: number of action ids.
        states: number of state ids.
        rows: number of rows of the model's embedding if it exists already, else 0. A run of an older version, which counted
            `<image>` as a token of the vocabulary, has more rows, and keeps them.

    Raises:
        InputError: the ids do not fit into the vocabulary.
    """

    def place(size: int) -> Placement:
        return Placement(size, PALIGEMMA_SKIP if skip is None and size == PALIGEMMA else skip, actions, states)

    try:
        if rows and text.size != PALIGEMMA and place(text.size).size == rows:
            return text, place(text.size)
        own = without_additions(text)
        return own, place(own.size)
    except InputError as error:
        raise InputError(f"{error}; leave --data.action-skip out, and they get rows of their own") from None


def without_additions(text: TextTokenizer) -> TextTokenizer:
    """Removes the tokens that others added behind PaliGemma's vocabulary. Any other tokenizer is returned unchanged.

    In transformers' PaliGemma tokenizer, `<image>` has id 257,152, and some tokenizers pad to the 257,216 rows of the checkpoint.
    Those rows have no meaning in any checkpoint, and openpi's has no such rows, so these words are read like any other text.
    """
    vocabulary = text.tokenizer.get_vocab(with_added_tokens=False)
    if text.size <= PALIGEMMA or max(vocabulary.values(), default=-1) >= PALIGEMMA:
        return text
    located = all(text.tokenizer.token_to_id(token) == number for number, token in LOCATIONS)
    if max(text.pad, text.bos, text.eos) >= PALIGEMMA or not (located or text.size <= PALIGEMMA + SPARE_ROWS):
        return text
    written = json.loads(text.tokenizer.to_str())
    written["added_tokens"] = [token for token in written["added_tokens"] if token["id"] < PALIGEMMA]
    return TextTokenizer(Tokenizer.from_str(json.dumps(written)))
