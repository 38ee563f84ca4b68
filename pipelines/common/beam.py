"""Runs jobs as one linear Beam graph: Create -> expand -> Reshuffle -> work, then steps that gather the results.

The graph is linear because a Dask runner executes only the last branch of a graph, and jobs write their own files because Beam's
built-in sinks write nothing on that runner. The graph contains one URL, from which a worker lists the jobs, so its size is the
same few kilobytes for ten jobs and for a million. Results are files that appear by atomic rename, so any runner, any number of
workers and any number of retries give the same result.
"""

import logging
import os
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fsspec.spec import AbstractFileSystem

from fasttok.common.console import progress
from fasttok.common.output_folder import HALF_WRITTEN
from fasttok.errors import InputError, refused, require
from pipelines.common.beam_flags import DIRECT, cannot_start, runner_of
from pipelines.common.files import filesystem, is_local, join, reaching
from pipelines.common.live_counts import LIVE, WORK, Counts, Follower
from pipelines.common.side_by_side import side_by_side
from pipelines.common.worker_errors import leave, raise_left, stopped

logger = logging.getLogger(__name__)

MANY_JOBS = 32  # from this number of jobs on, starting processes is worth it
Expand = Callable[[str], Iterable[Any]]
Work = Callable[[Any], Counts]


@dataclass(frozen=True)
class Gather:
    """A step after the jobs, which works on all items with the same key together, once the step before has made all of them.

    Attributes:
        name: name of the step in the graph.
        key: returns the key of an item: a job, or what the step before made. A module-level function.
        work: takes all items with the same key, in any order, and returns the items of the next step. A module-level function.
    """

    name: str
    key: Callable[[Any], str]
    work: Callable[[list[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    Attributes:
        name: name of the stage in the graph and in progress lines.
        source: URL that is passed to `expand`.
        expand: turns the URL into picklable jobs, on a worker; a module-level function.
        work: runs a job and returns its counts, which become Beam's counters; a module-level function.
        unit: word for what a job is, such as "files".
        records: word for what a job reads, such as "records".
        then: steps that follow the jobs, one after the other; the first one gets the jobs.
    """

    name: str
    source: str
    expand: Expand
    work: Work
    unit: str
    records: str
    then: tuple[Gather, ...] = ()


def build_graph(pipeline: Any, stage: Stage, errors: str = "") -> None:
    """Adds the stage to a pipeline.

    Args:
        pipeline: a Beam pipeline.
        stage: the stage to add.
        errors: folder in which workers leave errors in the input (`worker_errors`); if it is "", they raise these errors.
    """
    beam = require("apache_beam", "pipelines", f"{stage.name} with Beam")
    done = (
        pipeline
        | "Source" >> beam.Create([stage.source], reshuffle=False)
        | "Jobs" >> beam.FlatMap(listed, stage.expand, errors)
        | "Spread" >> beam.Reshuffle()
        | stage.name.capitalize() >> beam.Map(counted, stage.work, stage.name, errors)
    )
    for gather in stage.then:
        done = (
            done
            | f"Keys of {gather.name}" >> beam.FlatMap(keyed, gather.key)
            | f"Gather {gather.name}" >> beam.GroupByKey()
            | gather.name.capitalize() >> beam.FlatMap(gathered, gather.work, stage.source, errors)
        )


def listed(source: str, expand: Expand, errors: str) -> Iterator[Any]:
    """Yields the jobs of a stage."""
    try:
        yield from expand(source)
    except InputError as error:
        if not errors:
            raise
        leave(errors, error)


def keyed(item: Any, key: Callable[[Any], str]) -> Iterator[tuple[str, Any]]:
    """Yields (key, item), or nothing for a job that was not done (None)."""
    if item is not None:
        yield key(item), item


def gathered(
    group: tuple[str, Iterable[Any]], work: Callable[[list[Any]], Iterable[Any]], source: str, errors: str
) -> Iterator[Any]:
    """Works on the items of one key, or does nothing if a worker has left an error."""
    if errors and stopped(errors):
        return
    try:
        with reaching(source):
            yield from work(list(group[1]))
    except InputError as error:
        if not errors:
            raise
        leave(errors, error)


def counted(job: Any, work: Work, namespace: str, errors: str) -> Any:
    """Runs a job and adds its counts to Beam's counters, which distributed runners show while they run.

    Returns:
        The job; None if it was not done, because of an error.
    """
    metrics = require("apache_beam.metrics", "pipelines", f"{namespace} with Beam")
    if errors and stopped(errors):
        return None
    try:
        with reaching(getattr(job, "file", namespace)):
            counts = work(job)
    except (InputError, OSError) as error:
        if not errors or (isinstance(error, OSError) and error.filename is None):
            raise
        leave(errors, error if isinstance(error, InputError) else refused(error))
        return None
    for name, count in asdict(counts).items():
        metrics.Metrics.counter(namespace, name).inc(count)
    return job


def run_stage(
    stage: Stage,
    beam_args: list[str],
    jobs: int,
    already: int = 0,
    live: str | None = None,
    under_way: Callable[[], None] = lambda: None,
) -> None:
    """Runs a stage to its end and shows progress.

    Args:
        stage: the stage to run.
        beam_args: flags that are passed on to Beam as they are.
        jobs: number of jobs that `expand` will return.
        already: number of jobs that were finished before.
        live: local file to which jobs report their counts (`live_counts.Reporter`); None if Beam alone shows progress.
        under_way: called once the runner has accepted the pipeline, and never if the runner does not start.

    Raises:
        InputError: Beam is not installed, the runner does not start, or a worker found an error in the input.
    """
    beam = require("apache_beam", "pipelines", f"{stage.name} with Beam")
    from apache_beam.options.pipeline_options import PipelineOptions

    runner, errors = runner_of(beam_args), join(stage.source, WORK, f"errors-{uuid.uuid4().hex}")
    warnings.filterwarnings("ignore", module="apache_beam")
    cores = os.cpu_count() or 1
    if not beam_args and jobs >= MANY_JOBS and cores > 1:
        logger.info("one process; on all cores: --direct_running_mode=multi_processing --direct_num_workers=%d", cores)
    with progress(stage.name, total=jobs + already, unit=stage.unit, already=already) as advance:
        if not jobs and not stage.then:
            return
        pipeline = None
        if runner == DIRECT:
            under_way()
        try:
            with (
                _quiet_loggers(),
                _LiveCountsWatch(live, stage.records, advance),
                beam.Pipeline(options=PipelineOptions(flags(beam_args))) as pipeline,
            ):
                build_graph(pipeline, stage, errors)
        except Exception as error:
            if getattr(pipeline, "result", None) is not None:
                under_way()
            known = next(_user_errors(error), None)
            if known is not None:
                raise InputError(known) from None
            if runner != DIRECT and getattr(pipeline, "result", None) is None:
                raise cannot_start(runner, error) from error
            raise
    raise_left(errors)


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    """Silences Beam, which logs the traceback of each error of a worker, because `run_stage` raises the error again.

    Beam and its clients warn through the root logger too, so it is silenced meanwhile. Our own messages also go to the root
    logger, so it gets its level back in the end.
    """
    loggers = [logging.getLogger(), logging.getLogger("apache_beam")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def flags(beam_args: list[str]) -> list[str]:
    """Returns the flags for Beam, with our defaults for flags not given: the local runner, and workers that log only errors."""
    local = runner_of(beam_args) == DIRECT  # with other runners, a worker's log is all that is left of it
    ours = {"--runner": DIRECT, "--default_sdk_harness_log_level": "CRITICAL" if local else "ERROR"}
    given = {arg.split("=")[0] for arg in beam_args}
    return [f"{flag}={value}" for flag, value in ours.items() if flag not in given] + beam_args


def live_file(folder: str) -> str | None:
    """Returns the file to which jobs that write to this folder report their counts; None if the folder is not local."""
    fs, path = filesystem(join(folder, WORK, LIVE))
    return path if is_local(fs) else None


def finish(folder: str) -> None:
    """Removes the files that only the run needed, and half-written files of runs that were killed."""
    fs, path = filesystem(join(folder, WORK))
    if not is_local(fs):
        fs.invalidate_cache()
        # One by one, because `rm` reads a `[` or `*` in the folder's name as a pattern.
        side_by_side(partial(_remove_file, fs), fs.find(path))
    else:
        fs.rm(path, recursive=True)
        for file in Path(folder).rglob(".*.tmp"):
            if HALF_WRITTEN.match(file.name):
                file.unlink(missing_ok=True)


def _remove_file(fs: AbstractFileSystem, path: str) -> None:
    with suppress(FileNotFoundError):  # a request whose answer was lost is repeated, and finds the file gone
        fs.rm_file(path)


class _LiveCountsWatch(threading.Thread):
    """Reads the counts that the jobs report while the pipeline runs, and shows them as progress."""

    def __init__(self, live: str | None, records: str, advance: Callable[..., None]) -> None:
        super().__init__(daemon=True)
        self.follower = Follower(live) if live else None
        self.records, self.advance = records, advance
        self.stop, self.began = threading.Event(), time.monotonic()

    def __enter__(self) -> "_LiveCountsWatch":
        if self.follower:
            self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop.set()
        if self.follower:
            self.join()
            self.poll()

    def run(self) -> None:
        while not self.stop.wait(0.5):
            self.poll()

    def poll(self) -> None:
        assert self.follower is not None
        new = self.follower.poll()
        if new != Counts():
            total, seconds = self.follower.counts, time.monotonic() - self.began
            rate = f", {total.bytes / 1e6 / seconds:,.1f} MB/s" if total.bytes else ""
            note = f"{total.records:,} {self.records}{rate}, {total.rejected:,} rejected"
            self.advance(new.files, note)


def _user_errors(error: BaseException | None) -> Iterator[str]:
    """Yields the messages of InputErrors that a runner wrapped. Portable runners pass on only the worker's traceback, as text."""
    marker = "fasttok.errors.InputError: "
    while error is not None:
        text = str(error)
        if isinstance(error, InputError) or marker in text:
            yield (
                text[text.rfind(marker) + len(marker) if marker in text else 0 :]
                .split("\n")[0]
                .split(" [while running")[0]
            )
        error = error.__cause__ or error.__context__
