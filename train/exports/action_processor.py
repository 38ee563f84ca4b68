"""A FAST processor for a tokenizer folder of fasttok: chunks to ids and back, for programs that load it with AutoProcessor.

`fasttok-export` copies this file unchanged to the tokenizer's folder, so it does not need fasttok, only numpy, scipy and
transformers. It has the attributes of physical-intelligence/fast that programs read: `bpe_tokenizer`, `scale`, `min_token`.
"""

import json
from pathlib import Path
from typing import Any


class ActionProcessor:
    """Turns normalised action chunks into FAST ids, and back.

    Attributes:
        bpe_tokenizer: transformers' tokenizer of the folder; a character's number is a rounded coefficient minus `min_token`.
        scale: factor of coefficients before rounding.
        min_token: smallest coefficient.
        vocab_size: number of ids.
    """

    def __init__(self, bpe_tokenizer: Any, scale: float, min_token: int, vocab_size: int) -> None:
        """Stores the contents of a folder."""
        self.bpe_tokenizer, self.scale, self.min_token, self.vocab_size = bpe_tokenizer, scale, min_token, vocab_size

    @classmethod
    def from_pretrained(cls, folder: str, **_: Any) -> "ActionProcessor":
        """Reads a folder on this machine."""
        from transformers import AutoTokenizer

        said = json.loads((Path(folder) / "processor_config.json").read_text(encoding="utf-8"))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return cls(tokenizer, said["scale"], said["min_token"], said["vocab_size"])

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoProcessor") -> None:
        """Does nothing: AutoProcessor calls it, but the folder already contains what it would register."""

    def __call__(self, chunks: Any) -> list[list[int]]:
        """Encodes (B, H, D) normalised chunks as B lists of ids; coefficients below `min_token` become `min_token`."""
        import numpy as np
        from scipy import fft

        coefs = np.around(fft.dct(np.asarray(chunks, np.float64), axis=1, norm="ortho") * self.scale)
        codes = np.maximum(coefs - self.min_token, 0).astype(int).reshape(len(coefs), -1)
        return [list(self.bpe_tokenizer("".join(map(chr, row)))["input_ids"]) for row in codes.tolist()]

    def decode(self, ids: Any, *, time_horizon: int, action_dim: int) -> Any:
        """Decodes B lists of ids into (B, H, D) normalised chunks.

        Raises:
            ValueError: a list does not decode to the coefficients of one chunk.
        """
        import numpy as np
        from scipy import fft

        codes = [[ord(char) for char in self.bpe_tokenizer.decode(row)] for row in ids]
        coefs = np.array(codes).reshape(len(codes), time_horizon, action_dim) + self.min_token
        return fft.idct(coefs / self.scale, axis=1, norm="ortho")
