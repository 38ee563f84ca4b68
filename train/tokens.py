"""Text and action tokens in one vocabulary, and every prompt format in one place.

The vocabulary is text first, then one row per FAST id (small presets). Sequences:

    robot    <bos>Task: {task}, State: {state};\\nAction: | FAST ids "|" <eos>
    vqa      <bos>{question}\\n                           | {answer} <eos>
    caption  <bos>{prompt}\\n                             | {caption} <eos>
             `------------- prefix, bidirectional -------'  `- suffix: causal, what the cross-entropy counts -'
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from fasttok.errors import InputError

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
STATE_BINS = 256
END_OF_ACTION = "|"


def state_bins(state: NDArray) -> NDArray[np.int64]:
    """Normalised state to 256 bins on [-1, 1], openpi's formula: below -1 gives -1, from 1 on gives 255.

    >>> state_bins(np.array([-1.5, -1.0, 0.0, 0.999, 2.0]))
    array([ -1,   0, 128, 255, 255])
    """
    return np.clip(np.floor((np.asarray(state, np.float64) + 1) * (STATE_BINS / 2)), -1, STATE_BINS - 1).astype(
        np.int64
    )


def robot_prompt(task: str, state: NDArray) -> str:
    """The prefix of a robot row; underscores and newlines of the task become spaces.

    >>> robot_prompt("push_it", np.array([0.0, 1.0]))
    'Task: push it, State: 128 255;\\nAction: '
    """
    cleaned = task.strip().replace("_", " ").replace("\n", " ")
    bins = " ".join(map(str, state_bins(state).tolist()))
    return f"Task: {cleaned}, State: {bins};\nAction: "


def text_prompt(prompt: str) -> str:
    """The prefix of a VQA or caption row."""
    return prompt.strip() + "\n"


@dataclass(frozen=True, eq=False)
class TextTokenizer:
    """A text vocabulary with <pad>, <bos> and <eos>: any `tokenizer.json`, or one trained on the shards' own texts."""

    tokenizer: Tokenizer

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "TextTokenizer":
        """Byte-level BPE, deterministic. The 256 state bins are taught first, so that each is one token."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=[PAD, BOS, EOS], initial_alphabet=alphabet, show_progress=False
        )
        numbers = " ".join(map(str, range(-1, STATE_BINS)))
        corpus = [*texts]
        tokenizer.train_from_iterator([*corpus, *[numbers] * max(50, len(corpus) // 4)], trainer=trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: str | Path) -> "TextTokenizer":
        """Reads a tokenizer.json.

        Raises:
            InputError: missing, or not a tokenizer with <pad>, <bos> and <eos>.
        """
        if not Path(path).is_file():
            raise InputError(f"{path} does not exist; expected a tokenizer.json")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise InputError(f"{path} is not a tokenizer.json: {error}") from None
        missing = [token for token in (PAD, BOS, EOS) if tokenizer.token_to_id(token) is None]
        if missing:
            raise InputError(f"{path} has no token {', '.join(missing)}; expected a text tokenizer with all three")
        return cls(tokenizer)

    def save(self, path: str | Path) -> None:
        """Writes a tokenizer.json."""
        self.tokenizer.save(str(path))

    @property
    def size(self) -> int:
        """Number of text tokens."""
        return self.tokenizer.get_vocab_size()

    def _id(self, token: str) -> int:
        number = self.tokenizer.token_to_id(token)
        assert number is not None, token  # `load` has checked it
        return number

    @cached_property
    def pad(self) -> int:
        """Id of <pad>."""
        return self._id(PAD)

    @cached_property
    def bos(self) -> int:
        """Id of <bos>."""
        return self._id(BOS)

    @cached_property
    def eos(self) -> int:
        """Id of <eos>."""
        return self._id(EOS)

    @cached_property
    def end_of_action(self) -> list[int]:
        """Ids of the "|" that closes a FAST suffix."""
        return self.encode([END_OF_ACTION])[0]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without <bos> and <eos>."""
        return [e.ids for e in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids; special tokens are left out."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def pieces(self, text: str) -> list[str]:
        """The text of each of its tokens."""
        return [self.tokenizer.decode([i], skip_special_tokens=False) for i in self.encode([text])[0]]


@dataclass(frozen=True)
class Layout:
    """Where FAST ids sit in the model's vocabulary: appended after `text_size` text rows.

    >>> layout = Layout(text_size=600, fast_size=512)
    >>> layout.place(np.array([0, 511])), layout.back(np.array([600, 1111])), layout.size
    (array([ 600, 1111]), array([  0, 511]), 1112)
    """

    text_size: int
    fast_size: int

    @property
    def size(self) -> int:
        """Rows of the model's vocabulary."""
        return self.text_size + self.fast_size

    def place(self, fast_ids: NDArray) -> NDArray:
        """FAST ids -> vocabulary ids."""
        return np.asarray(fast_ids) + self.text_size

    def back(self, ids: NDArray) -> NDArray:
        """Vocabulary ids -> FAST ids; the others come out negative or >= fast_size."""
        return np.asarray(ids) - self.text_size
