"""Reads RLDS as TFDS writes it. A job reads a file, or a range of a large file.

A process opens each directory once, and again only if the files that describe it change.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from fasttok.episodes import BadRecord, Episode, Where, rlds
from fasttok.episodes.tfrecord import WHOLE, RecordRange, cut
from pipelines.common.files import file_version, filesystem, is_local, join
from pipelines.recordings.recordings import Section

LARGE, PIECE = 1 << 30, 1 << 29  # bytes: files of more than LARGE are cut into ranges of at least PIECE
DESCRIPTIONS = ("features.json", "dataset_info.json")


class RldsRecordings:
    """A TFDS version folder."""

    def __init__(self, directory: str, through: str, most: int, version: str = "") -> None:
        self.directory, self.most = directory, most
        described = (version,) if version else _described(directory)
        self._opened = _through_tfds(directory, through, described) if through else _raw(directory, described)

    @property
    def name(self) -> str:
        """Name of the dataset in dataset_info.json."""
        return self._opened.name

    def described(self) -> list[str]:
        """Returns the two JSON files of TFDS."""
        return [join(self.directory, name) for name in DESCRIPTIONS]

    def sections(self) -> dict[str, list[Section]]:
        """Returns split -> sections: one per file, or several for a large file."""
        return sections_of(self._opened)

    def read(self, section: Section, verify: bool) -> Iterator[Episode | BadRecord]:
        """Yields every record of a section."""
        if section.offset or section.stop is not None:
            assert isinstance(self._opened, rlds.RawRldsDirectory)
            return self._opened.read_range(
                section.file, RecordRange(section.offset, section.start, section.stop), verify, self.most
            )
        return self._opened.read_file(section.file, verify, self.most)

    def read_at(self, where: Where) -> Episode | BadRecord:
        """Returns the record at these bytes."""
        return self._opened.read_at(where.file, where.offset, where.length, where.number, most=self.most)


def sections_of(directory: rlds.RldsDirectory) -> dict[str, list[Section]]:
    """Returns split -> what each job reads: a file, or some records of a local file of more than `LARGE` bytes."""
    return {
        split: [section for file in files for section in ([Section(file)] if directory.through else _sections(file))]
        for split, files in directory.splits.items()
    }


def _sections(file: str) -> list[Section]:
    ranges = ranges_of(file)
    if len(ranges) == 1:
        return [Section(file)]
    return [
        Section(
            file,
            one.number,
            one.stop,
            digest=f"records {one.number} to {one.stop} from byte {one.offset}",
            offset=one.offset,
            count=None if one.stop is None else one.stop - one.number,
        )
        for one in ranges
    ]


def ranges_of(file: str) -> list[RecordRange]:
    """Cuts a large local file into ranges; any other file is one range. In a store, each header would cost a request."""
    fs, path = filesystem(file)
    if not is_local(fs) or not Path(path).exists() or Path(path).stat().st_size <= LARGE:
        return [WHOLE]
    return cut(path, PIECE)


def open_raw(directory: str) -> rlds.RawRldsDirectory:
    """Opens a dataset's directory for reading without TFDS."""
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
