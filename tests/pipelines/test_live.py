"""Counts of a running job: complete from any number of processes, and shown."""

import multiprocessing
from pathlib import Path

import pytest

from fasttok.common import console
from fasttok.errors import InputError
from pipelines.common.beam import Stage, run_stage
from pipelines.common.live_counts import Counts, Follower, Reporter
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from tests.chain import Chain


def report(file: str, times: int) -> None:
    with Reporter(file) as live:
        for _ in range(times):
            live.add(records=1, bytes=100)
            live._send()
        live.add(files=1)


def test_counts_of_many_processes_add_up(tmp_path: Path) -> None:
    file = str(tmp_path / "live")
    follower = Follower(file)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=report, args=(file, 200)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        follower.poll()
    assert follower.poll() == Counts()
    assert follower.counts == Counts(files=3, records=600, bytes=60_000)


def test_a_torn_record_waits_for_its_rest(tmp_path: Path) -> None:
    file = tmp_path / "live"
    follower = Follower(str(file))
    report(str(file), 1)
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    follower.poll()
    file.write_bytes(whole)
    follower.poll()
    assert follower.counts == Counts(files=1, records=1, bytes=100)


def test_without_a_file_there_are_only_totals() -> None:
    with Reporter(None) as live:
        live.add(records=2)
    assert live.total == Counts(records=2)


def test_progress_tells_files_records_speed_and_rejects(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "PLAIN_LINE_SECONDS", 0.0)
    run_index(IndexConfig(chain.datasets, str(tmp_path / "index")), [])
    printed = capfd.readouterr()
    last = [line for line in printed.err.splitlines() if line.startswith("indexing: ")][-1]
    assert last.startswith("indexing: 20/20 files")
    assert "132 records" in last
    assert "MB/s, 0 rejected" in last
    assert "read = indexed + filtered + rejected" in printed.out


def numbers(source: str) -> list[int]:
    return [1, 2, 3]


def fail(job: int) -> Counts:
    raise InputError(f"job {job} cannot be done")


def test_an_error_on_a_worker_is_told_without_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^job \d cannot be done$"):
        run_stage(Stage("failing", str(tmp_path), numbers, fail, "jobs", "records"), [], 3)
