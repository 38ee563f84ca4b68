"""`--array I/N`: tasks that know nothing of one another do the work, and `--array finish` gives the bytes of a plain run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fasttok.common.output_folder import check_output
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.commands import main
from pipelines.common.array_task import ArrayTask, join_output, parse_task, preparing
from pipelines.index.config import IndexConfig
from pipelines.index.output_kind import INDEX
from pipelines.index.run import run_index
from tests.chain import Chain
from tests.pipelines.indexing import PLANAR, first_file
from tests.pipelines.runners import tree

DATASETS = ("tabletop_planar/1.0.0", "tabletop_arm/1.0.0", "tabletop_vqa")
TASKS = 3


def index_words(data: Path, out: Path) -> list[str]:
    return ["index", *(str(data / name) for name in DATASETS), "--out", str(out)]


def build_words(index: Path, out: Path) -> list[str]:
    return [
        "build",
        "all",
        "--index",
        str(index),
        "--tokenizer",
        "fit",
        "--samples",
        "300",
        "--shards",
        "5",
        "--out",
        str(out),
    ]


def plain(data: Path, folder: Path) -> None:
    run_index(IndexConfig(tuple(str(data / name) for name in DATASETS), str(folder / "index")), [])
    run_build(BuildConfig("all", str(folder / "shards"), 300, str(folder / "index"), "fit", shards=5), [])


@pytest.mark.slow
def test_tasks_in_any_order_give_the_same(own_data: Path, tmp_path: Path, capsys: Any) -> None:
    plain(own_data, tmp_path / "plain")
    out = tmp_path / "array"
    for words in (index_words(own_data, out / "index"), build_words(tmp_path / "plain/index", out / "shards")):
        for number in (2, 0, 1):
            main([*words, "--array", f"{number}/{TASKS}"])
            assert "--array finish" in capsys.readouterr().err.splitlines()[-1]
        main([*words, "--array", "0/3", "--json"])  # again: nothing is left to do
        told = json.loads(capsys.readouterr().out)
        assert told["already"] == (told.get("jobs") or told["shards"]) > 0
        folder = Path(words[-1])
        assert not list(folder.glob("index.json")) + list(folder.glob("manifest.json"))
        main([*words, "--array", "finish"])
        capsys.readouterr()
        main([*words, "--array", "1/3", "--json"])  # a task that comes late
        late = capsys.readouterr()
        assert "is finished, nothing to do for task 1/3" in late.err
        assert json.loads(late.out).keys() == told.keys()
        main([*words, "--array", "finish"])
        assert tree(folder) == tree(tmp_path / "plain" / folder.name)


def test_a_task_that_never_ran_is_made_up_for(own_data: Path, tmp_path: Path) -> None:
    words = ["index", str(own_data / PLANAR), "--out"]
    main([*words, str(tmp_path / "some"), "--array", "1/3"])
    main([*words, str(tmp_path / "some")])  # without --array it is the same as `finish`
    main([*words, str(tmp_path / "plain")])
    assert tree(tmp_path / "some") == tree(tmp_path / "plain")


@pytest.mark.slow
def test_tasks_of_other_arguments_or_sources_are_refused(own_data: Path, chain: Chain, tmp_path: Path) -> None:
    words = ["index", str(own_data / PLANAR), "--out", str(tmp_path / "index")]
    main([*words, "--array", "0/2"])
    with pytest.raises(InputError, match="with other arguments or other sources"):
        main([*words, "--splits", "val", "--array", "1/2"])
    os.utime(first_file(own_data), (1, 1))
    with pytest.raises(InputError, match="with other arguments or other sources"):
        main([*words, "--array", "1/2"])
    main([*words, "--array", "finish"])
    shards = build_words(chain.index, tmp_path / "shards")
    main([*shards, "--array", "0/2"])
    with pytest.raises(InputError, match="begun with another plan"):
        main([*shards, "--seed", "5", "--array", "1/2"])
    with pytest.raises(InputError, match="with other arguments"):
        main([*shards, "--fit-clip", "--array", "1/2"])


@pytest.mark.parametrize("text", ["3/3", "-1/3", "1", "1/0", "a/b", "1/3/5", "", "٣/5x"])
def test_what_is_no_task_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="counts from 0"):
        parse_task(text)


def test_overwrite_is_refused(own_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--overwrite would delete what another task wrote"):
        main([*index_words(own_data, tmp_path), "--overwrite", "--array", "0/2"])


def test_all_jobs_are_done_once() -> None:
    jobs = list(range(17))
    assert sorted(job for number in range(5) for job in ArrayTask(number, 5).take(jobs)) == jobs


def test_one_task_prepares_at_a_time(tmp_path: Path) -> None:
    check_output(tmp_path / "out", INDEX).share()
    inside, firsts = [], []

    def task() -> None:
        with preparing(str(tmp_path / "out"), ["a"]) as first:
            firsts.append(first)
            inside.append(1)
            if first:
                assert len(inside) == 1
                time.sleep(0.05)

    threads = [threading.Thread(target=task) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (firsts.count(True), len(firsts)) == (1, 8)


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="will not be overwritten"):
        join_output(str(tmp_path), INDEX, [])


def start(words: list[str], number: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipelines", *words, "--array", f"{number}/{TASKS}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_processes_at_once_and_one_killed(own_data: Path, tmp_path: Path, kill: bool) -> None:
    plain(own_data, tmp_path / "plain")
    out = tmp_path / "array"
    for words in (index_words(own_data, out / "index"), build_words(tmp_path / "plain/index", out / "shards")):
        folder = Path(words[-1])
        tasks = [start(words, number) for number in range(TASKS)]
        if kill:
            while tasks[1].poll() is None and not list(folder.rglob("*.arrow")) + list(
                folder.glob(".unfinished/parts/*")
            ):
                time.sleep(0.001)
            tasks[1].send_signal(signal.SIGKILL)
        for number, task in enumerate(tasks):
            said = task.communicate()[1].decode()
            assert task.returncode == 0 or (kill and number == 1), said
        if kill:
            again = start(words, 1)
            assert again.communicate()[1]
            assert again.returncode == 0
        main([*words, "--array", "finish"])
        assert tree(folder) == tree(tmp_path / "plain" / folder.name)
