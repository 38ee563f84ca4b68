"""RLDS as TFDS writes it: a job a file.

Directories are opened once in a process, as long as the files that describe them do not change.
"""

from collections.abc import Iterator
from functools import lru_cache

from fasttok.episodes import BadRecord, Episode, Where, rlds
from pipelines.common.files import file_version, join
from pipelines.recordings.recordings import Part

DESCRIPTIONS = ("features.json", "dataset_info.json")


class RldsRecordings:
    """A TFDS version folder."""

    def __init__(self, directory: str, through: str, most: int, version: str = "") -> None:
        self.directory, self.most = directory, most
        described = (version,) if version else _described(directory)
        self._opened = _through_tfds(directory, through, described) if through else _raw(directory, described)

    @property
    def name(self) -> str:
        """The dataset's, as dataset_info.json has it."""
        return self._opened.name

    def described(self) -> list[str]:
        """TFDS's two JSON files."""
        return [join(self.directory, name) for name in DESCRIPTIONS]

    def parts(self) -> dict[str, list[Part]]:
        """A part a file."""
        return {split: [Part(file) for file in files] for split, files in self._opened.splits.items()}

    def read(self, part: Part, verify: bool) -> Iterator[Episode | BadRecord]:
        """Every record of a file."""
        return self._opened.read_file(part.file, verify, self.most)

    def read_at(self, where: Where) -> Episode | BadRecord:
        """The record at its bytes."""
        return self._opened.read_at(where.file, where.offset, where.length, where.number, most=self.most)


def open_raw(directory: str) -> rlds.RawRldsDirectory:
    """A dataset's directory, read without TFDS."""
    return _raw(directory, _described(directory))


def _described(directory: str) -> tuple[str, ...]:
    return tuple(file_version(join(directory, name)) for name in DESCRIPTIONS)


@lru_cache(maxsize=64)
def _raw(directory: str, _version: tuple[str, ...]) -> rlds.RawRldsDirectory:
    return rlds.open_raw(directory)


@lru_cache(maxsize=64)
def _through_tfds(directory: str, through: str, _version: tuple[str, ...]) -> rlds.RldsDirectory:
    from fasttok.episodes.tfds import open_through_tfds

    return open_through_tfds(directory, through)
