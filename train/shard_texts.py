"""What the shards' texts decide: the text tokenizer if none is given, and how many tokens a row has."""

from collections.abc import Collection
from typing import Any

import numpy as np

from pipelines.shards import ShardReader
from pipelines.shards.records import SCHEMA
from train import weights as pretrained
from train.config import TrainConfig
from train.examples import Encoder
from train.run_folder import TEXT_TOKENIZER
from train.tokens import END_OF_ACTION, TextTokenizer, robot_prompt, state_text

TEXTS_MEASURED = 20_000
ROWS_MEASURED, ROWS_AT_ONCE = 100_000, 2048


def text_tokenizer(config: TrainConfig, reader: ShardReader) -> TextTokenizer:
    """The run's own if it resumes, else the one given, else that of `init_from` or `weights`, else one trained on the shards.

    Raises:
        InputError: that file is missing or no tokenizer.
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
    texts = []
    for number in range(0, reader.num_rows, max(1, -(-reader.num_rows // TEXTS_MEASURED))):
        row = reader.row(number)
        robot = row["kind"] == "robot"
        shown = robot_prompt(row["prompt"], state_text(np.zeros(1)), row["target"])
        texts += [shown, END_OF_ACTION] if robot else [row["prompt"], row["target"]]
    return TextTokenizer.train(texts, config.data.text_vocab)


def longest_row(reader: ShardReader, encoder: Encoder, kinds: Collection[str]) -> int:
    """Tokens of the longest row, among all rows or an even sample of 100,000; rounded up to a multiple of 8.

    Args:
        reader: of the shards.
        encoder: makes examples of their rows.
        kinds: rows of other kinds do not count.
    """
    step = max(1, -(-reader.num_rows // ROWS_MEASURED))
    numbers, longest = np.arange(0, reader.num_rows, step), 0
    blind: dict[str, Any] = {f"image/{slot}": None for slot in encoder.slots}
    columns = [name for name in SCHEMA.names if not name.startswith("image/")]
    for first in range(0, len(numbers), ROWS_AT_ONCE):
        places = [reader.layout.at(int(i)) for i in numbers[first : first + ROWS_AT_ONCE]]
        shards, rows = np.array(places).T
        for row in reader.take(shards, rows, columns).rows():
            if row["kind"] in kinds:
                example = encoder.row(row | blind)
                longest = max(longest, len(example.prefix) + len(example.suffix))
    return -(-longest // 8) * 8
