"""What every reader yields: episodes with flat step names, and records that could not be read."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.frames import Frames

Steps = dict[str, NDArray[Any] | list[Any]]


@dataclass(frozen=True)
class Where:
    """Where a source record is.

    Attributes:
        file: path or URL.
        offset: its first byte, -1 if it has no byte range.
        length: number of bytes, -1 if it has no byte range.
        number: number of records before it in the file.
        checksum: that the file holds of the record's data, -1 if it has none.
    """

    file: str
    offset: int = -1
    length: int = -1
    number: int = 0
    checksum: int = -1

    def __str__(self) -> str:
        at = f" at byte {self.offset}" if self.offset >= 0 else ""
        return f"{self.file}: record {self.number}{at}"


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstration.

    Attributes:
        steps: flat names ("action", "observation/image") to (T, ...) arrays as stored; or to lists of T encoded images or texts
            (bytes), or of T arrays or lists where the steps hold sequences of their own.
        metadata: flat names to values of the whole episode; an INDEX adds dataset, embodiment, control_hz, action_encoding.
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
        return f"{self.where}: {self.reason}: {self.detail}"


def as_float(values: NDArray[Any] | list[bytes]) -> NDArray[np.float32]:
    """A numeric step column as (T, D) float32; scalars become one dimension.

    >>> as_float(np.array([1, 2])).shape
    (2, 1)
    """
    array = np.asarray(values, np.float32)
    return array.reshape(len(array), -1)
