"""The work of stage 1: makes three Parquet tables and a summary from one source file or a range of it (docs/design.md "INDEX").

Nothing depends on the runner or the clock, so a job that is rerun writes the same.
"""

from collections.abc import Iterator

from fasttok.episodes import BadRecord, Episode
from pipelines import vlm
from pipelines.common.files import join
from pipelines.common.live_counts import LIVE, WORK, Counts, Reporter
from pipelines.common.source_stamp import GONE, with_contents
from pipelines.datasets.filters import RejectedError
from pipelines.datasets.standardize import standardize
from pipelines.index.index_writer import IndexWriter
from pipelines.index.job import DatasetSource, IndexJob, load_source
from pipelines.recordings import Section, open_recordings


def index_file(job: IndexJob) -> Counts:
    """Indexes one source file, or a range of it; Beam calls this for each job. It does nothing if an earlier run did the job."""
    if job.done:
        return Counts()
    source = load_source(job.out, job.dataset, job.source)
    with Reporter(join(job.out, WORK, LIVE)) as live, IndexWriter(job) as out:
        gone = False
        for record in records(job, source):
            if isinstance(record, Episode):
                try:
                    out.episode(record, standardize(source.entry, record))
                except RejectedError as error:
                    out.reject(BadRecord(record.where, error.reason, str(error)), error.filtered)
                    live.add(rejected=0 if error.filtered else 1)
            elif isinstance(record, BadRecord):
                unwanted = isinstance(record, vlm.Unwanted)
                gone = gone or (source.in_records and record.reason == "missing" and record.where.offset < 0)
                out.reject(record, unwanted)
                live.add(rejected=0 if unwanted else record.records)
            else:
                out.question(record)
                live.add(bytes=len(record.data))
            live.add(records=1, bytes=max(record.where.length, 0))
        contents = "" if job.first else GONE if gone else with_contents(job.found, job.file, source.in_records).contents
        out.save(contents, tuple(with_contents(stamp, file, False).contents for file, stamp in job.others))
        live.add(files=1)
    return live.total


def records(job: IndexJob, source: DatasetSource) -> Iterator[Episode | vlm.VlmRecord | BadRecord]:
    """Returns the records that a job reads."""
    if source.entry.kind == "robot":
        opened = open_recordings(source.directory, source.entry, source.through, job.source)
        return opened.read(Section(job.file, job.start, job.stop, split=job.split, offset=job.offset), source.verify)
    file = vlm.SourceFile(source.entry, source.directory, job.split, job.file)
    return vlm.read(file, (job.start, job.stop, job.first))
