"""Takes from the shards' texts what they decide: the text tokenizer, if none is given, and the number of tokens per row."""

from collections.abc import Collection, Iterator

import numpy as np

from fasttok.errors import InputError
from pipelines.shards import ShardReader
from train import weights as pretrained
from train.config import TrainConfig
from train.examples import Encoder
from train.runs.run_folder import TEXT_TOKENIZER
from train.texts.row_lengths import longest
from train.tokens import END_OF_ACTION, TextTokenizer, robot_prompt, state_text

TEXTS_MEASURED = 20_000
ROWS_AT_ONCE = 1024  # reading them one by one takes five times as long


def text_tokenizer(config: TrainConfig, reader: ShardReader) -> TextTokenizer:
    """Returns the text tokenizer of a run.

    A run that resumes uses its own. Otherwise it is the one given, else that of `init_from` or `weights`, else one trained on
    the shards.

    Raises:
        InputError: the tokenizer's file is missing, or is not a tokenizer.
    """
    own = config.out / TEXT_TOKENIZER
    if config.resume and own.is_file():
        return TextTokenizer.load(own)
    if config.data.text_tokenizer is not None:
        return TextTokenizer.load(config.data.text_tokenizer)
    if config.init_from is not None:
        return TextTokenizer.load(config.init_from / TEXT_TOKENIZER)
    if config.weights is not None:
        return TextTokenizer.load(pretrained.text_tokenizer(config.weights))
    return TextTokenizer.train(list(_texts(reader)), config.data.text_vocab)


def _texts(reader: ShardReader) -> Iterator[str]:
    """Yields the texts that the model reads and predicts in some rows, evenly spaced."""
    numbers = np.arange(0, reader.num_rows, max(1, -(-reader.num_rows // TEXTS_MEASURED)))
    for some in np.split(numbers, range(ROWS_AT_ONCE, len(numbers), ROWS_AT_ONCE)):
        batch = reader.take(*reader.layout.at(some), columns=("kind", "prompt", "target"))
        for kind, prompt, target in zip(batch["kind"], batch["prompt"], batch["target"], strict=True):
            robot = kind == "robot"
            yield robot_prompt(prompt, state_text(np.zeros(1)), target) if robot else prompt
            yield END_OF_ACTION if robot else target


def longest_row(reader: ShardReader, encoder: Encoder, kinds: Collection[str]) -> int:
    """Returns the tokens of the longest row, rounded up to a multiple of 8.

    Args:
        reader: reads the shards.
        encoder: makes examples of their rows.
        kinds: rows of other kinds do not count.
    """
    found = longest(reader, encoder, kinds)
    return rounded(found.tokens if found is not None else 0)


def text_length(given: int, reader: ShardReader, encoder: Encoder, kinds: Collection[str]) -> int:
    """Returns the number of tokens per row in the batches: `given`, or what the longest row needs if `given` is 0.

    Args:
        given: value of --data.text-length; 0: find it.
        reader: reads the shards.
        encoder: makes examples of their rows.
        kinds: rows of other kinds do not count.

    Raises:
        InputError: a row has more than `given` tokens.
    """
    if not given:
        return longest_row(reader, encoder, kinds)
    found = longest(reader, encoder, kinds, above=given)
    if found is not None:
        raise InputError(
            f"--data.text-length is {given}, but row {found.sample_id} of source {found.source} in {reader.path} has "
            f"{found.tokens} tokens, the most; raise --data.text-length to {rounded(found.tokens)} or more, or leave it out"
        )
    return given


def rounded(tokens: int) -> int:
    """Rounds up to a multiple of 8.

    >>> rounded(121)
    128
    """
    return -(-tokens // 8) * 8
