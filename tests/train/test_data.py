"""Rows to batches: prompts, masks, re-encoding, images."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fasttok.episodes import open_episodes
from fasttok.errors import InputError
from fasttok.fit import FitConfig, fit_tokenizer
from pipelines.jobs import BuildConfig, run_build
from pipelines.shards import ShardReader
from train.config import ModelConfig
from train.data import Encoder, decode_image, longest_row
from train.tokens import TextTokenizer, robot_prompt, text_prompt


@pytest.fixture(scope="module")
def encoder(chain: Any) -> Encoder:
    reader = ShardReader(str(chain.shards))
    rows = [reader.row(i) for i in range(200)]
    text = TextTokenizer.train([r["prompt"] for r in rows] + [r["target"] for r in rows], 600)
    made = Encoder(reader, text, ModelConfig(horizon=20, action_dim=7), 0)
    made.length = longest_row(reader, made, ("robot", "vqa", "caption"))
    return made


def test_batch_says_what_the_rows_say(chain: Any, encoder: Encoder) -> None:
    reader = ShardReader(str(chain.shards))
    rows = [reader.row(i) for i in range(40)]
    batch = encoder.batch([encoder.example(row) for row in rows])
    assert batch["images"].shape == (40, 2, 64, 64, 3)
    assert np.abs(batch["images"]).max() <= 1
    for i, row in enumerate(rows):
        tokens = batch["tokens"][i]
        suffix = tokens[batch["loss_mask"][i]]
        prefix = tokens[batch["token_mask"][i] & ~batch["token_ar"][i]]
        assert suffix[-1] == encoder.text.eos
        assert prefix[0] == encoder.text.bos
        source = reader.manifest.sources[row["source"]]
        if row["kind"] != "robot":
            assert encoder.text.decode(prefix) == text_prompt(row["prompt"])
            assert encoder.text.decode(suffix) == row["target"]
            assert not batch["is_fast"][i]
            assert not batch["action_mask"][i].any()
            continue
        state = encoder.tok.state_stats[source["embodiment"]].normalize(row["state"])
        assert encoder.text.decode(prefix) == robot_prompt(row["prompt"], state)
        assert encoder.layout.back(suffix[: len(row["action_tokens"])]).tolist() == row["action_tokens"].tolist()
        assert batch["action_mask"][i].sum() == row["action_steps"] * source["action_dim"]
        raw = encoder.tok.stats[source["embodiment"]].unnormalize(
            batch["actions"][i, : source["horizon"], : source["action_dim"]]
        )
        assert np.allclose(raw, row["action"].reshape(raw.shape), atol=1e-5)
        assert batch["image_mask"][i].tolist() == [True, source["embodiment"] == "arm"]


def test_another_tokenizer_re_encodes(chain: Any, encoder: Encoder) -> None:
    reader = ShardReader(str(chain.shards))
    row = next(r for r in map(reader.row, range(50)) if r["source"] == "tabletop_planar")
    other = fit_tokenizer(open_episodes(str(chain.index)), FitConfig(vocab_size=350, scale=20))[0]
    fresh = Encoder(reader, encoder.text, encoder.model, encoder.length, other)
    assert not fresh.cached
    ids = fresh.example(row).suffix[: -1 - len(encoder.text.end_of_action)]
    assert (
        encoder.layout.back(np.array(ids)).tolist() == other.encode(row["action"].reshape(10, 3), "planar")[0].tolist()
    )


def test_a_tokenizer_that_is_not_the_shards_own_is_caught(chain: Any, encoder: Encoder, tmp_path: Path) -> None:
    """Other statistics in SHARDS/tokenizer would change every action: the fingerprint in the manifest tells."""
    shutil.copytree(chain.shards, tmp_path / "shards")
    file = tmp_path / "shards" / "tokenizer" / "norm_stats.json"
    stats = json.loads(file.read_text())
    first = next(iter(stats["norm_stats"].values()))
    first["q99"] = [value * 1.5 for value in first["q99"]]
    file.write_text(json.dumps(stats))
    with pytest.raises(InputError, match="its merges or statistics are not those"):
        Encoder(ShardReader(str(tmp_path / "shards")), encoder.text, encoder.model, encoder.length)
    given = BuildConfig("demo", str(tmp_path / "shards"), 700, str(chain.index), "fit", shards=3, resume=True)
    with pytest.raises(InputError, match=r"begun with tokenizer|has fingerprint"):
        run_build(replace(given, tokenizer=str(chain.tokenizer)), [])


def test_too_long_and_broken_rows_are_refused(chain: Any, encoder: Encoder) -> None:
    reader = ShardReader(str(chain.shards))
    short = Encoder(reader, encoder.text, encoder.model, 8, encoder.tok)
    with pytest.raises(InputError, match="--text-length"):
        short.batch([short.example(reader.row(0))])
    with pytest.raises(InputError, match="cannot be decoded"):
        decode_image(b"no image", 64)


def test_images_of_any_size_and_format() -> None:
    for mode, size in (("RGB", (64, 64)), ("L", (30, 50)), ("RGBA", (128, 128))):
        buffer = io.BytesIO()
        Image.new(mode, size).save(buffer, "PNG")
        assert decode_image(buffer.getvalue(), 64).shape == (64, 64, 3)
    assert decode_image(np.full((64, 64, 3), 255, np.uint8), 64).max() == 1.0


def test_text_tokenizer_round_trip(encoder: Encoder, tmp_path: Any) -> None:
    for text in ("what colour is the star?", "Ünïcode: 東京 \n", "Task: x, State: 1 255 -1;\nAction: "):
        assert encoder.text.decode(encoder.text.encode([text])[0]) == text
    encoder.text.save(tmp_path / "t.json")
    assert TextTokenizer.load(tmp_path / "t.json").encode(["red circle"]) == encoder.text.encode(["red circle"])
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match=r"not a tokenizer\.json"):
        TextTokenizer.load(tmp_path / "bad.json")
