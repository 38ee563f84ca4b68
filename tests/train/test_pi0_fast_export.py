"""A run that only writes FAST tokens in lerobot's layout: tokens and rows where lerobot looks for them, and what is refused."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from fasttok.actions.embodiment import Embodiment
from fasttok.codec.spline import Spline, SplineConfig
from fasttok.errors import InputError
from tests.train.handmade_run import ARM, PLANAR, handmade, with_params
from train import weights
from train.config import DataConfig
from train.export import ExportConfig, export
from train.exports import pi0_fast
from train.exports.source import ExportSource
from train.exports.tensors import THEIR_VOCAB
from train.tokens import TextTokenizer, robot_prompt, state_text
from train.weights.matching import EMBEDDING, our_shapes, plan

FAST = DataConfig(text_length=96, kinds=("robot",))


def source(robots: Any = (ARM,), data: DataConfig = FAST, vocab_size: int = 0, **sizes: Any) -> ExportSource:
    run = handmade(robots, data=data, sizes={"flow": False, **sizes})
    rows = vocab_size or run.config.model.vocab_size + pi0_fast.SKIP
    return ExportSource("RUN", run.config, run.text, run.tok, run.robots, vocab_size=rows, folder="/x")


def test_lerobot_reads_our_prompt_and_finds_our_ids() -> None:
    made = source(data=dataclasses.replace(FAST, control_mode=True))
    written = pi0_fast.files(made).files
    config = json.loads(written["config.json"])
    text = Tokenizer.from_str(written["text_tokenizer/tokenizer.json"].decode())
    said = json.loads(written["text_tokenizer/tokenizer_config.json"])
    rng = np.random.default_rng(0)
    for state in rng.normal(size=(20, 5)):
        theirs = text.encode(f"Task: put the cup on the plate, State: {state_text(state)};\n").ids
        control = made.encoder.control["arm"]
        [ours] = made.text.encode([robot_prompt("put the cup on the plate", state_text(state), control=control)])
        assert [*theirs, text.token_to_id(said["bos_token"])] == [made.text.bos, *ours]
    rows = (
        text.get_vocab_size(with_added_tokens=False) - 1 - config["fast_skip_tokens"] - np.arange(made.tok.vocab_size)
    )
    assert [text.id_to_token(row) for row in rows.tolist()] == [f"<action_{i}>" for i in range(made.tok.vocab_size)]
    assert text.token_to_id("|") == made.text.end_of_action[0]
    shape = our_shapes(made.config.model)[EMBEDDING]
    table = rng.normal(size=shape).astype(np.float32)
    flat = {path: np.zeros(size, np.float32) for path, size in our_shapes(made.config.model).items()} | {
        EMBEDDING: table
    }
    listed, _ = pi0_fast.robot_tensors(flat, made)
    assert not [one.name for one in listed if "expert" in one.name.split("paligemma_with_expert")[1]]
    [head] = [one.make() for one in listed if one.name.endswith("lm_head.weight")]
    assert np.array_equal(head[rows], table[made.encoder.placement.place(np.arange(made.tok.vocab_size))])
    assert np.array_equal(head[: made.text.size], table[: made.text.size])
    assert config["max_decoding_steps"] == 6 * 5 + 1
    assert (config["n_action_steps"], config["validate_action_token_prefix"]) == (6, False)


def test_the_processor_beside_the_tokenizer_is_ours(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    made = source()
    for name, content in pi0_fast.files(made).files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    spec = importlib.util.spec_from_file_location(
        "processing_fasttok", tmp_path / "action_tokenizer/processing_fasttok.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    processor = module.ActionProcessor.from_pretrained(str(tmp_path / "action_tokenizer"))
    chunks = np.clip(np.random.default_rng(1).normal(0, 0.4, (20, 6, 5)), -1, 1)
    stats = made.tok.stats["arm"]
    ids = made.tok.encode(stats.unnormalize(chunks), embodiment="arm")
    moving = np.ptp(stats.bounds, axis=0) > 0
    assert moving.sum() >= 3
    back = stats.unnormalize(processor.decode([row.tolist() for row in ids], time_horizon=6, action_dim=5))
    assert np.allclose(back, made.tok.decode(ids, horizon=6, action_dim=5, embodiment="arm").actions)
    assert sys.modules.get("processing_fasttok") is None


def test_read_back_its_fast_rows_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stand where lerobot looks for them, so --weights must not take the zeros that stand in their old place."""
    run = handmade(data=FAST, sizes={"flow": False})
    table = np.asarray(with_params(run, tmp_path / "run", monkeypatch)["backbone"]["embedding"])
    export(ExportConfig(tmp_path / "run", tmp_path / "out", "lerobot"))
    text = run.text.size
    todo = plan(tmp_path / "out", run.config.model, text_rows=text, tokenizer=run.tok.fingerprint)
    assert f"{len(table) - text} new rows" in " ".join(
        row.note for row in todo.report.rows if row.state == "initialised"
    )
    read = weights.read(todo)[EMBEDDING]
    assert np.array_equal(read[:text], table[:text])
    np.testing.assert_allclose(
        read[text:], np.broadcast_to(table[:text].mean(0), read[text:].shape), rtol=1e-4, atol=1e-6
    )


def test_lerobots_code_must_fit_the_text_tokenizer() -> None:
    """lerobot cuts chunks at the token "|", and takes tokens to their names and back."""
    made = source()
    two = TextTokenizer(Tokenizer.from_str(made.text.tokenizer.to_str()))
    two.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace("\u0120", prepend_scheme="always"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with pytest.raises(InputError, match=r"ends a chunk with \[.*the one token '\|'"):
        pi0_fast.check(dataclasses.replace(made, text=two))
    pieces = [("<unk>", 0.0), ("<pad>", 0.0), ("<bos>", 0.0), ("<eos>", 0.0), ("|", -1.0), (" ", -1.0)]
    unigram = TextTokenizer(Tokenizer(models.Unigram(pieces, unk_id=0)))
    with pytest.raises(InputError, match="is a Unigram"):
        pi0_fast.check(dataclasses.replace(made, text=unigram))


def test_what_lerobot_cannot_hold_is_refused() -> None:
    assert pi0_fast.is_pi0_fast(source())
    assert not pi0_fast.is_pi0_fast(source(data=dataclasses.replace(FAST, discrete="bins")))
    pi0_fast.check(source())
    with pytest.raises(InputError, match="add --embodiment with one of: arm, planar"):
        pi0_fast.check(source((ARM, PLANAR)))
    with pytest.raises(InputError, match="no camera"):
        pi0_fast.check(source((dataclasses.replace(ARM, cameras=()),)))
    with pytest.raises(InputError, match="reads the state as special"):
        pi0_fast.check(source(state="special"))
    with pytest.raises(InputError, match="do not fit into 500 rows"):
        pi0_fast.check(source(vocab_size=500))
    made = source()
    splines = {"arm": Spline(SplineConfig(), 256, np.zeros(5), np.ones(5))}
    with pytest.raises(InputError, match="another transform than the DCT"):
        pi0_fast.check(dataclasses.replace(made, tok=dataclasses.replace(made.tok, transforms=splines)))
    gain = {"arm": Embodiment(6, 5, gain=(2.0, 1.0, 1.0, 1.0, 1.0))}
    with pytest.raises(InputError, match="a gain, a gripper of two values"):
        pi0_fast.check(dataclasses.replace(made, tok=dataclasses.replace(made.tok, embodiments=gain)))
    said = " ".join(pi0_fast.files(made).limits)
    assert "PI0FastPolicy.from_pretrained cannot take the weights" in said
    assert "fasttok.logits_mask" in said
    assert THEIR_VOCAB == 257_152
    small = source((dataclasses.replace(ARM, subtask=True),), image_size=28, patch=14)
    told = " ".join(pi0_fast.files(small).limits)
    assert "image_size 28, not 224" in told  # its pi0.5 would build it, its pi0-FAST does not
    assert "acts on the task alone" in told
