"""Files that the driver of `index` writes for its workers: the jobs, and the datasets that they belong to."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache

from fasttok.common import json_files
from fasttok.episodes.dataset_entry import DatasetEntry
from pipelines.common.files import join, read_json, write_json
from pipelines.common.live_counts import JOBS, WORK
from pipelines.common.source_stamp import UNKNOWN, SourceStamp


@dataclass(frozen=True)
class IndexJob:
    """Job of indexing one source file, or a range of one.

    Attributes:
        out: path or URL of the INDEX.
        dataset: name of the dataset.
        split: split of the dataset.
        file: path or URL of the source file.
        stem: name of the job, and of the table that begins with its rows.
        stamp: digest of everything that decides the outputs; if the source, entry or settings change, they are made again.
        source: digest of the dataset's `DatasetSource`, which shows a worker whether it has read that already.
        start: first byte, row group or episode of the range.
        stop: one past the last byte, row group or episode of the range; None for the rest of the file.
        first: number of the range's first record; 0 for a range of robot episodes without an `offset`.
        found: the source file's stamp when the job was made.
        others: other files that the job reads, and their stamps; a missing file has an unknown stamp.
        number: number of the job in its split, from 0.
        offset: byte of the range's first record, if a file of records is cut into ranges.
        done: whether an earlier run did the job.
    """

    out: str
    dataset: str
    split: str
    file: str
    stem: str
    stamp: str
    source: str
    start: int = 0
    stop: int | None = None
    first: int = 0
    found: SourceStamp = UNKNOWN
    others: tuple[tuple[str, SourceStamp], ...] = ()
    number: int = 0
    offset: int = 0
    done: bool = False

    @property
    def base(self) -> str:
        """Path of the table that begins with this job, without its suffix."""
        return join(self.out, self.dataset, self.split, self.stem)


@dataclass(frozen=True)
class DatasetSource:
    """What the jobs need to know about a dataset directory.

    Attributes:
        directory: path or URL.
        dataset: name of the dataset.
        entry: what the features of the dataset mean.
        verify: whether the checksum of every record is checked.
        through: "" for the raw reader, else why the dataset is read through TFDS.
        beside: (split, path or URL, stamp) of each file that is read besides the jobs' own files; the split "" means all.
    """

    directory: str
    dataset: str
    entry: DatasetEntry
    verify: bool
    through: str
    beside: tuple[tuple[str, str, SourceStamp], ...] = ()

    @property
    def in_records(self) -> bool:
        """Whether the files of the dataset are TFRecord files, and are read without TFDS."""
        robots = self.entry.kind == "robot" and self.entry.recording_format == "rlds"
        return not self.through and (robots or self.entry.format == "tfds")

    @property
    def digest(self) -> str:
        """Digest of all attributes."""
        return json_files.digest(json_files.encode(self))


def save_source(out: str, source: DatasetSource) -> None:
    """Writes a dataset for the workers."""
    write_json(_source_path(out, source.dataset), json_files.encode(source))


@lru_cache(maxsize=256)
def load_source(out: str, dataset: str, _digest: str) -> DatasetSource:
    """Reads a dataset that the driver wrote. With the digest, the cache keeps two runs in one process apart."""
    where = _source_path(out, dataset)
    return json_files.decode(DatasetSource, read_json(where, "a dataset of an INDEX in the making"), where)


def _source_path(out: str, dataset: str) -> str:
    return join(out, WORK, "datasets", f"{dataset}.json")


def save_jobs(out: str, jobs: Iterable[IndexJob], name: str = JOBS) -> None:
    """Writes the jobs for the workers, without the path of the INDEX, which the workers know."""
    write_json(join(out, WORK, name), [{k: v for k, v in asdict(job).items() if k != "out"} for job in jobs])


def list_jobs(out: str, name: str = JOBS) -> Iterator[IndexJob]:
    """Yields the jobs that the driver wrote into this INDEX, from the file with this name."""
    for row in read_json(join(out, WORK, name), "the jobs of an INDEX in the making"):
        others = tuple((file, SourceStamp(**stamp)) for file, stamp in row["others"])
        yield IndexJob(out=out, **{**row, "found": SourceStamp(**row["found"]), "others": others})
