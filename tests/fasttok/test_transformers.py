"""A saved tokenizer in transformers: as a plain tokenizer, and in a processor of the published one's shape.

These run with the transformers of this environment; `make interop` runs others (tests/interop), where lies the stand-in too.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok import ActionTokenizer, NormStats
from fasttok.errors import InputError

transformers: Any = pytest.importorskip("transformers")
UniversalActionProcessor: Any = importlib.import_module("tests.interop.inside.standin").UniversalActionProcessor
RNG = np.random.default_rng(3)
CHUNKS = np.clip(np.cumsum(RNG.normal(0, 0.2, (200, 12, 3)), axis=1), -1, 1)


@pytest.mark.parametrize("mode", ["native", "published"])
def test_saved_folders_load_in_transformers(mode: Any, tmp_path: Path) -> None:
    tok = ActionTokenizer.fit(CHUNKS, vocab_size=400, mode=mode)
    tok.save(tmp_path / "tok")
    expected = [row.tolist() for row in tok.encode(CHUNKS)]
    plain = transformers.AutoTokenizer.from_pretrained(tmp_path / "tok")
    theirs, ours = json.loads(plain.backend_tokenizer.to_str()), json.loads(tok.bpe.to_json())
    assert all(theirs[key] == ours[key] for key in ("model", "pre_tokenizer", "normalizer", "decoder", "added_tokens"))
    processor = UniversalActionProcessor.from_pretrained(tmp_path / "tok")
    assert (processor.scale, processor.min_token, processor.vocab_size) == (10, tok.min_token, 400)
    assert processor(CHUNKS) == expected
    text = processor.bpe_tokenizer.decode(expected[0])
    assert "".join(map(chr, tok.coefficients(CHUNKS[0]).reshape(-1) - tok.min_token)) == text


@pytest.mark.parametrize("mode", ["native", "published"])
def test_what_a_processor_saves_is_loaded(mode: Any, tmp_path: Path) -> None:
    """The way back: a folder that transformers wrote."""
    tok = ActionTokenizer.fit(CHUNKS, vocab_size=400, mode=mode)
    tok.save(tmp_path / "ours")
    UniversalActionProcessor.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    again = ActionTokenizer.load(tmp_path / "theirs")
    assert (again.min_token, again.max_token) == (tok.min_token, tok.max_token)
    assert again.fingerprint == tok.fingerprint, (
        "other bytes of the same vocabulary: its ids files and shards still decode"
    )
    assert [row.tolist() for row in again.encode(CHUNKS)] == [row.tolist() for row in tok.encode(CHUNKS)]


def test_statistics_that_a_processor_does_not_save_are_missed(tmp_path: Path) -> None:
    stats = NormStats.fit(CHUNKS.reshape(-1, 3) * 90)
    tok = ActionTokenizer.fit(CHUNKS * 90, vocab_size=400, stats=stats)
    tok.save(tmp_path / "ours")
    UniversalActionProcessor.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    with pytest.raises(InputError, match=rf"{tok.fingerprint}.*statistics of the data in norm_stats\.json"):
        ActionTokenizer.load(tmp_path / "theirs")
