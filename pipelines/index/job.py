"""What the driver of `index` leaves for its workers: the jobs, and the datasets that they belong to."""

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
    """One source file, or a range of one.

    Attributes:
        out: the INDEX.
        dataset: its name.
        split: of the dataset.
        file: path or URL of the source file.
        stem: name of the job, and of the table that begins with it.
        stamp: digest of what the outputs are made from: if source, entry or settings change, they are made again.
        source: digest of the dataset's `DatasetSource`, which tells a worker whether it knows it already.
        start: first byte, row group or episode of the range.
        stop: one past its last, None for the rest of the file.
        first: number of the range's first record.
        found: the source file's stamp when the job was made.
        others: other files that the job reads, and their stamps; one that is not there has an unknown stamp.
        number: jobs of the split before it.
        offset: byte of the range's first record, in a file of records that is cut.
        done: whether an earlier attempt has done it.
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
    """A dataset directory as the jobs need to know it.

    Attributes:
        directory: path or URL.
        dataset: its name.
        entry: what its features mean.
        verify: whether the checksum of every record is checked.
        through: "" for the raw reader, else why it is read through TFDS.
        beside: the stamps of files that are read besides the jobs' own: (split, or "" for all; path or URL; stamp).
    """

    directory: str
    dataset: str
    entry: DatasetEntry
    verify: bool
    through: str
    beside: tuple[tuple[str, str, SourceStamp], ...] = ()

    @property
    def in_records(self) -> bool:
        """Whether its files are TFRecord files."""
        robots = self.entry.kind == "robot" and self.entry.recording_format == "rlds"
        return not self.through and (robots or self.entry.format == "tfds")

    @property
    def digest(self) -> str:
        """Of all that it says."""
        return json_files.digest(json_files.encode(self))


def save_source(out: str, source: DatasetSource) -> None:
    """Leaves a dataset for the workers."""
    write_json(_source_path(out, source.dataset), json_files.encode(source))


@lru_cache(maxsize=256)
def load_source(out: str, dataset: str, _digest: str) -> DatasetSource:
    """What the driver left for the workers of a dataset; the digest keeps apart what two runs in one process left."""
    where = _source_path(out, dataset)
    return json_files.decode(DatasetSource, read_json(where, "a dataset of an INDEX in the making"), where)


def _source_path(out: str, dataset: str) -> str:
    return join(out, WORK, "datasets", f"{dataset}.json")


def save_jobs(out: str, jobs: Iterable[IndexJob], name: str = JOBS) -> None:
    """Leaves the jobs for the workers, without the INDEX's place, which they know."""
    write_json(join(out, WORK, name), [{k: v for k, v in asdict(job).items() if k != "out"} for job in jobs])


def list_jobs(out: str, name: str = JOBS) -> Iterator[IndexJob]:
    """The jobs that the driver left in this INDEX, in a file of this name."""
    for row in read_json(join(out, WORK, name), "the jobs of an INDEX in the making"):
        others = tuple((file, SourceStamp(**stamp)) for file, stamp in row["others"])
        yield IndexJob(out=out, **{**row, "found": SourceStamp(**row["found"]), "others": others})
