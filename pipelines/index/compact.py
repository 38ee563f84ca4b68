"""Joins the parts of a run of jobs into few tables, and counts for their statistics on the way.

A table contains the rows of whole jobs with at most `MOST_STEPS` steps together; a job with more steps has a table of its own.
Rows are written in groups of a fixed number, so the bytes depend only on the contents of the parts.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

import pyarrow as pa

from fasttok.actions.quantiles import FirstReading
from fasttok.episodes.index_tables import EPISODES, REJECTED, STEPS, table_writer
from fasttok.errors import InputError
from pipelines.common.files import atomic_write
from pipelines.index.file_summary import add_up
from pipelines.index.job import IndexJob, load_source
from pipelines.index.job_part import JobPart, read_part
from pipelines.index.run_summary import RunPlace, RunSummary, is_done, load_run, save_run
from pipelines.index.step_counts import FIRST, IndexedRun, matrix, save_first

MOST_STEPS = 1 << 18
ROWS_PER_GROUP = {"episodes": 1 << 10, "rejected": 1 << 10, "steps": 1 << 16}
SCHEMAS = {"episodes": EPISODES, "steps": STEPS, "rejected": REJECTED}


def compact(jobs: list[IndexJob]) -> Iterator[IndexedRun]:
    """Makes the tables of a run, whose jobs may be in any order. Yields the run.

    Raises:
        InputError: a job is not finished, or its counts do not balance.
    """
    jobs = sorted(jobs, key=lambda job: job.number)
    run = RunPlace.of(jobs)
    summary = load_run(run) if is_done(run) else _made(run, jobs)
    source = load_source(jobs[0].out, jobs[0].dataset, jobs[0].source)
    yield IndexedRun.of(run, source.entry, summary)


def _made(run: RunPlace, jobs: list[IndexJob]) -> RunSummary:
    made, tables, counted = [], [], _Counted()
    with ExitStack() as stack:
        table: _Table | None = None
        for job in jobs:
            part = read_part(job)
            if not part.summary.counts.balanced:
                raise InputError(f"{job.file}: records were lost: {part.summary.counts}")
            if table is None or table.steps + part.summary.counts.steps > MOST_STEPS:
                stack.close()
                table = stack.enter_context(_Table(job.base))
                tables.append(job.stem)
            table.add(part, counted)
            made.append(part.summary)
    if counted.first is not None:
        save_first(run.path(FIRST), counted.first)
    summary = RunSummary(
        add_up([one.counts for one in made]),
        tuple(tables),
        tuple(one.digest for one in made),
        tuple((one.contents, *one.others) for one in made),
    )
    save_run(run, summary)
    return summary


class _Counted:
    """The first reading of all steps of a run. It is None if steps have different dims, which becomes an error later."""

    def __init__(self) -> None:
        self.first: FirstReading | None = None
        self._differ = False

    def add(self, steps: pa.Table) -> None:
        rows = matrix(steps)
        if rows is None or (self.first is not None and rows.shape[1] != len(self.first.upper)):
            self.first, self._differ = None, True
        if self._differ or rows is None or not rows.size:
            return
        self.first = self.first or FirstReading.empty(rows.shape[1])
        self.first.add(rows)


class _Table:
    """Writes the three Parquet files of a table. They get their names when the table is whole."""

    def __init__(self, base: str) -> None:
        self._base, self.steps = base, 0
        self._stack = ExitStack()
        self._waiting: dict[str, list[pa.Table]] = {name: [] for name in SCHEMAS}

    def __enter__(self) -> "_Table":
        self._writers = {
            name: self._stack.enter_context(
                table_writer(self._stack.enter_context(atomic_write(f"{self._base}.{name}.parquet")), schema)
            )
            for name, schema in SCHEMAS.items()
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is not None:
            return self._stack.__exit__(kind, error, trace)
        with self._stack:
            for name in SCHEMAS:
                self._write(name, 1)
        return None

    def add(self, part: JobPart, counted: _Counted) -> None:
        """Adds the rows of a part."""
        self.steps += part.summary.counts.steps
        for name in part.tables:
            for rows in part.groups(name):
                if name == "steps":
                    counted.add(rows)
                self._waiting[name].append(rows)
                self._write(name, ROWS_PER_GROUP[name])

    def _write(self, name: str, least: int) -> None:
        """Writes groups of rows while at least `least` rows are waiting."""
        waiting, size = self._waiting[name], ROWS_PER_GROUP[name]
        if sum(table.num_rows for table in waiting) < least:
            return
        rows = pa.concat_tables(waiting)
        while rows.num_rows >= least:
            self._writers[name].write_table(rows.slice(0, size).combine_chunks(), row_group_size=size)
            rows = rows.slice(size)
        self._waiting[name] = [rows]
