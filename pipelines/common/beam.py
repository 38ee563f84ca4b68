"""Running jobs as one linear Beam graph: Create -> expand -> Reshuffle -> work, then what gathers them. Sinks are their own.

Linear, because a Dask runner executes only the last branch of a graph; own sinks, because its built-in ones write nothing
there. The graph contains one URL, from which a worker lists the jobs, so it is the same few kilobytes for ten jobs and a million.
Results travel as files that appear by atomic rename, so any runner, any number of workers and any retry will do.
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

MANY_JOBS = 32  # from which starting processes is worth it
Expand = Callable[[str], Iterable[Any]]
Work = Callable[[Any], Counts]


@dataclass(frozen=True)
class Gather:
    """A step after the jobs: what has the same key is worked on together, once the step before is done with all of it.

    Attributes:
        name: in the graph.
        key: of a job, or of what the step before made; a module-level function.
        work: (all that have a key, in any order) -> what the next step gets; a module-level function.
    """

    name: str
    key: Callable[[Any], str]
    work: Callable[[list[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    Attributes:
        name: in the graph and in progress lines.
        source: URL that `expand` gets.
        expand: turns the URL into picklable jobs, on a worker; a module-level function.
        work: runs a job, and its counts become Beam's counters; a module-level function.
        unit: what a job is, in words.
        records: what a job reads, in words.
        then: what follows when the jobs are done, one after the other; the first gets the jobs.
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
        pipeline: of Beam.
        stage: what runs.
        errors: folder for what is wrong with the input (`worker_errors`); without it workers raise that.
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
    """The jobs of a stage."""
    try:
        yield from expand(source)
    except InputError as error:
        if not errors:
            raise
        leave(errors, error)


def keyed(item: Any, key: Callable[[Any], str]) -> Iterator[tuple[str, Any]]:
    """An item with its key; nothing of a job that was not done."""
    if item is not None:
        yield key(item), item


def gathered(
    group: tuple[str, Iterable[Any]], work: Callable[[list[Any]], Iterable[Any]], source: str, errors: str
) -> Iterator[Any]:
    """Works on what has one key; not at all once an error was left."""
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
    """Runs a job and adds what it did to Beam's counters, which distributed runners show while they run.

    Returns:
        The job, None if it was not done.
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
        stage: what runs.
        beam_args: flags for Beam, untouched.
        jobs: how many `expand` will give.
        already: jobs that were finished before.
        live: a local file that jobs report to (`live_counts.Reporter`); without it there is no progress but Beam's own.
        under_way: called once the runner has taken the job, and never if the runner does not start.

    Raises:
        InputError: Beam is not installed, refuses its flags, or a worker raised InputError.
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
    """Beam logs the traceback of whatever a worker raises, which `run_stage` raises again, and so once is enough.

    Beam and its clients warn through the root logger; afterwards it is as before, as what we log ourselves goes there too.
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
    """Beam's flags, with ours where they say nothing: the local runner, and workers that tell only what is wrong."""
    local = runner_of(beam_args) == DIRECT  # elsewhere a worker's log is all that is left of it
    ours = {"--runner": DIRECT, "--default_sdk_harness_log_level": "CRITICAL" if local else "ERROR"}
    given = {arg.split("=")[0] for arg in beam_args}
    return [f"{flag}={value}" for flag, value in ours.items() if flag not in given] + beam_args


def live_file(folder: str) -> str | None:
    """Where jobs that write to this folder report to, if it is local."""
    fs, path = filesystem(join(folder, WORK, LIVE))
    return path if is_local(fs) else None


def finish(folder: str) -> None:
    """Removes what only the run needed, and what killed runs left half-written."""
    fs, path = filesystem(join(folder, WORK))
    if not is_local(fs):
        fs.invalidate_cache()
        # One by one, as `rm` takes a `[` or `*` of the folder's name for a pattern.
        side_by_side(partial(_remove_file, fs), fs.find(path))
    else:
        fs.rm(path, recursive=True)
        for file in Path(folder).rglob(".*.tmp"):
            if HALF_WRITTEN.match(file.name):
                file.unlink(missing_ok=True)


def _remove_file(fs: AbstractFileSystem, path: str) -> None:
    with suppress(FileNotFoundError):  # a store whose answer was lost was asked again
        fs.rm_file(path)


class _LiveCountsWatch(threading.Thread):
    """Reads what the jobs report while the pipeline runs."""

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
    """Messages of InputErrors that a runner wrapped; portable runners hand over only the worker's traceback as text."""
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
