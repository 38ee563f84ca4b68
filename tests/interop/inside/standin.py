"""A processor of the published one's shape: what `from_pretrained` and `save_pretrained` go by, and the arithmetic.

It has the class name, the constructor and the attribute names of the class on the hub (physical-intelligence/fast), whose code
is not ours to keep here. Runs in any environment with transformers and scipy.
"""

from typing import Any

import numpy as np
import transformers
from scipy import fft


class UniversalActionProcessor(transformers.ProcessorMixin):
    """Chunks to ids, and back."""

    attributes = ["bpe_tokenizer"]  # noqa: RUF012 - as transformers wants it
    bpe_tokenizer_class = "AutoTokenizer"
    bpe_tokenizer: Any

    def __init__(
        self,
        bpe_tokenizer: Any,
        scale: float = 10,
        vocab_size: int = 1024,
        min_token: int = 0,
        *,
        action_dim: int | None = None,
        time_horizon: int | None = None,
    ) -> None:
        self.scale, self.vocab_size, self.min_token = scale, vocab_size, min_token
        self.action_dim, self.time_horizon = action_dim, time_horizon
        super().__init__(bpe_tokenizer)

    def __call__(self, chunks: Any) -> Any:
        """(n, T, D) to n lists of ids."""
        codes = np.around(fft.dct(chunks, axis=1, norm="ortho") * self.scale) - self.min_token
        texts = ["".join(chr(int(code)) for code in row) for row in np.maximum(codes, 0).reshape(len(chunks), -1)]
        return [self.bpe_tokenizer(text)["input_ids"] for text in texts]

    def decode(self, ids: Any, *, time_horizon: int, action_dim: int) -> Any:
        """Lists of ids to (n, T, D)."""
        codes = np.array([[ord(sign) for sign in self.bpe_tokenizer.decode(row)] for row in ids])
        coefs = (codes + self.min_token).reshape(-1, time_horizon, action_dim)
        return fft.idct(coefs / self.scale, axis=1, norm="ortho")
