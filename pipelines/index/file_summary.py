"""STEM.summary.json: what one job of `index` came to. It is written last, so it says that the job's other files are whole."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fasttok.common import json_files
from pipelines.common.files import filesystem, read_json, write_json
from pipelines.index.job import IndexJob

SUFFIX = ".summary.json"
Widths = tuple[tuple[int, ...], tuple[int, ...]]  # columns that each piece of an action, and of a proprio, took


@dataclass(frozen=True)
class FileSummary:
    """What became of a job's records: read = indexed + filtered + rejected.

    Attributes:
        stamp: of the job.
        read: records read.
        indexed: episodes, questions or captions that are there to use.
        filtered: records that the entry's filters do not want, by reason.
        rejected: records that cannot be used, by reason.
        steps: of all indexed episodes; a question or caption is one.
        left_out: steps, or pieces of records, that are missing from indexed ones, by reason.
        bytes: of all records read.
        widths: that were seen, each once; robots only.
        digest: of what the job's Parquet files hold.
        contents: of the source file's stamp; "" if they need not be known, or another job of the file has them.
        others: the same of the job's other files.
    """

    stamp: str
    read: int
    indexed: int
    filtered: dict[str, int]
    rejected: dict[str, int]
    steps: int
    left_out: dict[str, int]
    bytes: int
    widths: tuple[Widths, ...]
    digest: str
    contents: str
    others: tuple[str, ...] = field(default=(), metadata=json_files.IF_NOT_DEFAULT)


def save_summary(job: IndexJob, summary: FileSummary) -> None:
    """Writes a job's summary."""
    write_json(f"{job.base}{SUFFIX}", json_files.encode(summary))


def finished(out: str, jobs: Sequence[IndexJob]) -> dict[str, FileSummary]:
    """Summaries, by their jobs' bases, of what was finished from the sources as they are now."""
    fs, root = filesystem(out)
    fs.invalidate_cache()
    present = {path for path in fs.find(root) if path.endswith(SUFFIX)}
    summaries = {}
    for job in jobs:
        where = f"{job.base}{SUFFIX}"
        if filesystem(where)[1] in present:
            summary = json_files.decode(FileSummary, read_json(where, "a summary of an INDEX"), where)
            if summary.stamp == job.stamp:
                summaries[job.base] = summary
    return summaries
