"""Defines what every reader yields: episodes with flat step names, and records that could not be read."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.frames import Frames
from fasttok.errors import InputError

Steps = dict[str, NDArray[Any] | list[Any]]
MAX_RECORD = 1 << 30  # bytes of a stored record; a larger one is a BadRecord (reason `size`) unless more is allowed


@dataclass(frozen=True)
class Where:
    """Where a source record is.

    Attributes:
        file: path or URL.
        offset: first byte of the record, -1 if it has no byte range.
        length: number of bytes, -1 if it has no byte range.
        number: number of the episode in the file, as its data numbers it; else the number of records before it.
        checksum: checksum of the record's data that the file stores, -1 if it stores none.
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
        """The place in the file, for people. Formats without byte ranges number episodes.

        >>> Where("a.parquet", number=12).place, Where("a.tfrecord", 640, 80, 3).place
        ('episode 12', 'record 3 at byte 640')
        """
        return f"record {self.number} at byte {self.offset}" if self.offset >= 0 else f"episode {self.number}"


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstration.

    Attributes:
        steps: flat name ("action", "observation/image") -> (T, ...) array as stored, or list of T encoded images or texts
            (bytes), or list of T arrays or lists if each step contains sequences.
        metadata: flat name -> value of the whole episode. An INDEX adds dataset, embodiment, control_hz, action_encoding and
            columns (names of the columns of "action" and "state").
        where: the record that the episode came from.
        frames: flat name -> frames of a camera whose images were not read yet.
        folder: path or URL of its dataset's folder, or of the file that is the dataset; "" if not known.
    """

    steps: Steps
    metadata: dict[str, Any] = field(default_factory=dict)
    where: Where = field(default_factory=lambda: Where(""))
    frames: dict[str, Frames] = field(default_factory=dict)
    folder: str = ""

    @property
    def length(self) -> int:
        """Number of steps T."""
        return len(next(iter(self.steps.values()))) if self.steps else 0


OF_READERS = ("action_encoding", "action_names", "columns", "first_step", "step_numbers", "source")
"""Metadata that readers and commands make, so values with these names in a file are not metadata."""
ACTIONS = ("action", "actions")  # names of the actions in recordings
UNREADABLE = "unreadable"
"""Reason of a BadRecord for a file that cannot be read at all. It ends the reading unless the user asks to skip such files."""


@dataclass(frozen=True)
class BadRecord:
    """A record that is not an episode.

    Attributes:
        where: where the record is.
        reason: a short word for counting.
        detail: what is wrong.
        records: number of records that this stands for; more than one if a file lacks records that it should contain.
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
    """An episode that cannot be used, while others can. `bad` is the record to count, which says what is wrong."""

    def __init__(self, bad: BadRecord, advice: str = "") -> None:
        """Makes the message from what is wrong and `advice`, which says what to do."""
        super().__init__(f"{bad.where.file}: {bad.detail}{advice}")
        self.bad = bad


def episode_of(episode: Episode) -> str:
    """Returns a name for an episode: by the number that its data gives it, or else by its place in the file.

    >>> episode_of(Episode({}, {"episode": 12})), episode_of(Episode({}, {}, Where("a.npz", number=3)))
    ('episode 12', 'episode 3')
    """
    number = episode.metadata.get("episode")
    return f"episode {episode.where.number if number is None else number}"


def as_float(values: NDArray[Any] | list[bytes]) -> NDArray[np.float32]:
    """Returns a numeric step column as (T, D) float32. Scalars become one dimension; further axes are flattened.

    >>> as_float(np.array([1, 2])).shape
    (2, 1)
    """
    array = np.asarray(values, np.float32)
    return array.reshape(len(array), -1)
