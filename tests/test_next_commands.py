"""Commands that are printed as the next step can be pasted: they name real paths, quoted, and nothing that is taken."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fasttok.cli.fit import Fit
from fasttok.common.next_command import beside, command
from fasttok.episodes.index_file import IndexFile
from fasttok.errors import InputError
from pipelines.index.config import IndexConfig
from pipelines.index.run import next_command, run_index
from train.config import TrainConfig
from train.loop import last_line

PLACEHOLDER = re.compile(r"\b(DATA|DATASET|INDEX|TOKENIZER|SHARDS|RUN|OUT|NAME|PAGE|DIR)\b")


def test_what_is_taken_gets_a_number(tmp_path: Path) -> None:
    assert beside(tmp_path / "index", "shards") == str(tmp_path / "shards")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards-2").write_text("")
    assert beside(tmp_path / "index", "shards") == str(tmp_path / "shards-3")
    assert beside("s3://bucket/a/index/", "shards") == "s3://bucket/a/shards"


def test_what_is_only_written_to_a_disk_is_not_beside_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fasttok fit` and `fasttok-train` refuse a URL for --out."""
    monkeypatch.chdir(tmp_path)
    assert beside("s3://bucket/a/index", "tokenizer", local=True) == "tokenizer"
    (tmp_path / "tokenizer").mkdir()
    assert beside(Path("s3://bucket/a/index"), "tokenizer", local=True) == "tokenizer-2"
    assert beside("a/index", "tokenizer", local=True) == "a/tokenizer"
    index = SimpleNamespace(datasets={"a": SimpleNamespace(entry=SimpleNamespace(kind="robot"))})
    assert next_command(cast(IndexFile, index), "gs://b/index").startswith(
        "fasttok fit gs://b/index --out tokenizer-2 "
    )


def test_a_url_in_a_path_is_the_url() -> None:
    assert (
        command("fasttok-train", "--shards", Path("gs://bucket/shards")) == "fasttok-train --shards gs://bucket/shards"
    )


def test_after_a_training() -> None:
    said = last_line(TrainConfig(Path("my shards"), Path("it's a run")), flow=True)
    run = "'it'\"'\"'s a run'"
    assert f"next: fasttok-evaluate --run {run} --held-out 'my shards' (" in said
    assert said.endswith(f": fasttok-train report {run}")
    assert "--held-out gs://b/s --decode tokens (" in last_line(TrainConfig(Path("gs://b/s"), Path("r")), flow=False)


def test_a_frequency_of_a_dataset_with_a_blank_in_its_name(tmp_path: Path) -> None:
    entry = "{name: my robot's, kind: robot, cameras: {}, language: null, action: [{from: action}]}"
    (tmp_path / "dataset.yaml").write_text(entry)
    np.savez(tmp_path / "x.npz", action=np.zeros((20, 2)))
    with pytest.raises(InputError, match="control frequency is not known") as caught:
        run_index(IndexConfig((str(tmp_path),), str(tmp_path / "index")), [])
    assert shlex.split(str(caught.value).partition("pass it: ")[2]) == ["--control-hz", "my robot's=HZ"]


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
