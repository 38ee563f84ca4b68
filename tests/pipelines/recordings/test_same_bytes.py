"""Recordings of every format give the same bytes on every runner, and after kills."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from pipelines.builder.run import run_build
from pipelines.index.run import run_index
from tests.pipelines.recordings.every_format import build_config, index_config, write_all
from tests.pipelines.runners import RUNNERS, Runner, tree

pytestmark = pytest.mark.slow
Made = tuple[tuple[str, ...], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The datasets, and a folder with their INDEX and shards."""
    folder = tmp_path_factory.mktemp("made")
    datasets = write_all(folder)
    run_both(datasets, folder, [])
    return datasets, folder


def run_both(datasets: tuple[str, ...], folder: Path, flags: list[str]) -> None:
    run_index(index_config(datasets, folder / "index"), flags)
    run_build(build_config(datasets, folder / "index", folder / "shards"), flags)


def same(folder: Path, expected: Path) -> None:
    for name in ("index", "shards"):
        found, wanted = tree(folder / name), tree(expected / name)
        assert found.keys() == wanted.keys()
        assert [file for file in found if found[file] != wanted[file]] == []


@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: runner.__name__)
def test_every_runner(runner: Runner, made: Made, tmp_path: Path) -> None:
    datasets, expected = made
    with runner(tmp_path) as flags:
        run_both(datasets, tmp_path, flags)
    same(tmp_path, expected)


def test_killed_and_run_again(made: Made, tmp_path: Path) -> None:
    """Five SIGKILLs, each a random time after the start; then a run that gets through."""
    datasets, expected = made
    rng = random.Random(0)
    for _ in range(5):
        child = os.fork()
        if not child:
            os.close(1)
            os.close(2)
            try:
                run_index(index_config(datasets, tmp_path / "index"), [])
                resume = (tmp_path / "shards").exists()
                config = build_config(datasets, tmp_path / "index", tmp_path / "shards")
                run_build(config if not resume else type(config)(**{**vars(config), "resume": True}), [])
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0.1, 1.5))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    run_index(index_config(datasets, tmp_path / "index", overwrite=(tmp_path / "index" / "index.json").exists()), [])
    config = build_config(datasets, tmp_path / "index", tmp_path / "shards")
    run_build(type(config)(**{**vars(config), "resume": (tmp_path / "shards").exists()}), [])
    same(tmp_path, expected)
