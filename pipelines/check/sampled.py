"""The episodes that `check` keeps in memory: their numbers, instructions, and small pictures of their cameras."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes import Where
from pipelines.check.columns_by_name import DatasetColumns, StepColumn
from pipelines.check.dataset_findings import FoundAt

DIGITS = 5  # decimals of an action that count when episodes are compared


@dataclass(frozen=True, eq=False)
class CameraLook:
    """A few frames of a camera along an episode.

    Attributes:
        thumbnails: (k, 24, 24, 3) float32 in [0, 255], red first if the entry's `bgr` is right.
        pictures: a larger frame from the beginning and one from the end, (height, 200, 3) uint8.
        problem: why there are no frames, "" if there are.
        absent: whether the file of the frames is missing.
    """

    thumbnails: NDArray[np.float32]
    pictures: tuple[NDArray[np.uint8], ...] = ()
    problem: str = ""
    absent: bool = False


@dataclass(frozen=True, eq=False)
class SampledEpisode:
    """What is kept of one episode.

    Attributes:
        split: split of the dataset.
        where: place of the episode in the source data.
        action: (T, D) float64, stored values times the entry's `scale`, without the steps of `drop_first`.
        state: (T, S) float64, likewise.
        times: (N,) float64, time stamps of all N stored steps; None if there are none.
        language: the instruction, "" if it is empty, None if the episode has no feature for it.
        cameras: feature -> what was seen of this camera.
        dropped: number of steps that `drop_first` leaves out of `action` and `state`.
        language_changes: whether later steps have another instruction.
    """

    split: str
    where: Where
    action: NDArray[np.float64]
    state: NDArray[np.float64]
    times: NDArray[np.float64] | None = None
    language: str | None = None
    cameras: dict[str, CameraLook] = field(default_factory=dict)
    dropped: int = 0
    language_changes: bool = False

    def at(self, step: int | None = None, dim: object = "") -> FoundAt:
        """Returns a place in this episode; `step` counts as `action` and `state` do."""
        return self.at_stored(None if step is None else step + self.dropped, dim)

    def at_stored(self, step: int | None, dim: object = "") -> FoundAt:
        """Returns a place in this episode; `step` counts all stored steps, as `times` does."""
        return FoundAt(self.where.file, self.where.number, step, str(dim), self.split)


@dataclass(frozen=True)
class ActionDigest:
    """A short digest of an episode's actions, to find equal episodes.

    Attributes:
        digest: the digest; b"" if nothing moves, as many such episodes are alike.
        place: place of the episode.
    """

    digest: bytes
    place: FoundAt


def action_digest(action: NDArray[np.float64]) -> bytes:
    """Computes a digest of actions rounded to `DIGITS` decimals; b"" if they do not change.

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
    """The episodes that were read, as far as the checks need them.

    Attributes:
        episodes: kept episodes, in the order in which they were read.
        columns: the columns that are the action and the state.
        hz: control frequency in Hz, from the entry or else from the files; None if neither has it.
        digests: digests of all episodes that were read, including those that were not kept.
        recorded_hz: control frequency in Hz that the files record, None if they record none.
    """

    episodes: list[SampledEpisode]
    columns: DatasetColumns
    hz: float | None
    digests: list[ActionDigest] = field(default_factory=list)
    recorded_hz: float | None = None

    def tables(self) -> Iterator[tuple[str, tuple[StepColumn, ...], list[NDArray[np.float64]]]]:
        """Yields "action" and "state", each with its columns and the table (T, D) of every usual episode.

        What has no columns is left out, and so are both if no episode has steps.
        """
        episodes = self.usual()
        for kind, columns, tables in (
            ("action", self.columns.action, [episode.action for episode in episodes]),
            ("state", self.columns.state, [episode.state for episode in episodes]),
        ):
            if columns and tables:
                yield kind, columns, tables

    def usual(self) -> list[SampledEpisode]:
        """Returns the kept episodes that have steps."""
        return [episode for episode in self.episodes if len(episode.action)]
