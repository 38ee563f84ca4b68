"""`--array I/N`: one of N commands that share the jobs of an `index` or a `build`, without a scheduler of ours.

Each task plans for itself, finds the same jobs in the same order, and does every N-th of them. What jobs write appears whole and
under names of its own, so tasks agree on the plan only, which the first leaves in OUT. `--array finish` puts all together.
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
except ImportError:  # not POSIX: then several tasks may prepare at once, which gives the same files
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")
FINISH = "finish"
AGREED, LOCK = "array.json", "array.lock"  # in WORK
TRIES, SECONDS = 5, 0.3


@dataclass(frozen=True)
class ArrayTask:
    """One task of an array.

    Attributes:
        number: of the task, from 0.
        total: of all tasks.
    """

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    @property
    def jobs_file(self) -> str:
        """Name of the list of its jobs, in WORK."""
        return f"jobs-{self.number}-of-{self.total}.json"

    def take(self, jobs: Sequence[T]) -> Sequence[T]:
        """Its share of all jobs.

        >>> ArrayTask(1, 3).take("abcdefgh")
        'beh'
        """
        return jobs[self.number :: self.total]


def parse_task(text: str, overwrite: bool = False) -> ArrayTask:
    """The task that `--array` names.

    Args:
        text: I/N.
        overwrite: whether --overwrite is given, too.

    Raises:
        InputError: not of that form, or with --overwrite.

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
    """As `check_output`, beside other tasks that are just making OUT; a look at the wrong moment is taken again."""
    for _ in range(TRIES):
        with suppress(InputError):
            return check_output(out, kind, resume=True, reads=reads)
        time.sleep(SECONDS)
    return check_output(out, kind, resume=True, reads=reads)


@contextmanager
def preparing(out: str, plan: Any) -> Iterator[bool]:
    """Whether this task has to leave in OUT what all tasks read. One does it at a time, where the file system has locks.

    Args:
        out: path or URL, marked as unfinished.
        plan: all that the tasks must agree on, as JSON.

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
    """A run of all jobs makes a plan of its own: later tasks have to agree anew."""
    remove(join(out, WORK, AGREED))


@contextmanager
def _locked(out: str) -> Iterator[None]:
    """Keeps the other tasks waiting. A file that is open for writing can be locked over NFS, too."""
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
