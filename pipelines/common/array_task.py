"""`--array I/N`: N commands share the jobs of one `index` or `build`, without a scheduler of our own.

Each task makes the plan itself, finds the same jobs in the same order, and does every N-th of them. Each job writes whole files
under its own names, so the tasks must only agree on the plan, which the first task leaves in OUT. `--array finish` combines the
results.
"""

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from fasttok.common import json_files
from fasttok.common.output_folder import OutputFolder, OutputKind, check_output
from fasttok.errors import InputError
from pipelines.common.files import exists, filesystem, is_local, join, read_json, remove, write_json
from pipelines.common.live_counts import WORK

try:
    import fcntl
except ImportError:  # not POSIX: several tasks may then prepare at once, which gives the same files
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")
FINISH = "finish"
AGREED, LOCK = "array.json", "array.lock"  # files in WORK
TRIES, SECONDS = 5, 0.3


@dataclass(frozen=True)
class ArrayTask:
    """One task of an array.

    Attributes:
        number: number of the task, from 0.
        total: number of tasks.
    """

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    @property
    def jobs_file(self) -> str:
        """Name of the file in WORK that lists the jobs of this task."""
        return f"jobs-{self.number}-of-{self.total}.json"

    def take(self, jobs: Sequence[T]) -> Sequence[T]:
        """Returns the jobs of this task.

        >>> ArrayTask(1, 3).take("abcdefgh")
        'beh'
        """
        return jobs[self.number :: self.total]


def parse_task(text: str, overwrite: bool = False) -> ArrayTask:
    """Returns the task that `--array` names.

    Args:
        text: "I/N", with 0 <= I < N.
        overwrite: whether --overwrite is given, too.

    Raises:
        InputError: `text` does not have that form, or --overwrite is given.

    >>> parse_task("2/8")
    ArrayTask(number=2, total=8)
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not found or int(found[1]) >= int(found[2]):
        raise InputError(
            f"--array {text}: expected I/N, the number of a task and of all tasks, where I counts from 0: 0/3, 1/3 and 2/3; "
            f"or `--array {FINISH}`, when all have ended"
        )
    if overwrite:
        raise InputError(
            "--array tasks share one OUT, and --overwrite would delete what another task wrote; choose another --out"
        )
    return ArrayTask(int(found[1]), int(found[2]))


def join_output(out: str, kind: OutputKind, reads: Sequence[str]) -> OutputFolder:
    """Checks OUT like `check_output`, and tries again if that fails: another task may just be creating OUT."""
    for _ in range(TRIES):
        with suppress(InputError):
            return check_output(out, kind, resume=True, reads=reads)
        time.sleep(SECONDS)
    return check_output(out, kind, resume=True, reads=reads)


@contextmanager
def preparing(out: str, plan: Any) -> Iterator[bool]:
    """Yields whether this task must write the files in OUT that all tasks read.

    If the file system has locks, only one task writes them at a time.

    Args:
        out: path or URL of OUT, which is marked as unfinished.
        plan: everything that the tasks must agree on, as a JSON value.

    Raises:
        InputError: another task has another plan.
    """
    digest = json_files.digest(plan)
    agreed = join(out, WORK, AGREED)
    with _locked(out):
        if not exists(agreed):
            yield True
            write_json(agreed, digest)
            return
        if read_json(agreed, "what the tasks of an array agreed on") != digest:
            raise InputError(
                f"another --array task began {out} with other arguments or other sources; give every task the same. If a source "
                f"has changed since, `--array {FINISH}` does again what it has to"
            )
    yield False


def forget_array(out: str) -> None:
    """Removes the agreed plan from OUT: a run of all jobs makes its own plan, and later tasks must agree again."""
    remove(join(out, WORK, AGREED))


@contextmanager
def _locked(out: str) -> Iterator[None]:
    """Makes the other tasks wait. The file is opened for writing because NFS can only lock such a file."""
    fs, path = filesystem(join(out, WORK, LOCK))
    if fcntl is None or not is_local(fs):
        yield
        return
    number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)
