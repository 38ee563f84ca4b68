"""The published FAST algorithm, literally: one chunk at a time, strings of chr, the `tokenizers` library (arXiv 2501.09747).

Written for comparison only. The benchmark checks that fasttok gives the same tokens, actions and files.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, idct
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers


def encode(chunks: NDArray, vocabulary: Tokenizer, scale: float, min_token: int) -> list[list[int]]:
    """(n, T, D) -> n lists of ids."""
    out = []
    for chunk in chunks:
        coefs = np.around(dct(chunk, axis=0, norm="ortho") * scale)
        text = "".join(map(chr, np.maximum(coefs.flatten() - min_token, 0).astype(int)))
        out.append(vocabulary.encode(text).ids)
    return out


def decode(
    ids: Iterable[list[int]], vocabulary: Tokenizer, scale: float, min_token: int, horizon: int, dim: int
) -> NDArray[np.float64]:
    """Lists of ids -> (n, T, D)."""
    out = []
    for row in ids:
        text = vocabulary.decode(row)
        coefs = np.array(list(map(ord, text))) + min_token
        out.append(idct(coefs.reshape(horizon, dim) / scale, axis=0, norm="ortho"))
    return np.stack(out)


def fit(chunks: NDArray, vocab_size: int, scale: float) -> tuple[Tokenizer, int]:
    """(vocabulary, min_token)."""
    coefs = [dct(chunk, axis=0, norm="ortho").flatten() for chunk in chunks]
    top = max(np.around(c * scale).max() for c in coefs)
    min_token = int(min(np.around(c * scale).min() for c in coefs))

    def strings() -> Iterable[str]:
        for c in coefs:
            yield "".join(map(chr, (np.around(c * scale) - min_token).astype(int)))

    vocabulary = Tokenizer(models.BPE())
    vocabulary.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocabulary.post_processor = processors.ByteLevel(trim_offsets=False)
    vocabulary.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=[chr(i) for i in range(int(top) - min_token + 1)],
        max_token_length=10000,
    )
    vocabulary.train_from_iterator(strings(), trainer=trainer)
    return vocabulary, min_token
