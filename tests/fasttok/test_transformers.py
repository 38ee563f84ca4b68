"""A saved tokenizer in transformers: as a plain tokenizer, and in a processor of the published one's shape.

`UniversalProcessor` has the constructor and the attribute names of the class on the hub (physical-intelligence/fast), which is
what `from_pretrained` goes by; the arithmetic is the published one's. CI runs transformers 5; 4 is tried before releases.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.fft import dct

from fasttok import ActionTokenizer

transformers: Any = pytest.importorskip("transformers")
RNG = np.random.default_rng(3)
CHUNKS = np.clip(np.cumsum(RNG.normal(0, 0.2, (200, 12, 3)), axis=1), -1, 1)


class UniversalProcessor(transformers.ProcessorMixin):
    """Encodes as the published class does."""

    attributes = ["bpe_tokenizer"]  # noqa: RUF012 - as transformers wants it
    bpe_tokenizer_class = "AutoTokenizer"

    def __init__(
        self,
        bpe_tokenizer: Any,
        scale: float = 10,
        vocab_size: int = 1024,
        min_token: int = 0,
        *,
        action_dim: int | None = None,
        time_horizon: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.scale, self.vocab_size, self.min_token = scale, vocab_size, min_token
        self.action_dim, self.time_horizon = action_dim, time_horizon
        super().__init__(bpe_tokenizer)

    def encode(self, chunks: np.ndarray) -> list[list[int]]:
        """Chunks to ids."""
        out = []
        for coefs in np.around(dct(chunks, axis=1, norm="ortho") * self.scale):
            text = "".join(map(chr, np.maximum(coefs.flatten() - self.min_token, 0).astype(int)))
            out.append(self.bpe_tokenizer(text)["input_ids"])
        return out


@pytest.mark.parametrize("mode", ["native", "published"])
def test_saved_folders_load_in_transformers(mode: Any, tmp_path: Path) -> None:
    tok = ActionTokenizer.fit(CHUNKS, vocab_size=400, mode=mode)
    tok.save(tmp_path / "tok")
    expected = [row.tolist() for row in tok.encode(CHUNKS)]
    plain = transformers.AutoTokenizer.from_pretrained(tmp_path / "tok")
    theirs, ours = json.loads(plain.backend_tokenizer.to_str()), json.loads(tok.bpe.to_json())
    assert all(theirs[key] == ours[key] for key in ("model", "pre_tokenizer", "normalizer", "decoder", "added_tokens"))
    processor = UniversalProcessor.from_pretrained(tmp_path / "tok")
    assert (processor.scale, processor.min_token, processor.vocab_size) == (10, tok.min_token, 400)
    assert processor.encode(CHUNKS) == expected
    text = processor.bpe_tokenizer.decode(expected[0])
    assert "".join(map(chr, tok.coefficients(CHUNKS[0]).reshape(-1) - tok.min_token)) == text


def test_what_a_processor_saves_is_loaded(tmp_path: Path) -> None:
    """The way back: a folder that transformers wrote."""
    tok = ActionTokenizer.fit(CHUNKS, vocab_size=400, mode="published")
    tok.save(tmp_path / "ours")
    UniversalProcessor.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    again = ActionTokenizer.load(tmp_path / "theirs")
    assert again.min_token == tok.min_token
    assert [row.tolist() for row in again.encode(CHUNKS)] == [row.tolist() for row in tok.encode(CHUNKS)]
