"""`fasttok fit --transform` and `--mode fixed` through every command that takes their tokenizer."""

import json
from pathlib import Path

import numpy as np
import pytest

from fasttok.cli import main
from tests.fasttok.motions import moving_together


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("chunks") / "chunks.npz"
    np.savez(path, actions=moving_together(400))
    return str(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("auto", ("--transform", "auto")),
        ("both", ("--transform", "both")),
        ("fixed", ("--mode", "fixed", "--points", "6")),
    ],
)
def test_fit_eval_inspect_encode_decode(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: tuple[str, ...]
) -> None:
    tok, ids, back = (str(tmp_path / file) for file in ("tok", "ids.npz", "back.npz"))
    assert call("fit", data, "--out", tok, "--horizon", "12", "--vocab-size", "512", "--json", *words) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["transforms"]) == 1
    tried = [one["name"] for every in report["transforms_tried"].values() for one in every]
    assert tried == (["dct", "basis", "rotation", "both"] if name == "auto" else [])
    (metrics,) = report["embodiments"].values()
    if name == "fixed":
        assert metrics["fast_tokens"] == metrics["fast_tokens_p99"] == 36
    assert call("eval", tok, data, "--json") == 0
    assert json.loads(capsys.readouterr().out)["fingerprint"] == report["fingerprint"]
    assert call("info", tok) == call("inspect", tok, data, "--chunks", "1") == 0
    assert call("encode", tok, data, "--out", ids) == call("decode", tok, ids, "--out", back) == 0
    with np.load(back) as found, np.load(data) as given:
        assert found["ok"].all()
        off = (found["actions"] - given["actions"]) / np.ptp(given["actions"], (0, 1))
        assert np.sqrt((off**2).mean()) < 0.05
    assert "Only fasttok" in (tmp_path / "tok" / "README.md").read_text()


def test_words_that_do_not_go_together(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fit", data, "--horizon", "12", "--out", str(tmp_path / "tok"))
    assert call(*words, "--mode", "published", "--transform", "both") == 1
    assert "--transform" in capsys.readouterr().err
    assert call(*words, "--mode", "fixed", "--points", "0") == 1
    assert "at least 1" in capsys.readouterr().err
    assert not (tmp_path / "tok").exists()
