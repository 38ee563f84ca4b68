"""Commands that are printed as the next step can be pasted: they name real paths, quoted, and nothing that is taken."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fasttok.cli.fit import Fit
from fasttok.common.next_command import beside, command
from fasttok.episodes.index_file import IndexFile
from pipelines.index.run import next_command

PLACEHOLDER = re.compile(r"\b(DATA|DATASET|INDEX|TOKENIZER|SHARDS|RUN|OUT|NAME|PAGE|DIR)\b")


def test_what_is_taken_gets_a_number(tmp_path: Path) -> None:
    assert beside(tmp_path / "index", "shards") == str(tmp_path / "shards")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards-2").write_text("")
    assert beside(tmp_path / "index", "shards") == str(tmp_path / "shards-3")
    assert beside("s3://bucket/a/index/", "shards") == "s3://bucket/a/shards"


def test_words_are_quoted() -> None:
    assert shlex.split(command("fasttok", "fit", "my data", Path("a b"))) == ["fasttok", "fit", "my data", "a b"]


def test_after_a_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my index").mkdir()
    (tmp_path / "my index" / "index.json").write_text("{}")
    built = Fit(data=("my index",), out=Path("tok")).next_command()
    assert shlex.split(built)[:5] == ["fasttok-pipelines", "build", "all", "--index", "my index"]
    measured = Fit(data=("a.npz", "b.npz"), out=Path("made/tok")).next_command()
    assert measured == "fasttok eval made/tok a.npz b.npz --html made/eval.html"
    assert not any(map(PLACEHOLDER.search, (built, measured)))
    other = Fit(data=("d",), out=Path("t"), split="val", action_key=("arm", "grip"), skip_bad=True).next_command()
    assert other == "fasttok eval t d --split val --action-key arm grip --skip-bad --html eval.html"


@pytest.mark.parametrize(("kind", "begins"), [("robot", "fasttok fit d/index"), ("vqa", "fasttok-pipelines build all")])
def test_after_an_index(kind: str, begins: str) -> None:
    index = SimpleNamespace(datasets={"a": SimpleNamespace(entry=SimpleNamespace(kind=kind))})
    said = next_command(cast(IndexFile, index), "d/index")
    assert said.startswith(begins)
    assert not PLACEHOLDER.search(said)


@pytest.mark.parametrize("words", [["fasttok-mixtures", "list"], ["fasttok-study", "list"]])
def test_after_a_list(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from mixtures.commands import main
    from train.study.command import command as study

    commands: dict[str, Any] = {"fasttok-mixtures": main, "fasttok-study": study}
    commands[words[0]](words[1:])
    said = capsys.readouterr().err.partition("next: ")[2]
    assert said.startswith(words[0])
    assert not PLACEHOLDER.search(said)
