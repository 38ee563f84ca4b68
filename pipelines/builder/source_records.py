"""Reads the records of a source at their places in the INDEX: episodes and images from source files, texts from the INDEX."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fasttok.episodes import BadRecord, Episode, Where
from fasttok.episodes.frames import Frames
from fasttok.episodes.index import open_table, reading_table
from fasttok.episodes.index_tables import EpisodeRow
from fasttok.errors import InputError
from pipelines import vlm
from pipelines.builder.sources import ResolvedSource
from pipelines.common.files import file_version, filesystem
from pipelines.datasets.filters import RejectedError
from pipelines.datasets.standardize import standardize
from pipelines.recordings import open_recordings
from pipelines.recordings.encoded_frames import EncodedFrames

OPEN_FILES = 32  # tables of the INDEX that are open at a time


@dataclass(frozen=True, eq=False)
class SourceRecord:
    """A source record, ready to be cut into rows.

    Attributes:
        action: (T, D) float32 in raw units; (1, 0) for vqa and caption.
        proprio: (T, S) float32 in raw units; (1, 0) for vqa and caption.
        prompt: instruction, question, or the fixed prompt of a caption.
        target: answer or caption; "" for robots.
        cameras: slot of the dataset -> T images, which may not be read yet.
        steps: (T,) int64 number of each step in the stored episode; numbers are missing if the entry leaves steps out.
        answers: all answers that people gave, if several are known.
    """

    action: NDArray[np.float32]
    proprio: NDArray[np.float32]
    prompt: str
    target: str
    cameras: dict[str, Frames]
    steps: NDArray[np.int64]
    answers: tuple[str, ...] = ()


class RecordReader:
    """Reads a source's records by their place in the INDEX. A record that cannot be used is returned as a BadRecord."""

    def __init__(self, facts: ResolvedSource, index: str) -> None:
        self.facts, self.index = facts, index
        self._entry = facts.entry
        self._group: tuple[tuple[int, int], pa.Table] | None = None
        self._versions: dict[str, str] = {}  # of the INDEX's tables: another run of `index` may have replaced them
        if facts.recorded:
            self._recordings = open_recordings(facts.directory, facts.entry, facts.through)
        else:
            self._image = vlm.open_images(self._entry, facts.directory)

    def load(self, indexed: EpisodeRow) -> tuple[Where, int, SourceRecord | BadRecord]:
        """Returns (place, number of source bytes read, record) for a row that `rows` yields."""
        checksum = indexed.get("checksum", -1)  # an INDEX of 0.1.0 has none
        where = Where(indexed["file"], indexed["offset"], indexed["length"], indexed["episode"], checksum)
        if self.facts.recorded:
            return where, max(where.length, 0), self._robot(where)
        return where, indexed["image_length"], self._vlm(where, indexed)

    def _robot(self, where: Where) -> SourceRecord | BadRecord:
        episode: Episode | BadRecord = self._recordings.read_at(where)
        if isinstance(episode, BadRecord):
            return episode
        if -1 not in (where.checksum, episode.where.checksum) and episode.where.checksum != where.checksum:
            return _changed(where, episode.where.checksum)
        try:
            standard = standardize(self._entry, episode)
        except RejectedError as error:
            return BadRecord(episode.where, error.reason, str(error))
        return SourceRecord(standard.action, standard.proprio, standard.language, "", standard.cameras, standard.steps)

    def _vlm(self, where: Where, indexed: EpisodeRow) -> SourceRecord | BadRecord:
        """Reads the image at its place. The texts are those of the INDEX."""
        data, problem = self._image(indexed["image"], indexed["image_offset"], indexed["image_length"])
        if problem:
            return BadRecord(where, "image", problem)
        if where.checksum not in (-1, google_crc32c.value(data)):
            return _changed(where, google_crc32c.value(data))
        nothing = np.zeros((1, 0), np.float32)
        texts = (indexed["language"], indexed["target"])
        answers = tuple(indexed["answers"])
        return SourceRecord(
            nothing, nothing, *texts, {"primary": EncodedFrames([data])}, np.zeros(1, np.int64), answers
        )

    def rows(self, file: int, row: int, records: int) -> Iterator[EpisodeRow]:
        """Yields the INDEX's rows of `records` neighbouring records. If calls are in order, each row group is read only once.

        Raises:
            InputError: the INDEX is missing, damaged or shorter than the plan says.
        """
        facts = self.facts
        url = f"{self.index}/{facts.dataset}/{facts.split}/{facts.files[file]}.episodes.parquet"
        if url not in self._versions:
            self._versions[url] = file_version(url)
        reader, starts = _open(url, self._versions[url])
        while records:
            group = int(np.searchsorted(starts, row, side="right")) - 1
            if self._group is None or self._group[0] != (file, group):
                if group >= reader.num_row_groups:
                    raise InputError(f"{url}: has no row {row}; it was made again since the plan: pass --overwrite")
                with reading_table(url):
                    self._group = (file, group), reader.read_row_group(group)
            table = self._group[1].slice(row - int(starts[group]), records)
            yield from table.to_pylist()
            row, records = row + table.num_rows, records - table.num_rows


def _changed(where: Where, checksum: int) -> BadRecord:
    detail = f"its checksum is {checksum:08x}, the INDEX says {where.checksum:08x}; run `fasttok-pipelines index` again"
    return BadRecord(where, "changed", detail)


@lru_cache(maxsize=OPEN_FILES)
def _open(url: str, _version: str) -> tuple[pq.ParquetFile, NDArray[np.int64]]:
    """Opens a Parquet file of the INDEX. Also returns the first row of each row group, with the number of all rows at the end."""
    fs, path = filesystem(url)
    with reading_table(url):
        reader = open_table(fs.open(path, "rb"))
    sizes = [reader.metadata.row_group(i).num_rows for i in range(reader.num_row_groups)]
    return reader, np.cumsum([0, *sizes])
