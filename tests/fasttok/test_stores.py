"""Paths and URLs: what is a local path, what a URL, and what is said of a store that cannot be reached."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fasttok.common import stores
from fasttok.common.output_folder import OutputKind, check_output
from fasttok.episodes import open_episodes
from fasttok.errors import InputError

ODD = ("a::b", "memory::x", "simplecache::c", "a#b", "what?", "st*r", "[x]", "{y}", "~", "p%20q", "x@y", "a b", "ü")


@pytest.mark.parametrize("name", [*ODD, "zip::memory:", "memory:"])
def test_a_local_folder_may_have_any_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name / "d"
    folder.mkdir(parents=True)
    np.savez(folder / "x.npz", action=np.zeros((4, 2), np.float32))
    monkeypatch.chdir(tmp_path)
    for path in (f"{folder}", f"{tmp_path}/{name}//d", f"./{name}/d", f"./{name}//d"):
        assert [len(episode.steps["action"]) for episode in open_episodes(path)] == [4]
        assert [len(episode.steps["action"]) for episode in open_episodes(f"{path}/x.npz")] == [4]
    assert check_output(f"{tmp_path}/{name}//out", OutputKind("thing", (), ("a",))).path == f"{tmp_path}/{name}/out"


@given(st.text("ab:/#?*[]{}~.", max_size=12))
@example("::memory://x")
@example("://")
def test_a_path_from_the_root_or_the_present_folder_is_local(tail: str) -> None:
    for head in ("/data/", "./", "../"):
        fs, path = stores.filesystem(head + tail)
        assert type(fs).__name__ == "LocalFileSystem"
        assert Path(path) == Path.cwd() / (head + tail)


@pytest.mark.parametrize("name", ODD)
def test_a_name_in_a_store_is_a_name_and_no_chain(name: str) -> None:
    fs, path = stores.filesystem(f"memory://bucket/{name}/x")
    assert (type(fs).__name__, path.lstrip("/")) == ("MemoryFileSystem", f"bucket/{name}/x")


@pytest.mark.parametrize(
    "url", ["simplecache::gs://bucket/x", "zip://inner::gs://b/a.zip", "filecache::simplecache::s3://b/x"]
)
def test_a_chain_of_file_systems_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"is a chain of file systems .*`::`.*give the URL of the store itself"):
        stores.filesystem(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense://x", r"nonsense://x: no file system is known for nonsense://; .*\./nonsense://x"),
        ("zip://x", r"zip://x cannot be opened by its URL alone"),
    ],
)
def test_a_scheme_that_cannot_be_opened(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_episodes(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gs://b/x", "needs a package that is not installed; run: pip install 'fasttok-vla[gcp]'"),
        ("s3://b/x", "needs a package that is not installed; run: pip install 'fasttok-vla[s3]'"),
        ("hf://datasets/a/b", "needs a package that is not installed; run: pip install huggingface_hub"),
    ],
)
def test_a_driver_that_is_missing_is_named(url: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> Any:
        raise ImportError("no driver")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(InputError) as caught:
        open_episodes(url)
    assert said in str(caught.value)


def test_a_store_that_fails_is_no_empty_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec's `exists` takes every error for "no": a folder would be called missing, or an output new."""
    fs = fsspec.filesystem("memory")

    def fails(*_: object, **__: object) -> None:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(type(fs), "info", fails)
    assert not fs.exists("/bucket/x")
    for ask in (open_episodes, lambda url: check_output(url, OutputKind("thing", (), ("a",)))):
        with pytest.raises(InputError, match=r"memory://.*cannot be reached \(ConnectionResetError: reset by peer\)"):
            ask("memory://bucket/x")


@pytest.mark.parametrize("url", ["gs://bucket/T", "s3://bucket/a/T", "memory://T"])
def test_a_command_that_writes_a_local_folder_refuses_a_url(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fit --out gs://bucket/T` wrote a local folder gs:/bucket/T."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="expected a local folder"):
        check_output(Path(url), OutputKind("thing", (), ("a",)))
    assert not list(tmp_path.iterdir())


def asks(command: list[str], folder: Path, **environ: str) -> str:
    """What a command that fails says; no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, env={**os.environ, **environ}, cwd=folder
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


WITH_URL = (
    ["fasttok.cli", "fit", "URL", "--out", "T"],
    ["pipelines", "index", "URL", "--out", "I"],
    ["pipelines", "index", ".", "--out", "URL"],
    ["pipelines", "build", "demo", "--index", "URL", "--out", "S", "--samples", "10"],
    ["pipelines", "lint", "URL"],
    ["pipelines", "stats", "URL"],
    ["pipelines", "statistics", "URL"],
)


@pytest.mark.slow
@pytest.mark.parametrize("environ", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
@pytest.mark.parametrize("command", WITH_URL, ids=lambda words: f"{words[1]}-{words.index('URL')}")
def test_hf_offline_is_one_sentence(command: list[str], environ: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the extra hf: pip install 'fasttok-vla[hf]'")
    url = "hf://datasets/lerobot/pusht"
    said = asks([url if word == "URL" else word for word in command], tmp_path, **environ)
    assert len(said.strip().splitlines()) == 1
    assert f"{url}" in said
    assert "cannot be reached" in said
    assert "local folder" in said


def test_nothing_else_asks_fsspec_where_a_path_leads() -> None:
    root = Path(__file__).resolve().parents[2]
    asking = {
        file.relative_to(root).as_posix()
        for package in ("fasttok", "mixtures", "pipelines", "train")
        for file in (root / package).rglob("*.py")
        if any(word in file.read_text() for word in ("fsspec.open(", "url_to_fs(", "fsspec.filesystem(", "fsspec.core"))
    }
    assert asking == {"fasttok/common/stores.py"}
