"""What every reader yields: episodes with flat step names, and records that could not be read."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.frames import Frames
from fasttok.errors import InputError

Steps = dict[str, NDArray[Any] | list[Any]]
MAX_RECORD = 1 << 30  # bytes of a stored record; a larger one is a BadRecord, `size`, unless more is allowed


@dataclass(frozen=True)
class Where:
    """Where a source record is.

    Attributes:
        file: path or URL.
        offset: its first byte, -1 if it has no byte range.
        length: number of bytes, -1 if it has no byte range.
        number: number of records before it in the file.
        checksum: that the file contains of the record's data, -1 if it has none.
    """

    file: str
    offset: int = -1
    length: int = -1
    number: int = 0
    checksum: int = -1

    def __str__(self) -> str:
        return f"{self.file}: {self.place}"

    @property
    def place(self) -> str:
        """In its file, for people: formats without byte ranges number episodes.

        >>> Where("a.parquet", number=12).place, Where("a.tfrecord", 640, 80, 3).place
        ('episode 12', 'record 3 at byte 640')
        """
        return f"record {self.number} at byte {self.offset}" if self.offset >= 0 else f"episode {self.number}"


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstration.

    Attributes:
        steps: flat names ("action", "observation/image") to (T, ...) arrays as stored; or to lists of T encoded images or texts
            (bytes), or of T arrays or lists where the steps hold sequences of their own.
        metadata: flat names to values of the whole episode; an INDEX adds dataset, embodiment, control_hz, action_encoding,
            columns (names of the columns of "action" and "state").
        where: the record it came from.
        frames: flat names of the cameras whose images were not read yet.
    """

    steps: Steps
    metadata: dict[str, Any] = field(default_factory=dict)
    where: Where = field(default_factory=lambda: Where(""))
    frames: dict[str, Frames] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """T."""
        return len(next(iter(self.steps.values()))) if self.steps else 0


ACTIONS = ("action", "actions")  # what recordings call it
UNREADABLE = "unreadable"
"""Reason of a file that cannot be read at all, which ends a reading unless the user asks to leave such files out."""


@dataclass(frozen=True)
class BadRecord:
    """A record that is not an episode.

    Attributes:
        where: the record.
        reason: a short word for counting.
        detail: what is wrong.
        records: how many records it stands for; more than one if a file ends before the records it should contain.
    """

    where: Where
    reason: str
    detail: str = ""
    records: int = 1

    def __str__(self) -> str:
        if self.reason == UNREADABLE:
            return f"{self.where.file} {self.detail}"
        if self.detail.startswith("episode "):
            return f"{self.where.file}: {self.detail}"
        return f"{self.where}: {self.reason}: {self.detail}"


class BadEpisodeError(InputError):
    """An episode that cannot be used, while others may: what is wrong with it, as a record to count."""

    def __init__(self, bad: BadRecord, advice: str = "") -> None:
        """The message is the record's, and what to do."""
        super().__init__(f"{bad.where.file}: {bad.detail}{advice}")
        self.bad = bad


def episode_of(episode: Episode) -> str:
    """An episode by the number that its data gives it, else by its place in its file.

    >>> episode_of(Episode({}, {"episode": 12})), episode_of(Episode({}, {}, Where("a.npz", number=3)))
    ('episode 12', 'episode 3')
    """
    number = episode.metadata.get("episode")
    return f"episode {episode.where.number if number is None else number}"


def as_float(values: NDArray[Any] | list[bytes]) -> NDArray[np.float32]:
    """A numeric step column as (T, D) float32; scalars become one dimension.

    >>> as_float(np.array([1, 2])).shape
    (2, 1)
    """
    array = np.asarray(values, np.float32)
    return array.reshape(len(array), -1)
