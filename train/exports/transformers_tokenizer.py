r"""Our text tokenizer as a folder that transformers' AutoTokenizer loads without a network.

It puts <bos> before each text, as our prompts have it. It can rewrite what it is given, for programs that write another prompt
than ours: `Rewrite` is a normalizer of tokenizer.json, so every program that uses the files does the same.
"""

import json
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, normalizers, processors

from train.tokens import BOS, EOS, PAD, TextTokenizer

TOKENIZER_FOLDER = "text_tokenizer"


@dataclass(frozen=True)
class Rewrite:
    """What to put in the place of a part of each text.

    Attributes:
        pattern: regular expression (Oniguruma) of what is replaced.
        text: what comes in its place.
    """

    pattern: str
    text: str


def tokenizer_files(text: TextTokenizer, length: int, rewrite: Rewrite | None = None) -> dict[str, bytes]:
    """The files by their path in DIR.

    Args:
        text: ours.
        length: most tokens of a text.
        rewrite: what to change in each text before it is cut into tokens; None: nothing.
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
