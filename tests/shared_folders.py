"""Folders that are filled once a session, however many processes test."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder for the whole session: the first process that asks calls `make` with it, the others wait.

    Args:
        factory: pytest's own fixture. A worker's folder lies in that of the process that started the workers.
        name: of the folder.
        make: fills the folder, which exists.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of another process, where it failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
