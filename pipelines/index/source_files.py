"""INDEX/sources.parquet, put together from the jobs and what came of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipelines.common.source_table import StampedFile, write_table
from pipelines.index.file_summary import FileSummary
from pipelines.index.job import DatasetSource, IndexJob


def save_sources(
    out: str, sources: Iterable[DatasetSource], jobs: Sequence[IndexJob], summaries: Mapping[str, FileSummary]
) -> None:
    """Writes the source files of an INDEX: those that several jobs read, then each job's own.

    Args:
        out: the INDEX.
        sources: its datasets.
        jobs: all of them.
        summaries: by the jobs' bases.
    """
    files = [StampedFile(source.dataset, *beside) for source in sources for beside in source.beside]
    for job in jobs:
        summary = summaries[job.base]
        if not job.first:
            files.append(StampedFile(job.dataset, job.split, job.file, replace(job.found, contents=summary.contents)))
        for (file, stamp), contents in zip(job.others, summary.others, strict=True):
            files.append(StampedFile(job.dataset, job.split, file, replace(stamp, contents=contents)))
    write_table(out, list(dict.fromkeys(files)))
