"""Trackers: metrics.jsonl, TensorBoard and W&B. They get every row, go on after a resume, and never end a training."""

import json
import logging
import math
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest

from fasttok.errors import InputError
from tests.chain import Chain
from tests.train.tiny_runs import config, losses, rows_of
from train.config import TrainConfig
from train.loop import run
from train.runs import tracker_thread
from train.runs.run_folder import RUN
from train.runs.tracker import check_trackers, open_trackers

ASKED = TrainConfig(Path("SHARDS"), Path("RUN"))


class FakeRun:
    """Of a stand-in for wandb: remembers what it gets."""

    def __init__(self, **about: Any) -> None:
        self.about, self.rows, self.finished = about, list[tuple[dict[str, float], int]](), False
        self.id = about["id"]

    def log(self, row: dict[str, float], step: int) -> None:
        self.rows.append((row, step))

    def finish(self) -> None:
        self.finished = True


def fake_wandb(monkeypatch: pytest.MonkeyPatch, kind: type[FakeRun] = FakeRun) -> list[FakeRun]:
    runs: list[FakeRun] = []

    def init(**about: Any) -> FakeRun:
        runs.append(kind(**about))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    return runs


def logged(folder: Path) -> list[int]:
    return [row["step"] for row in rows_of(folder)]


def test_trackers_get_every_row(chain: Chain, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboardX")
    runs = fake_wandb(monkeypatch)
    run(config(chain, tmp_path / "run", trackers=("tensorboard", "wandb"), steps=4))
    (ours,) = runs
    assert [step for _, step in ours.rows] == [1, 2, 3, 4]
    assert ours.finished
    assert ours.about["config"]["batch_size"] == 8
    assert (tmp_path / "run" / "wandb_id").read_text() == ours.about["id"]
    assert losses(tmp_path / "run") == losses(trained)
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"loss/flow" in events.read_bytes()
    with pytest.raises(InputError, match="did you mean 'wandb'"):
        open_trackers(("wandbb",), tmp_path, 0, config(chain, tmp_path))


def use(folder: Path, rows: int = 4, names: tuple[str, ...] = ("wandb",), from_step: int = 0) -> None:
    """What the loop does with its trackers."""
    folder.mkdir(exist_ok=True)
    tracker = open_trackers(names, folder, from_step, ASKED)
    for step in range(from_step + 1, from_step + rows + 1):
        tracker.log({"step": step, "loss": 0.5})
    tracker.close()


@pytest.mark.parametrize("where", ["start", "log", "end"])
def test_a_tracker_that_fails_is_left_out_and_training_goes_on(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(FakeRun):
        def __init__(self, **about: Any) -> None:
            super().__init__(**about)
            if where == "start":
                raise ConnectionError("no network\nsecond line")

        def log(self, row: dict[str, float], step: int) -> None:
            super().log(row, step)
            if where == "log" and step == 3:
                raise ConnectionError("no network")

        def finish(self) -> None:
            super().finish()
            if where == "end":
                raise ConnectionError("no network")

    caplog.set_level(logging.WARNING, logger="train")
    runs = fake_wandb(monkeypatch, Failing)
    use(tmp_path / "run")
    assert logged(tmp_path / "run") == [1, 2, 3, 4]
    assert [message.count("no network") for message in caplog.messages] == [1]
    assert "second line" not in caplog.text
    assert {"start": "could not start", "log": "failed:", "end": "failed at its end"}[where] in caplog.text
    if where != "start":
        assert [step for _, step in runs[0].rows] == ([1, 2, 3] if where == "log" else [1, 2, 3, 4])


@pytest.mark.parametrize("where", ["start", "log", "end"])
def test_a_tracker_that_hangs_does_not_keep_the_run(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    never = threading.Event()

    class Hanging(FakeRun):
        def __init__(self, **about: Any) -> None:
            super().__init__(**about)
            if where == "start":
                never.wait()

        def log(self, row: dict[str, float], step: int) -> None:
            if where == "log":
                never.wait()

        def finish(self) -> None:
            if where == "end":
                never.wait()

    for name in ("OPEN_SECONDS", "CLOSE_SECONDS", "STUCK_SECONDS"):
        monkeypatch.setattr(tracker_thread, name, 0.2 if where == "start" or name != "OPEN_SECONDS" else 60.0)
    monkeypatch.setattr(tracker_thread, "WAITING_ROWS", 2)
    caplog.set_level(logging.WARNING, logger="train")
    fake_wandb(monkeypatch, Hanging)
    began = time.monotonic()
    use(tmp_path / "run", rows=2 if where == "end" else 8)
    assert time.monotonic() - began < 30
    assert logged(tmp_path / "run")[-1] == (2 if where == "end" else 8)
    assert "had not finished" in caplog.text
    assert ("has not started" in caplog.text) == (where == "start")
    assert ("does not keep up" in caplog.text) == (where != "end")
    never.set()


def test_files_of_a_tracker_that_cannot_be_written_or_are_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboardX")
    caplog.set_level(logging.WARNING, logger="train")
    runs = fake_wandb(monkeypatch)
    folder = tmp_path / "run"
    (folder / "wandb_id").mkdir(parents=True)
    (folder / "tensorboard").write_text("not a folder")
    use(folder, names=("wandb", "tensorboard"))
    assert logged(folder) == [1, 2, 3, 4]
    assert sorted(message.split()[1] for message in caplog.messages) == ["tensorboard", "wandb"]
    (folder / "wandb_id").rmdir()
    for damaged in (b"", b"../../etc", b"\xff\xfe", b"a" * 5000):
        (folder / "wandb_id").write_bytes(damaged)
        use(folder)
        assert runs[-1].about["id"] not in ("", damaged.decode(errors="replace"))
        assert (folder / "wandb_id").read_text() == runs[-1].about["id"]


def test_a_resumed_run_goes_on_in_the_same_wandb_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B refuses steps that it has; those between the checkpoint and the kill are computed a second time."""
    runs = fake_wandb(monkeypatch)
    use(tmp_path / "run", rows=5)

    class Resumed(FakeRun):
        step = 6  # of the next row that W&B will take

    resumed = fake_wandb(monkeypatch, Resumed)
    use(tmp_path / "run", rows=5, from_step=3)
    assert resumed[0].about["id"] == runs[0].about["id"]
    assert resumed[0].about["resume"] == "allow"
    assert [step for _, step in resumed[0].rows] == [6, 7, 8]
    assert logged(tmp_path / "run") == list(range(1, 9))


def test_a_damaged_metrics_file_is_cut_to_its_whole_rows(tmp_path: Path) -> None:
    rows = [
        b'{"step": 1}',
        b"5",
        b"[]",
        b'{"loss": 2}',
        b'{"step": "x"}',
        b"\xff",
        b'{"step": 2}',
        b'{"step": 3}',
        b'{"st',
    ]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(rows))
    open_trackers((), tmp_path, 2, ASKED)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    """NaN is no JSON: tools that read it strictly would refuse the whole file."""
    log = open_trackers((), tmp_path, 0, ASKED)
    log.log({"step": 1, "loss": 0.5, "held_out_nrmse": math.nan, "grad_norm": math.inf})
    log.close()

    def refuse(word: str) -> float:
        raise AssertionError(word)

    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=refuse) == {
        "step": 1,
        "loss": 0.5,
        "held_out_nrmse": None,
        "grad_norm": None,
    }


def test_a_package_that_does_not_load_is_an_error_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasttok.errors.import_module", lambda name: 1 / 0)
    with pytest.raises(InputError, match="--trackers wandb: its package cannot be imported: division by zero"):
        check_trackers(("wandb",))


REAL = """
import os, sys
from pathlib import Path
from train.config import TrainConfig
from train.runs.tracker import open_trackers
run, first = Path(sys.argv[1]), int(sys.argv[2])
run.mkdir(exist_ok=True)
tracker = open_trackers(("wandb",), run, first, TrainConfig(Path("SHARDS"), run, batch_size=24))
for step in range(first + 1, first + 4):
    tracker.log({"step": step, "loss_flow": 0.25 * step})
tracker.close()
"""


def real_wandb(folder: Path, first: int, home: Path, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(folder), str(first)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2], timeout=300,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "WANDB_ERROR_REPORTING": "false", **environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_real_wandb_offline(tmp_path: Path) -> None:
    """Two processes, as a run and its resumption: one id, all rows, settings; RUN is known as ours whole, and holds no key."""
    pytest.importorskip("wandb", reason="pip install 'fasttok-vla[track]' to test the real W&B")
    folder, key = tmp_path / "run", "0123456789abcdef" * 2 + "01234567"
    for first in (0, 3):
        said = real_wandb(folder, first, tmp_path, WANDB_MODE="offline", WANDB_API_KEY=key)
        assert "left out" not in said
        assert "Training goes on without" not in said
    number = (folder / "wandb_id").read_text()
    kept = sorted((folder / "wandb").glob(f"offline-run-*-{number}/run-{number}.wandb"))
    assert len(kept) == 2
    assert all(b"loss_flow" in file.read_bytes() and b"batch_size" in file.read_bytes() for file in kept)
    assert b"0.75" in kept[0].read_bytes()
    assert b"1.5" in kept[1].read_bytes()
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if key.encode() in path.read_bytes()]
    assert all(RUN.wrote(path.relative_to(folder).as_posix()) for path in files)
    assert logged(folder) == [1, 2, 3, 4, 5, 6]


def test_the_real_wandb_without_a_login_does_not_end_the_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="pip install 'fasttok-vla[track]' to test the real W&B")
    said = real_wandb(tmp_path / "run", 0, tmp_path)
    assert said.count("--trackers wandb could not start") == 1
    assert "Traceback" not in said
    assert logged(tmp_path / "run") == [1, 2, 3]
