r"""Writes our text tokenizer as a folder that transformers' AutoTokenizer loads without a network.

The exported tokenizer puts <bos> before each text, as in our prompts. For programs whose prompts differ from ours, it can rewrite
them: a `Rewrite` becomes a normalizer in tokenizer.json, so every program that uses the files applies it.
"""

import json
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, normalizers, processors

from train.tokens import BOS, EOS, PAD, TextTokenizer

TOKENIZER_FOLDER = "text_tokenizer"


@dataclass(frozen=True)
class Rewrite:
    """A replacement for a part of each text.

    Attributes:
        pattern: regular expression (Oniguruma) of the part.
        text: text that replaces it.
    """

    pattern: str
    text: str


def tokenizer_files(text: TextTokenizer, length: int, rewrite: Rewrite | None = None) -> dict[str, bytes]:
    """Returns the files of the exported tokenizer, by path in DIR.

    Args:
        text: our text tokenizer.
        length: maximum tokens of a text.
        rewrite: change to make in each text before it is split into tokens; None for none.
    """
    own = Tokenizer.from_str(text.tokenizer.to_str())
    own.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, text.bos)])
    if rewrite is not None:
        change = normalizers.Replace(Regex(rewrite.pattern), rewrite.text)
        own.normalizer = normalizers.Sequence([change, *([own.normalizer] if own.normalizer is not None else [])])
    said = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS, "pad_token": PAD,
        "padding_side": "right", "model_max_length": length, "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    return {
        f"{TOKENIZER_FOLDER}/tokenizer.json": own.to_str(pretty=True).encode(),
        f"{TOKENIZER_FOLDER}/tokenizer_config.json": (json.dumps(said, indent=2) + "\n").encode(),
    }
