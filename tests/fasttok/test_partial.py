"""`decode(..., partial=True)`: any prefix of a chunk's ids is a chunk, and each further id brings it closer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok import ActionTokenizer
from fasttok.actions.embodiment import Embodiment
from fasttok.actions.normalize import NormStats
from fasttok.cli import main
from fasttok.errors import InputError

RNG = np.random.default_rng(0)
SMOOTH = np.clip(np.cumsum(RNG.normal(0, 0.15, (300, 12, 3)), axis=1), -1, 1)


@pytest.fixture(scope="module", params=["native", "published", "wide", "FAST+"])
def tok(request: pytest.FixtureRequest) -> ActionTokenizer:
    """The wide fit has ids that end inside a character."""
    if request.param == "FAST+":
        return ActionTokenizer.load(request.getfixturevalue("shared_data") / "fast" / "universal")
    if request.param == "wide":
        return ActionTokenizer.fit(SMOOTH, vocab_size=1500, scale=100, mode="published")
    return ActionTokenizer.fit(SMOOTH, vocab_size=400, mode=request.param)


def test_every_prefix_decodes_and_each_id_brings_it_closer(tok: ActionTokenizer) -> None:
    chunks = SMOOTH[:20]
    for chunk, ids in zip(chunks, tok.encode(chunks), strict=True):
        prefixes = [ids[:k] for k in range(len(ids) + 1)]
        out = tok.decode(prefixes, horizon=12, action_dim=3, partial=True)
        assert out.ok.all(), out.errors
        assert not any(out.errors)
        errors = ((out.actions - chunk) ** 2).sum((1, 2))
        assert (np.diff(errors) <= 1e-9).all()
        assert np.array_equal(out.actions[-1], tok.decode([ids], horizon=12, action_dim=3).actions[0])
        assert not out.actions[0].any()


def test_what_no_id_has_named_is_zero(tok: ActionTokenizer) -> None:
    chunk, (ids,) = SMOOTH[7], tok.encode(SMOOTH[7])
    whole = tok.coefficients(chunk)[0].reshape(-1)
    for k in (1, len(ids) // 2, len(ids) - 1):
        out = tok.decode([ids[:k]], horizon=12, action_dim=3, partial=True).actions
        coefs = tok.coefficients(out)[0].reshape(-1)
        read = int(np.flatnonzero(coefs).max(initial=-1)) + 1
        assert np.array_equal(coefs[:read], whole[:read])
        assert read <= tok.bpe.spans(ids)[k - 1][1]


def test_ids_that_cannot_begin_a_chunk_are_errors(tok: ActionTokenizer) -> None:
    (ids,) = tok.encode(SMOOTH[0])
    bad = {"too many": [*ids, *ids], "unknown": [tok.vocab_size], "negative": [*ids[:2], -1]}
    lone = (i for i, piece in enumerate(tok.bpe.pieces) if isinstance(piece, bytes) and piece[0] & 0xC0 == 0x80)
    if (first := next(lone, None)) is not None:
        bad["the end of no character"] = [first]
    for what, row in bad.items():
        with pytest.raises(InputError, match=r"row 1 .*"):
            tok.decode([ids[:3], row], horizon=12, action_dim=3, partial=True)
        out = tok.decode([ids[:3], row], horizon=12, action_dim=3, partial=True, on_error="mask")
        assert out.ok.tolist() == [True, False], what
        assert out.errors[0] == ""
        assert out.errors[1]
        assert np.isnan(out.actions[1]).all()
    with pytest.raises(InputError, match="coefficients, expected 36"):
        tok.decode([ids[:-1]], horizon=12, action_dim=3)


def test_a_prefix_is_what_may_still_become_a_chunk(tok: ActionTokenizer) -> None:
    """For random ids, `ok` is what `allowed_next` says: it refuses the others, and lists how these may go on."""
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, tok.vocab_size, rng.integers(0, 6)) for _ in range(200)]
    out = tok.decode(rows, horizon=2, action_dim=3, partial=True, on_error="mask")
    for row, ok in zip(rows, out.ok, strict=True):
        try:
            tok.allowed_next(row, horizon=2, action_dim=3)
        except InputError:
            assert not ok, row
        else:
            assert ok, row
    assert 0 < out.ok.sum() < 200


def test_relative_dims_start_from_their_reference_and_omitted_ones_are_nan() -> None:
    raw = SMOOTH * [2.0, 0.5, 1.0] + [5.0, 0.0, 0.0]
    stats = {name: NormStats.fit(raw.reshape(-1, 3)) for name in ("a", "b")}
    embodiments = {
        "a": Embodiment(12, 3, relative=(0,)),
        "b": Embodiment(12, 3, None, ("absolute", "absolute", "gripper"), "omit"),
    }
    tok = ActionTokenizer.fit({"a": raw, "b": raw}, 500, stats=stats, embodiments=embodiments)
    near = np.array([3.0, 0.0, 0.0])
    middle = (stats["a"].q01 + stats["a"].q99) / 2
    none: list[Any] = [np.zeros(0, np.int64)]
    out = tok.decode(none, horizon=12, action_dim=3, embodiment="a", reference=near, partial=True)
    assert np.allclose(out.actions[0], middle + near)
    other = tok.decode(none, horizon=12, action_dim=3, embodiment="b", partial=True).actions[0]
    assert np.isnan(other[:, 2]).all()
    assert np.allclose(other[:, :2], middle[:2])


def call(*words: str | Path | int) -> int:
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_command_takes_cut_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tok = ActionTokenizer.fit(SMOOTH, vocab_size=400)
    tok.save(tmp_path / "tok")
    np.savez(tmp_path / "chunks.npz", actions=SMOOTH[:4])
    assert call("encode", tmp_path / "tok", tmp_path / "chunks.npz", "--out", tmp_path / "ids.jsonl") == 0
    lines = [json.loads(line) for line in (tmp_path / "ids.jsonl").read_text().splitlines()]
    cut = [line | {"ids": line["ids"][: 2 + i]} for i, line in enumerate(lines)]
    (tmp_path / "cut.jsonl").write_text("".join(json.dumps(line) + "\n" for line in cut))
    words = ("decode", tmp_path / "tok", tmp_path / "cut.jsonl", "--out", tmp_path / "actions.npz")
    more = ("--horizon", 12, "--action-dim", 3)
    assert call(*words, *more) == 1
    assert "--partial takes rows that end early" in capsys.readouterr().err
    assert call(*words, *more, "--partial") == 0
    with np.load(tmp_path / "actions.npz") as file:
        assert file["ok"].all()
        expected = tok.decode([line["ids"] for line in cut], horizon=12, action_dim=3, partial=True).actions
        assert np.array_equal(file["actions"], expected)
    (tmp_path / "cut.jsonl").write_text(json.dumps(lines[0] | {"ids": lines[0]["ids"] * 2}) + "\n")
    assert call(*words, *more, "--partial", "--overwrite") == 1
    assert "coefficients, expected at most 36" in capsys.readouterr().err
