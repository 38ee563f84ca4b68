"""transformers' `generate` under the mask: every way to generate ends in one whole chunk, which the published decode takes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from fasttok import ActionTokenizer
from fasttok.common.choices import Mode
from fasttok.placement import Placement
from tests.interop.environments import PackageSet, run_inside

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SMOOTH = np.clip(np.cumsum(np.random.default_rng(0).normal(0, 0.15, (200, 10, 4)), axis=1), -1, 1)


@pytest.mark.parametrize(("mode", "scale"), [("native", 10.0), ("published", 10.0), ("published", 100.0)])
def test_generate_always_ends_in_a_chunk(
    built: Callable[[str], PackageSet],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    mode: Mode,
    scale: float,
) -> None:
    """At scale 100 a published vocabulary has ids that end inside a character."""
    tok = ActionTokenizer.fit(SMOOTH, vocab_size=1500 if scale > 10 else 400, scale=scale, mode=mode)
    tok.save(tmp_path / "tok")
    run_inside(built("lerobot"), "use_logits_mask.py", tmp_path / "tok", tmp_path / "found.npz", ROOT)
    found, count = np.load(tmp_path / "found.npz"), 0
    placement, characters = Placement(tok.vocab_size + 60, 10, tok.vocab_size), Tokenizer.from_str(tok.bpe.to_json())
    for name in set(found.files) - {"limit"}:
        assert len(found[name]) == (18 if name == "all beams" else 6)
        for row in found[name].tolist():
            end = row.index(9)
            assert row[:2] == [7, 8]
            assert row[end + 1] == 1
            assert {*row[end + 2 :]} <= {0, 1}
            text = characters.decode(placement.ids_of(row[2:end]).tolist(), skip_special_tokens=False)
            assert len(text) == 20, name
            count += 1
    assert found["short, embeddings"].shape[1] <= found["limit"]
    record_property(
        "checked", f"{mode}, scale {scale:g}: {count} of {count} rows of `generate` are one whole chunk each"
    )
