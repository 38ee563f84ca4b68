"""Makes INDEX/sources.arrow from the jobs and the summaries of their runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipelines.common.source_stamp import GONE, UNKNOWN, SourceStamp
from pipelines.common.source_table import StampedFile, write_table
from pipelines.index.job import DatasetSource, IndexJob
from pipelines.index.run_summary import RunPlace, RunSummary


def save_sources(
    out: str,
    sources: Iterable[DatasetSource],
    runs: Mapping[RunPlace, Sequence[IndexJob]],
    summaries: Mapping[RunPlace, RunSummary],
) -> None:
    """Writes the source files of an INDEX: those that several jobs read, then each job's own.

    Args:
        out: path or URL of the INDEX.
        sources: datasets of the INDEX.
        runs: run -> its jobs, for all jobs.
        summaries: run -> its summary.
    """
    files = [StampedFile(source.dataset, *beside) for source in sources for beside in source.beside]
    for run, jobs in runs.items():
        for job, (own, *others) in zip(jobs, summaries[run].contents, strict=True):
            if not job.first:
                files.append(StampedFile(job.dataset, job.split, job.file, _as_read(job.found, own)))
            for (file, stamp), contents in zip(job.others, others, strict=True):
                files.append(StampedFile(job.dataset, job.split, file, replace(stamp, contents=contents)))
    write_table(out, list(dict.fromkeys(files)))


def _as_read(found: SourceStamp, contents: str) -> SourceStamp:
    return UNKNOWN if contents == GONE else replace(found, contents=contents)
