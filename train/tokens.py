r"""Text tokens, state tokens and all prompt formats. `fasttok.placement` says which ids are action tokens.

robot     <bos>Task: {task}, State: {state};\nAction:  | action ids "|" <eos>      state as text
          <bos>Task: {task}, State: {ids};\nAction:    | ...                      as one special token per dimension
          <bos>Task: {task};\nAction:                 | ...                      continuous state: not in the text
          <bos>Task: {task}, Control: {mode}, State: {state};\nAction: | ...     with --data.control-mode, in every form
subtask   <bos>Task: {task}, State: {state};\nSubtask: | {subtask} <eos>          predicts the subtask, not actions
          <bos>Task: {task}, Subtask: {subtask}, State: {state};\nAction: | ...   knows the subtask, predicts actions;
                                                                            --data.control-mode: Control before State
vqa       <bos>{question}\n                           | {answer} <eos>
caption   <bos>{prompt}\n                             | {caption} <eos>
          `------------- prefix, bidirectional -------'  `- suffix: causal, what the cross-entropy counts -'
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from fasttok.errors import InputError

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
BINS = 256
END_OF_ACTION = "|"


def bins(numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Maps normalised numbers to 256 bins on [-1, 1] by openpi's formula: below -1 gives -1, from 1 on gives 255.

    >>> bins(np.array([-1.5, -1.0, 0.0, 0.999, 2.0]))
    array([ -1,   0, 128, 255, 255])
    """
    return np.clip(np.floor((np.asarray(numbers, np.float64) + 1) * (BINS / 2)), -1, BINS - 1).astype(np.int64)


def centres(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Maps bins back to the numbers in their middle.

    >>> centres(np.array([0, 128, 255]))
    array([-0.99609375,  0.00390625,  0.99609375], dtype=float32)
    """
    return ((np.asarray(numbers) + 0.5) / (BINS / 2) - 1).astype(np.float32)


def robot_prompt(
    task: str, state: str | None, subtask: str = "", ask: Literal["Action", "Subtask"] = "Action", control: str = ""
) -> str:
    r"""Returns the prefix of a robot row. Underscores and newlines in the task become spaces.

    Args:
        task: the instruction.
        state: the state as text; None if it is not in the prompt.
        subtask: what the robot is doing within its task; "" if it is not known.
        ask: what the suffix will contain.
        control: what the actions move and how (`train.texts.control_mode`); "" says nothing.

    >>> robot_prompt("push_it", state_text(np.array([0.0, 1.0])))
    'Task: push it, State: 128 255;\nAction: '
    """
    words = [f"Task: {_clean(task)}", *([f"Subtask: {_clean(subtask)}"] if subtask else [])]
    words += [f"Control: {control}"] if control and ask == "Action" else []
    words += [] if state is None else [f"State: {state}"]
    return ", ".join(words) + f";\n{ask}: "


def state_text(state: NDArray[Any]) -> str:
    """Returns the bins of a normalised state as text."""
    return " ".join(map(str, bins(state).tolist()))


def _clean(text: str) -> str:
    return text.strip().replace("_", " ").replace("\n", " ")


def text_prompt(prompt: str) -> str:
    """Returns the prefix of a VQA or caption row."""
    return prompt.strip() + "\n"


@dataclass(frozen=True, eq=False)
class TextTokenizer:
    """A text vocabulary with <pad>, <bos> and <eos>: any `tokenizer.json`, or one trained on the shards' own texts."""

    tokenizer: Tokenizer

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "TextTokenizer":
        """Trains a byte-level BPE tokenizer, deterministically.

        The texts get the numbers of the 256 state bins so many times that each becomes one token.
        """
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=[PAD, BOS, EOS], initial_alphabet=alphabet, show_progress=False
        )
        numbers = " ".join(map(str, range(-1, BINS)))
        corpus = [*texts]
        tokenizer.train_from_iterator([*corpus, *[numbers] * max(50, len(corpus) // 4)], trainer=trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: str | Path) -> "TextTokenizer":
        """Reads a tokenizer.json.

        Raises:
            InputError: the file does not exist, or is not a tokenizer with <pad>, <bos> and <eos>.
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
        tokenizer.no_padding()  # a file may switch on both, and the ids would not be those of the text
        tokenizer.no_truncation()
        return cls(tokenizer)

    def save(self, path: str | Path) -> None:
        """Writes a tokenizer.json."""
        self.tokenizer.save(str(path))

    @cached_property
    def size(self) -> int:
        """Number of rows of an embedding with one row for every token: the largest id plus 1."""
        return max(self.tokenizer.get_vocab().values()) + 1

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
        """Ids of the "|" that ends a suffix of action tokens."""
        return self.encode([END_OF_ACTION])[0]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text, without <bos> and <eos>."""
        return [e.ids for e in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of some ids, without special tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def pieces(self, text: str) -> list[str]:
        """Returns the text of each token of a text."""
        return [self.tokenizer.decode([i], skip_special_tokens=False) for i in self.encode([text])[0]]
