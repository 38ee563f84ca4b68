"""A disk that is full, or would be: one line that says what to do, and whatever was whole stays so."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fasttok.common import console
from fasttok.errors import InputError
from tests.chain import Chain
from tests.train.tiny_runs import FLAGS, config, digests
from train.loop import run
from train.runs.disk_room import full_disk_said
from train.runs.run_folder import CHECKPOINTS


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def free(monkeypatch: pytest.MonkeyPatch, *left: int) -> None:
    """The disk says these numbers, and then the last for ever."""
    said = list(left)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, said.pop(0) if len(said) > 1 else said[0]))


def test_a_run_that_has_no_room_does_not_begin(
    chain: Chain, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(trained, tmp_path / "run")
    before, each = digests(out), sum(f.stat().st_size for f in (out / CHECKPOINTS).rglob("*") if f.is_file())
    free(monkeypatch, each // 2)
    for asked in (
        config(chain, tmp_path / "new"),
        config(chain, out, resume=True, steps=40, checkpoint_every=2),
    ):
        with pytest.raises(
            InputError, match=r"needs .* MB for its checkpoints .* has .* MB free: make room, lower --keep"
        ):
            run(asked)
    assert digests(out) == before
    assert not (tmp_path / "new").exists()
    free(monkeypatch, 0)
    run(config(chain, out, resume=True))  # nothing is left to write


def test_a_checkpoint_that_has_no_room_is_not_begun(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 10**12, 10**12, 10)
    with pytest.raises(
        InputError, match=r"checkpoint of step 4 needs .*newest whole checkpoint, of step 2, is untouched.*--resume"
    ):
        run(config(chain, tmp_path / "run", checkpoint_every=2))
    assert [p.name for p in (tmp_path / "run" / CHECKPOINTS).iterdir()] == ["2"]
    free(monkeypatch, 10**12)
    run(config(chain, tmp_path / "run", checkpoint_every=2, resume=True))


def caused() -> None:
    try:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    except OSError as error:
        raise RuntimeError("a thread has failed") from error


def raised(error: BaseException) -> None:
    raise error


FULL: list[Callable[[], None]] = [
    lambda: raised(OSError(errno.ENOSPC, "No space left on device")),
    lambda: raised(ValueError('RESOURCE_EXHAUSTED: Error writing "a" in OCDBT database: No space left on device [28]')),
    lambda: raised(ExceptionGroup("several", [ValueError("one"), OSError(errno.EFBIG, "File too large", "a")])),
    caused,
]


@pytest.mark.parametrize("fails", FULL)
def test_a_full_disk_is_known_behind_any_error(
    tmp_path: Path, fails: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other threads say of it stays hidden until the process ends; all other errors are shown."""
    shown: list[Any] = []
    for hooks, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(hooks, name, lambda *error: shown.append(error))
    for name in ("4", "6", "8.orbax-checkpoint-tmp", "mine"):
        (tmp_path / CHECKPOINTS / name).mkdir(parents=True)
    with (
        pytest.raises(InputError, match=r"cannot be written: .*newest whole checkpoint, of step 6, is untouched"),
        full_disk_said(tmp_path),
    ):
        fails()
    assert sorted(p.name for p in (tmp_path / CHECKPOINTS).iterdir()) == ["4", "6", "mine"]
    late = [OSError(errno.ENOSPC, "No space left on device"), ValueError("something else")]
    for error in late:
        thread = threading.Thread(target=raised, args=(error,))
        thread.start()
        thread.join()
    assert [what[0].exc_value for what in shown] == late[1:]


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    for error in (
        ValueError("RESOURCE_EXHAUSTED: Out of memory"),
        OSError(errno.EIO, "Input/output error"),
        KeyboardInterrupt(),
    ):
        hooks = (sys.excepthook, sys.unraisablehook, threading.excepthook)
        with pytest.raises(type(error)) as got, full_disk_said(tmp_path):
            raise error
        assert got.value is error
        assert (sys.excepthook, sys.unraisablehook, threading.excepthook) == hooks


def test_every_command_says_that_the_disk_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    """Python names no file when a write fails."""
    assert console.run(lambda: raised(OSError(errno.ENOSPC, "No space left on device"))) == 1
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.slow
def test_a_writer_that_fails_is_one_line(chain: Chain, tmp_path: Path) -> None:
    """The system refuses files of more than 60 kB: orbax's threads fail, as on a full disk, and do not show it."""
    words = ["--shards", str(chain.shards), "--out", str(tmp_path / "run"), "--batch-size=8", "--data.text-vocab=600",
             "--steps=4", "--checkpoint-every=1", *FLAGS]  # fmt: skip
    small = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, {resource.RLIM_INFINITY}))"
    program = f"{small}; from fasttok.common import console; from train.command import main; console.script('t', main)"
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": ""},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "File too large" in done.stderr.splitlines()[-1]
