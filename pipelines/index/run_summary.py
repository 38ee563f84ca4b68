"""Runs of jobs, and their summaries. A run is up to 128 neighbouring jobs of a split, whose parts become tables together.

The summary of a run is one small file. Only the order of the jobs decides which jobs are a run, so the tables of an INDEX do not
depend on which process made them, or when.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fasttok.common import json_files
from pipelines.common.files import filesystem, join, read_json, write_json
from pipelines.common.live_counts import WORK
from pipelines.common.side_by_side import side_by_side
from pipelines.index.file_summary import RecordCounts
from pipelines.index.job import IndexJob

JOBS_PER_RUN = 128


@dataclass(frozen=True)
class RunPlace:
    """Names a run of jobs.

    Attributes:
        out: path or URL of the INDEX.
        dataset: name of the dataset.
        split: split of the dataset.
        number: number of the run in the split, from 0.
        stamp: digest of the names and stamps of its jobs.
    """

    out: str
    dataset: str
    split: str
    number: int
    stamp: str

    @classmethod
    def of(cls, jobs: Sequence[IndexJob]) -> "RunPlace":
        """Returns the run of these jobs, which must be in their order."""
        first, sha = jobs[0], hashlib.sha256("/".join(f"{job.stem}:{job.stamp}" for job in jobs).encode())
        return cls(first.out, first.dataset, first.split, first.number // JOBS_PER_RUN, sha.hexdigest()[:16])

    def path(self, suffix: str) -> str:
        """Returns the path of a file about the run, which ends with `suffix`."""
        return join(self.out, WORK, "runs", self.dataset, self.split, f"{self.number:05d}.{self.stamp}.{suffix}")

    def __str__(self) -> str:
        return f"{self.dataset}/{self.split}/{self.number:05d}"


@dataclass(frozen=True)
class RunSummary:
    """Summary of a run of jobs.

    Attributes:
        counts: counts of all its records.
        tables: stems of the INDEX's tables that its parts became: INDEX/dataset/split/STEM.episodes.parquet and others.
        digests: for each job, the sha256 of the contents of its tables.
        contents: for each job, `contents` of the stamps of its source file and then of its other files.
    """

    counts: RecordCounts
    tables: tuple[str, ...]
    digests: tuple[str, ...]
    contents: tuple[tuple[str, ...], ...]


def run_key(job: IndexJob) -> str:
    """Returns the name of the run that a job belongs to.

    >>> run_key(IndexJob("INDEX", "arm", "train", "a.tfrecord", "00130-a", "", "", number=130))
    'arm/train/00001'
    """
    return f"{job.dataset}/{job.split}/{job.number // JOBS_PER_RUN:05d}"


def runs_of(jobs: Sequence[IndexJob]) -> dict[RunPlace, list[IndexJob]]:
    """Returns run -> its jobs, both in order."""
    found: dict[str, list[IndexJob]] = {}
    for job in jobs:
        found.setdefault(run_key(job), []).append(job)
    return {RunPlace.of(members): members for members in found.values()}


def save_run(run: RunPlace, summary: RunSummary) -> None:
    """Writes the summary of a run. It must be written last, because it marks the run as finished."""
    write_json(run.path("json"), json_files.encode(summary))


def load_run(run: RunPlace) -> RunSummary:
    """Reads the summary of a run.

    Raises:
        InputError: the run is not finished.
    """
    path = run.path("json")
    return json_files.decode(RunSummary, read_json(path, "a summary of an INDEX"), path)


def is_done(run: RunPlace) -> bool:
    """Returns whether a run is finished."""
    fs, path = filesystem(run.path("json"))
    return bool(fs.exists(path))


def load_runs(runs: Mapping[RunPlace, list[IndexJob]]) -> dict[RunPlace, RunSummary]:
    """Reads the summaries of all runs."""
    return dict(zip(runs, side_by_side(load_run, runs), strict=True))
