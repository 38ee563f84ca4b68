"""Reads episodes in npz, npy and Parquet files, as `fasttok fit` does: datasets without cameras. Each job reads one file."""

from collections.abc import Callable, Iterator

from fasttok.episodes import BadRecord, Episode, Where, arrays, formats
from fasttok.episodes.dataset_name import dataset_name
from fasttok.episodes.episode import UNREADABLE
from fasttok.episodes.step_tables import file_ends, refuse_crossing
from fasttok.errors import InputError
from pipelines.common.side_by_side import side_by_side
from pipelines.recordings.recordings import Section

Records = Iterator[Episode | BadRecord]


class TableRecordings:
    """A file, or a folder of files of one kind."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._suffix, self._files = formats.tables(path)
        self._cursor = Cursor(self._records)

    @property
    def name(self) -> str:
        """Name of the dataset, from the name of the file or folder."""
        return dataset_name(self.path)

    def described(self) -> list[str]:
        """Returns []: the files describe themselves."""
        return []

    def sections(self) -> dict[str, list[Section]]:
        """Returns one section per file; all belong to split `train`.

        Raises:
            InputError: an episode of Parquet files goes on in the next file.
        """
        if self._suffix == ".parquet":
            refuse_crossing(side_by_side(file_ends, self._files))
        formats.warn_of_other_tables(self.path, self._suffix)
        return {"train": [Section(file) for file in self._files]}

    def read(self, section: Section, verify: bool) -> Records:
        """Yields every episode of a file."""
        del verify  # such files check themselves, or have no checksum
        return self._records(section.file)

    def read_at(self, where: Where) -> Episode | BadRecord:
        """Returns the episode with this number."""
        found = self._cursor.at(where.file, where.number)
        return found or BadRecord(where, "missing", f"the file has no episode {where.number}; index again")

    def _records(self, file: str) -> Records:
        try:
            yield from arrays.READERS[self._suffix]([file], self.name)
        except (InputError, OSError) as error:
            yield BadRecord(Where(file), UNREADABLE, str(error))


class Cursor:
    """Reads records by their number. For a later record it reads on, and does not begin again at the file's beginning."""

    def __init__(self, read: Callable[[str], Records]) -> None:
        self._read = read
        self._file, self._next = "", 0
        self._records: Records = iter(())

    def at(self, file: str, number: int) -> Episode | BadRecord | None:
        """Returns the record with this number in a file, None if there is none."""
        if file != self._file or number < self._next:
            self._file, self._records = file, self._read(file)
        for record in self._records:
            self._next = record.where.number + 1
            if record.where.number == number:
                return record
        self._file = ""
        return None
