"""Live counts of a run: any number of local processes append their counts to one file, and the driver reads what is new.

A write of 32 bytes to a file opened for appending is one system call and is not torn, so there are no locks. The counts are only
shown to the user: no result is computed from them.
"""

import os
import struct
import time
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType

WORK = ".unfinished"  # folder with files that the workers of a run need; removed when the run is finished
JOBS, LIVE = "jobs.json", "live"
RECORD = struct.Struct("<4q")
SECONDS = 0.25  # seconds between two reports of one process


@dataclass
class Counts:
    """Counts of what was done.

    Attributes:
        files: number of source files, or shards, that are finished.
        records: number of records read.
        bytes: number of bytes read from the source.
        rejected: number of records rejected.
    """

    files: int = 0
    records: int = 0
    bytes: int = 0
    rejected: int = 0

    def add(self, other: "Counts") -> None:
        """Adds the counts of another object."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class Reporter:
    """Reports the counts of a worker: appends them to the file now and then, and when the block ends.

    If the file is None or does not exist, it only counts.
    """

    def __init__(self, file: str | None) -> None:
        self._handle = os.open(file, os.O_WRONLY | os.O_APPEND) if file and Path(file).exists() else None
        self._last = time.monotonic()
        self.waiting, self.total = Counts(), Counts()

    def add(self, **counts: int) -> None:
        """Adds counts, given by the names of the fields of `Counts`."""
        self.waiting.add(Counts(**counts))
        if time.monotonic() - self._last > SECONDS:
            self._send()

    def _send(self) -> None:
        now = self.waiting
        if self._handle is not None:
            os.write(self._handle, RECORD.pack(now.files, now.records, now.bytes, now.rejected))
        self.total.add(now)
        self.waiting, self._last = Counts(), time.monotonic()

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._send()
        if self._handle is not None:
            os.close(self._handle)


class Follower:
    """Reads the counts in the driver; creates the file, empty."""

    def __init__(self, file: str) -> None:
        self._file, self._at = file, 0
        self.counts = Counts()
        Path(file).write_bytes(b"")

    def poll(self) -> Counts:
        """Returns what was counted since the last call."""
        new = Counts()
        with Path(self._file).open("rb") as stream:
            stream.seek(self._at)
            data = stream.read()
        whole = len(data) - len(data) % RECORD.size
        self._at += whole
        for numbers in RECORD.iter_unpack(data[:whole]):
            new.add(Counts(*numbers))
        self.counts.add(new)
        return new
