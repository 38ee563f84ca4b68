"""The episodes that the doctor looks at, kept in memory: their numbers, words, and small pictures of their cameras."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes import Where
from pipelines.check.columns_by_name import DatasetColumns
from pipelines.check.dataset_findings import FoundAt

DIGITS = 5  # of an action that count when episodes are compared


@dataclass(frozen=True, eq=False)
class CameraLook:
    """A few frames of a camera along an episode.

    Attributes:
        thumbnails: (k, 24, 24, 3) float32, colours as the entry says they are.
        pictures: a frame at the beginning and one at the end, larger.
        problem: why there are no frames, "" if there are.
        absent: whether the file of the frames is not there at all.
    """

    thumbnails: NDArray[np.float32]
    pictures: tuple[NDArray[np.uint8], ...] = ()
    problem: str = ""
    absent: bool = False


@dataclass(frozen=True, eq=False)
class SampledEpisode:
    """What is kept of one episode.

    Attributes:
        split: of the dataset.
        where: in the source.
        action: (T, D) as stored.
        state: (T, S) as stored.
        times: (T,) time stamps as stored, None if there are none.
        language: the instruction, None if nothing contains one.
        cameras: what was looked at, by feature.
    """

    split: str
    where: Where
    action: NDArray[np.float64]
    state: NDArray[np.float64]
    times: NDArray[np.float64] | None = None
    language: str | None = None
    cameras: dict[str, CameraLook] = field(default_factory=dict)

    def at(self, step: int | None = None, dim: object = "") -> FoundAt:
        """A place in it."""
        return FoundAt(self.where.file, self.where.number, step, str(dim), self.split)


@dataclass(frozen=True)
class ActionDigest:
    """The actions of an episode, as few bytes.

    Attributes:
        digest: b"" if nothing moves, so that many are alike.
        place: the episode.
    """

    digest: bytes
    place: FoundAt


def action_digest(action: NDArray[np.float64]) -> bytes:
    """Of actions rounded to so many digits; b"" if they do not change.

    >>> action_digest(np.zeros((5, 2))), len(action_digest(np.eye(2)))
    (b'', 16)
    """
    known = np.nan_to_num(action)
    if len(known) < 2 or not np.ptp(known, axis=0).any():
        return b""
    rounded = np.round(known, DIGITS) + 0.0
    digest = hashlib.blake2b(rounded.tobytes(), digest_size=16)
    digest.update(str(rounded.shape).encode())
    return digest.digest()


@dataclass(frozen=True, eq=False)
class EpisodeSample:
    """All that was read.

    Attributes:
        episodes: in the order in which they were read.
        columns: what the action and the state are.
        hz: control frequency, None if nothing says it.
        digests: of all episodes that were read, also of those that were not kept.
        recorded_hz: control frequency that the files record, None if they do not.
    """

    episodes: list[SampledEpisode]
    columns: DatasetColumns
    hz: float | None
    digests: list[ActionDigest] = field(default_factory=list)
    recorded_hz: float | None = None

    def usual(self) -> list[SampledEpisode]:
        """Episodes with any step."""
        return [episode for episode in self.episodes if len(episode.action)]
